//! [`SharedContext`]: a context with identity, entered by one at a time and seen by all.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::num::NonZeroU64;
use std::sync::{Arc, PoisonError, TryLockError};
use std::task::{self, Poll, Waker};

use crate::contain::{contain, in_destructor};
use crate::context::Context;
use crate::current::{self, Frame, Kind};
use crate::error::AlreadyEntered;
use crate::node;
use crate::sync::{Mutex, MutexGuard, thread};
use crate::var::ContextVar;

/// A context *object*, as PEP 567 has it: `clone()` is the same context.
///
/// Use it where identity matters: several tasks or callbacks that share one context, a parent that
/// reads what its child set, a runner whose runs share theirs. Everywhere else an owned [`Context`]
/// does, with less that can go wrong at run time.
///
/// One thread at a time is inside. Who comes while it is taken:
///
/// - [`run`](Self::run) gets [`AlreadyEntered`], from this thread or another (RN-05, RN-06);
/// - a task parks until the context is free (TA-08), a callback or blocking job steps aside (CS-07);
/// - a poll or drop *inside* a frame of this context, on the same thread, passes through;
/// - a future that has to be dropped meanwhile is dropped in a copy.
///
/// Those who wait are woken when the context has been left, by whoever leaves it; a waker may enter it at once.
///
/// # Bringing values back
///
/// What a task sets stays in its context. If the task is given a shared one, whoever has that too reads what was set: at
/// any time, also while the task runs and when it has failed. For the context that a task has completed with, and nothing
/// to prepare, there is [`JoinHandle::join_context`](crate::shim::JoinHandle::join_context).
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
/// As with a mutex, work inside the context that waits for other work in the same context never ends: a thread
/// that blocks on it, or a task that awaits it through a frame of another context.
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
///         shim::spawn_in(&shared, async { STEP.set(STEP.get_or(0) + 1); }).await.unwrap();
///     }
/// });
/// assert_eq!(shared.get(&STEP), Some(2));
/// ```
#[derive(Clone, Default)]
pub struct SharedContext {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The bindings, kept up to date by every write inside.
    context: Context,
    entered: bool,
    /// Who waits to enter, by ticket. All are woken when the context is left, in this order: one that were
    /// woken alone might be alive and never polled again, and the others would wait behind it. Who finds the
    /// context taken again comes back with the same ticket, and so keeps its place.
    waiters: BTreeMap<NonZeroU64, Waker>,
    last_ticket: u64,
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

    pub(crate) fn from_context(context: Context) -> SharedContext {
        SharedContext {
            state: Arc::new(Mutex::new(State {
                context,
                ..State::default()
            })),
        }
    }

    /// Calls `f` in this context and returns its result. What `f` sets stays in the context.
    ///
    /// # Errors
    ///
    /// [`AlreadyEntered`] if the context is entered, on this thread or another; `f` is not called then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{SharedContext, context_var};
    /// context_var! { static LEVEL: u8; }
    ///
    /// let shared = SharedContext::new();
    /// shared.run(|| {
    ///     LEVEL.set(1);
    ///     // A live view, also while the context is entered (CX-06).
    ///     assert_eq!(shared.get(&LEVEL), Some(1));
    /// })?;
    /// # Ok::<(), aiocontextvars::AlreadyEntered>(())
    /// ```
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> Result<R, AlreadyEntered> {
        let frame = self.acquire().ok_or(AlreadyEntered { _private: () })?;
        Ok(frame.enter(f))
    }

