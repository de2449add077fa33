//! [`SharedContext`]: a context with identity, entered by one thread at a time and readable by all.

pub(crate) mod enter;
mod waiters;

use std::fmt;
use std::mem;
use std::sync::{Arc, PoisonError, TryLockError};

use self::waiters::Waiters;

use crate::catch::wake_all;
use crate::context::Context;
use crate::sync::{Mutex, MutexGuard};
use crate::value;
use crate::var::ContextVar;

/// A context *object*, as PEP 567 has it: `clone()` is the same context.
///
/// Use it where identity matters: several tasks or callbacks that share one context, a parent that
/// reads what its child set, a runner whose runs share theirs. Elsewhere use an owned [`Context`]:
/// less can go wrong with it at run time. [`Context::share`] makes one of a context.
///
/// Only one thread can be inside at a time. If the context is already entered:
///
/// - [`run`](Self::run) gets [`AlreadyEntered`](crate::AlreadyEntered), from this thread or
///   another;
/// - a task parks until the context is free, a callback or blocking job steps aside;
/// - a poll or drop *inside* a frame of this context, on the same thread, passes through;
/// - a future that has to be dropped meanwhile is dropped in a copy.
///
/// Waiters are woken when the context has been left, by the thread that leaves it; a waker may
/// enter it at once.
///
/// # Bringing values back
///
/// What a task sets stays in its context. If the task is given a shared one, everything that was
/// set can be read there at any time, also while the task runs and after it has failed. A task
/// that completes can also return its context, as in `spawn(async { (work().await, copy_context())
/// })`, and [`Context::apply`] adopts it.
///
/// ```
/// use aiocontextvars::{copy_context, context_var, shim};
///
/// context_var! { static USER: String; }
///
/// async fn log_in() -> Result<(), &'static str> {
///     USER.set("ada".to_owned());
///     Err("the password is wrong")
/// }
///
/// shim::block_on(async {
///     let shared = copy_context().share();
///     let task = shim::spawn_in(&shared, log_in());
///     assert!(task.await.unwrap().is_err());
///     assert_eq!(shared.get(&USER).as_deref(), Some("ada"));
/// });
/// ```
///
/// # Waiting for itself
///
/// As with a mutex, work inside the context that waits for other work in the same context never
/// ends: a thread that blocks on it, or a task that awaits it through a frame of another context.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{SharedContext, context_var, shim};
///
/// context_var! { static STEP: u32 = 0; }
///
/// let shared = SharedContext::new();
/// shim::block_on(async {
///     for _ in 0..2 {
///         shim::spawn_in(&shared, async { STEP.set(STEP.get() + 1); }).await.unwrap();
///     }
/// });
/// assert_eq!(shared.get(&STEP), Some(2));
/// ```
#[derive(Clone, Default)]
pub struct SharedContext {
    state: Arc<Mutex<State>>,
}

/// Behind a lock under which neither user code runs nor memory is allocated or freed: an allocator
/// may read variables and use the context.
#[derive(Default)]
struct State {
    /// The bindings, kept up to date by every write inside.
    context: Context,
    entered: bool,
    /// Those who wait to enter, by ticket. All are woken when the context is left, in this order:
    /// one that is woken alone may be alive and never polled again, and the others would wait
    /// behind it. A waiter that finds the context entered again waits with the same ticket, and so
    /// keeps its place.
    waiters: Waiters,
    last_ticket: u64,
}

impl Context {
    /// Turns the context into one that can be shared: entered in turn from several places, and seen
    /// while it is entered.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var};
    /// context_var! { static LEVEL: u8; }
    ///
    /// let shared = Context::new().with_value(&LEVEL, 1).share();
    /// shared.run(|| { LEVEL.set(2); }).unwrap();
    /// assert_eq!(shared.get(&LEVEL), Some(2));
    /// ```
    pub fn share(self) -> SharedContext {
        SharedContext {
            state: Arc::new(Mutex::new(State {
                // They would stay captured while nobody is inside, and keep a span open.
                context: self.without_companions(),
                ..State::default()
            })),
        }
    }
}

impl SharedContext {
    /// An empty context.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::SharedContext;
    /// assert!(SharedContext::new().is_empty());
    /// ```
    pub fn new() -> SharedContext {
        SharedContext::default()
    }

    /// The bindings of this moment as a value; PEP 567's `copy()`. Allowed while the context is
    /// entered, from any thread.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{SharedContext, context_var};
    /// context_var! { static LEVEL: u8; }
    ///
    /// let shared = SharedContext::new();
    /// let before = shared.copy();
    /// shared.run(|| { LEVEL.set(1); }).unwrap();
    /// assert!(before.is_empty());
    /// ```
    pub fn copy(&self) -> Context {
        // Cloned out of the lock, because a copy allocates where guards have ended.
        let alias = self.state().context.alias();
        alias.clone()
    }

    /// The value bound to `var` at this moment, also while the context is entered. Never
    /// the variable's default.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var};
    /// context_var! { static LEVEL: u8; }
    ///
    /// assert_eq!(Context::new().with_value(&LEVEL, 1).share().get(&LEVEL), Some(1));
    /// ```
    pub fn get<T: Clone + Send + Sync + 'static, D>(&self, var: &ContextVar<T, D>) -> Option<T> {
        // Cloned out, so that `T::clone` does not run under the lock.
        let value = self.state().context.value(var.key()).cloned();
        value::downcast(&**value.as_ref()?).cloned()
    }

    /// Whether `var` is bound at this moment.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{SharedContext, context_var};
    /// context_var! { static LEVEL: u8; }
    ///
    /// assert!(!SharedContext::new().contains(&LEVEL));
    /// ```
    pub fn contains<T: Send + Sync + 'static, D>(&self, var: &ContextVar<T, D>) -> bool {
        self.state().context.contains(var)
    }

    /// How many variables are bound at this moment.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::SharedContext;
    /// assert_eq!(SharedContext::new().len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.state().context.len()
    }

    /// Whether no variable is bound at this moment.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::SharedContext;
    /// assert!(SharedContext::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the two are the same context object.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::SharedContext;
    /// let shared = SharedContext::new();
    /// assert!(shared.ptr_eq(&shared.clone()));
    /// assert!(!shared.ptr_eq(&SharedContext::new()));
    /// ```
    pub fn ptr_eq(&self, other: &SharedContext) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// A number that tells this object from the others that are alive.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.state) as usize
    }

    /// Records what was written inside. Returns what it replaces, to be dropped by the caller when
    /// no lock is held.
    #[must_use]
    pub(crate) fn publish(&self, context: &Context) -> Context {
        mem::replace(&mut self.state().context, context.alias())
    }

    /// The context, if this is the last reference to the object. Its values are nobody's, and are not
    /// dropped with what the last user has current.
    pub(crate) fn into_last(self) -> Option<Context> {
        let state = Arc::into_inner(self.state)?.into_inner();
        Some(
            state
                .unwrap_or_else(PoisonError::into_inner)
                .context
                .apart(),
        )
    }

    /// Marks the context as left, and wakes all who wait for it.
    pub(crate) fn release(&self) {
        let waiters = {
            let mut state = self.state();
            state.entered = false;
            mem::take(&mut state.waiters)
        };
        // This runs in destructors.
        wake_all(waiters.into_values());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No user code runs under this lock, so a panic cannot have left the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, in which there is room for one more waiter.
    fn lock(&self) -> MutexGuard<'_, State> {
        loop {
            let state = self.state();
            let Some(room) = state.waiters.lacks_room() else {
                return state;
            };
            drop(state);
            let room = Vec::with_capacity(room);
            let freed = self.state().waiters.move_to(room);
            drop(freed);
        }
    }
}

impl fmt::Debug for SharedContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Taken out of the lock, because the values' `Debug` may use the context.
        let context = match self.state.try_lock() {
            Ok(state) => state.context.alias(),
            Err(TryLockError::Poisoned(state)) => state.into_inner().context.alias(),
            Err(TryLockError::WouldBlock) => return f.write_str("SharedContext { <locked> }"),
        };
        f.debug_tuple("SharedContext").field(&context).finish()
    }
}