    /// The bindings of this moment as a value; PEP 567's `copy()`. Allowed while the context is
    /// entered, from any thread (CX-08).
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
        self.lock().context.clone()
    }

    /// The value bound to `var` at this moment, also while the context is entered (CX-06). Never the
    /// variable's default (CX-04).
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var};
    /// context_var! { static LEVEL: u8; }
    ///
    /// assert_eq!(Context::new().with_value(&LEVEL, 1).share().get(&LEVEL), Some(1));
    /// ```
    pub fn get<T: Clone + Send + Sync + 'static>(&self, var: &ContextVar<T>) -> Option<T> {
        // Cloned out, so that `T::clone` does not run under the lock.
        let value = self.lock().context.value(var.id()).cloned();
        node::downcast(&*value?).cloned()
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
    pub fn contains<T: Send + Sync + 'static>(&self, var: &ContextVar<T>) -> bool {
        self.lock().context.contains(var)
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
        self.lock().context.len()
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

    /// The frame for this context, which is entered from now on; `None` if it was already.
    fn acquire(&self) -> Option<Frame> {
        let mut state = self.lock();
        if mem::replace(&mut state.entered, true) {
            return None;
        }
        Some(self.frame(&state))
    }

    fn frame(&self, state: &State) -> Frame {
        Frame::new(state.context.alias(), Kind::Shared(self.clone()))
    }

    /// Records what was written inside. Returns what it replaces, to be dropped by the caller when no
    /// lock is held.
    #[must_use]
    pub(crate) fn publish(&self, context: &Context) -> Context {
        mem::replace(&mut self.lock().context, context.alias())
    }

    /// The context, if this is the last reference to the object.
    pub(crate) fn into_last(self) -> Option<Context> {
        let state = Arc::into_inner(self.state)?.into_inner();
        Some(state.unwrap_or_else(PoisonError::into_inner).context)
    }

    /// The context has been left: who waits may come.
    pub(crate) fn release(&self) {
        let waiters = {
            let mut state = self.lock();
            state.entered = false;
            mem::take(&mut state.waiters)
        };
        for waker in waiters.into_values() {
            // This runs in destructors, and the others have to be woken too. The panic hook has reported it.
            contain(|| waker.wake());
        }
    }

    /// Parks the calling thread until it may enter. For threads of their own, which may block.
    pub(crate) fn acquire_blocking(&self) -> Frame {
        let mut waiter = Waiter::from(self.clone());
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            match waiter.poll_frame(&mut task::Context::from_waker(&waker)) {
                Poll::Ready(Some(frame)) => return frame,
                Poll::Ready(None) => unreachable!("a new thread is in no frame of this context"),
                Poll::Pending => thread::park(),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under this lock, so a panic cannot have left the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Unpark(thread::Thread);

impl task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A place from which a shared context is entered again and again: a task's, for example.
#[derive(Debug, Default)]
pub struct Waiter {
    /// `None` once moved out.
    shared: Option<SharedContext>,
    /// Our place in the line, if we ever had to wait since we were last inside.
    ticket: Option<NonZeroU64>,
}

impl From<SharedContext> for Waiter {
    fn from(shared: SharedContext) -> Waiter {
        Waiter {
            shared: Some(shared),
            ticket: None,
        }
    }
}

impl Waiter {
    pub(crate) fn shared(&self) -> Option<&SharedContext> {
        self.shared.as_ref()
    }

    /// The frame for the context, which is entered from now on, or asks to be woken when it is free. `None`: this
    /// thread's innermost frame is this context already.
    pub(crate) fn poll_frame(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Frame>> {
        let Some(shared) = &self.shared else {
            return Poll::Ready(None);
        };
        if current::is_innermost(shared) {
            return Poll::Ready(None);
        }
        if self.ticket.is_none() {
            // The common case needs no waker.
            if let Some(frame) = shared.acquire() {
                return Poll::Ready(Some(frame));
            }
        }
        // Wakers are user code: cloned before the lock is taken, dropped after it is released.
        let waker = cx.waker().clone();
        let mut state = shared.lock();
        if state.entered {
            let ticket = *self.ticket.get_or_insert_with(|| {
                state.last_ticket += 1;
                NonZeroU64::MIN.saturating_add(state.last_ticket)
            });
            let old = state.waiters.insert(ticket, waker);
            drop(state);
            drop(old);
            return Poll::Pending;
        }
        state.entered = true;
        let frame = shared.frame(&state);
        let old = self
            .ticket
            .take()
            .and_then(|ticket| state.waiters.remove(&ticket));
        drop(state);
        // If a destructor panics, the frame goes, and so the context is left.
        current::enter_empty(|| drop((old, waker)));
        Poll::Ready(Some(frame))
    }

    /// The frame for the context, or for a copy of it if it is taken. `None`: it is this thread's innermost frame.
    pub(crate) fn frame_now(&self) -> Option<Frame> {
        let shared = self.shared.as_ref()?;
        if current::is_innermost(shared) {
            return None;
        }
        let taken = || Frame::inside(shared.copy());
        Some(shared.acquire().unwrap_or_else(taken))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let (Some(shared), Some(ticket)) = (&self.shared, self.ticket) {
            let waiting = shared.lock().waiters.remove(&ticket);
            in_destructor(|| drop(waiting));
        }
    }
}

impl fmt::Debug for SharedContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Cloned out, because the values' `Debug` may use the context.
        let context = match self.state.try_lock() {
            Ok(state) => state.context.clone(),
            Err(TryLockError::Poisoned(state)) => state.into_inner().context.clone(),
            Err(TryLockError::WouldBlock) => return f.write_str("SharedContext { <locked> }"),
        };
        f.debug_tuple("SharedContext").field(&context).finish()
    }
}
