//! [`ContextVar`]: a variable whose value belongs to the current context.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::context::{Context, copy_context};
use crate::current;
use crate::error::{LookupError, SetError};
use crate::future::{ContextExt, WithContext};
use crate::id;
use crate::name::Name;
use crate::node::{DebugValue, Stored, Value};
use crate::scoped::Scoped;
use crate::slot::{Live, Slot};
use crate::token::{ResetError, ResetErrorKind, Token};
use crate::underway::{self, Underway, Work};

/// A variable whose value belongs to the current [`Context`]: PEP 567's `ContextVar`.
///
/// Declare variables as statics, with [`context_var!`](crate::context_var) or by hand. Two variables
/// are the same only if they are the same object; the name is for messages (CV-03). Reading never
/// blocks.
///
/// Values are shared by reference between a context and its copies: setting a variable in one does not
/// show in the other, while interior mutability of a value shows in both (CV-08).
///
/// # Code of values
///
/// User code (`Clone`, `Drop`, `Debug`, defaults, `with` closures) runs while no lock or borrow is held, and may call
/// anything in this crate, also on this very variable.
///
/// A value is dropped when the last context, token or reader lets go of it, and only then when the write that has
/// replaced it has taken place: its destructor finds what has come after it, and what the destructor sets stays. It runs
/// in the context of whoever lets go. Only if that is a wrapped future, a task, callback, job or bound function, whose
/// context takes its values along, it runs in an empty context, where it may read, write and enter contexts.
///
/// A destructor's panic comes out of whatever has dropped the value, which has done its work all the same, and other
/// values are dropped as well. In a task the panic is the task's, in a callback it is reported. Where nobody could take
/// it, when a thread ends or a guard or a future is dropped by a panic, it goes no further than the panic hook. As with
/// any collection, two values that go together and both panic end the process.
///
/// # Examples
///
/// ```
/// use aiocontextvars::ContextVar;
///
/// static REQUEST_ID: ContextVar<u64> = ContextVar::new("REQUEST_ID");
///
/// assert_eq!(REQUEST_ID.get(), None);
/// let token = REQUEST_ID.set(7);
/// assert_eq!(REQUEST_ID.get(), Some(7));
/// REQUEST_ID.reset(token).unwrap();
/// assert_eq!(REQUEST_ID.get(), None);
/// ```
pub struct ContextVar<T: 'static> {
    name: Name,
    /// 0 until the variable is first used.
    id: AtomicU64,
    default: Option<fn() -> T>,
    /// The first result of `default` that was stored.
    first_default: OnceLock<T>,
    debug: Option<DebugValue<T>>,
    local: bool,
}

impl<T> ContextVar<T> {
    /// A variable without a default.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::ContextVar;
    ///
    /// static TRACE: ContextVar<bool> = ContextVar::new("TRACE");
    /// assert_eq!(TRACE.get(), None);
    /// ```
    pub const fn new(name: &'static str) -> ContextVar<T> {
        ContextVar::build(Name::fixed(name), None)
    }

    /// A variable whose value is `default()` in contexts that do not bind it.
    ///
    /// The default is computed on first use, without a lock: threads that race may compute it twice,
    /// and the first stored result is the only one that is ever seen. A default that reads its own
    /// variable sees `None`. A default is not a binding: it is never part of a [`Context`] (CV-05).
    ///
    /// It runs in the reader's context and may use it. If it sets its own variable, this read still gives the default,
    /// and the next one what was set. If it panics, so does the read, and the next one computes it again.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::ContextVar;
    ///
    /// static LOCALE: ContextVar<String> = ContextVar::with_default("LOCALE", || "en".to_owned());
    /// assert_eq!(LOCALE.get().as_deref(), Some("en"));
    /// ```
    pub const fn with_default(name: &'static str, default: fn() -> T) -> ContextVar<T> {
        ContextVar::build(Name::fixed(name), Some(default))
    }

    /// A variable whose name is only known at run time.
    ///
    /// Prefer statics: a variable that is dropped leaves its values in the contexts that bind it, until
    /// those are dropped (CV-13).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::ContextVar;
    ///
    /// let var: ContextVar<u8> = ContextVar::named(format!("column-{}", 3));
    /// assert_eq!(var.name(), "column-3");
    /// ```
    pub fn named(name: impl Into<Cow<'static, str>>) -> ContextVar<T> {
        ContextVar::build(
            match name.into() {
                Cow::Borrowed(name) => Name::fixed(name),
                Cow::Owned(name) => Name::made(name),
            },
            None,
        )
    }

    const fn build(name: Name, default: Option<fn() -> T>) -> ContextVar<T> {
        ContextVar {
            name,
            id: AtomicU64::new(0),
            default,
            first_default: OnceLock::new(),
            debug: None,
            local: false,
        }
    }

    /// Lets `Debug` output show this variable's values, which are redacted otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, ContextVar};
    ///
    /// static SHOWN: ContextVar<u8> = ContextVar::new("SHOWN").debug();
    /// static SECRET: ContextVar<u8> = ContextVar::new("SECRET");
    ///
    /// let context = Context::new().with_value(&SHOWN, 1).with_value(&SECRET, 2);
    /// assert_eq!(format!("{context:?}"), "Context {SECRET: <redacted>, SHOWN: 1}");
    /// ```
    #[must_use = "`debug` returns the variable"]
    pub const fn debug(mut self) -> ContextVar<T>
    where
        T: fmt::Debug,
    {
        self.debug = Some(<T as fmt::Debug>::fmt);
        self
    }

    /// Keeps this variable out of new units of work: tasks, callbacks, jobs and threads that inherit
    /// the current context start without it.
    ///
    /// An explicit context, `run`, [`scope`](Self::scope) and
    /// [`ContextAwareExecutor::fixed`](crate::shim::ContextAwareExecutor::fixed) are taken as they are.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{ContextVar, shim};
    ///
    /// static CONNECTION: ContextVar<u8> = ContextVar::new("CONNECTION").local();
    ///
    /// CONNECTION.set(1);
    /// assert_eq!(shim::bind(|| CONNECTION.get())(), None);
    /// ```
    #[must_use = "`local` returns the variable"]
    pub const fn local(mut self) -> ContextVar<T> {
        self.local = true;
        self
    }

    /// The name given to the constructor.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::ContextVar;
    ///
    /// static LOCALE: ContextVar<u8> = ContextVar::new("LOCALE");
    /// assert_eq!(LOCALE.name(), "LOCALE");
    /// ```
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(crate) fn shared_name(&self) -> Name {
        self.name.clone()
    }

    pub(crate) fn is_local(&self) -> bool {
        self.local
    }

    /// The key of this variable. Assigned on first use, because `new` is `const`.
    pub(crate) fn id(&self) -> u64 {
        match self.id.load(Ordering::Relaxed) {
            0 => self.assign_id(),
            id => id,
        }
    }

    #[cold]
    fn assign_id(&self) -> u64 {
        let fresh = id::next_var();
        // The id publishes nothing but itself, so relaxed is enough.
        match self
            .id
            .compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => fresh,
            Err(assigned) => assigned,
        }
    }

    /// The default, computed now if it never was. `None` while this thread is computing it.
    fn default_value(&self) -> Option<&T> {
        let default = self.default?;
        if self.first_default.get().is_none() {
            let computing = Underway::start(Work::Default(self.id()))?;
            let value = default();
            drop(computing);
            // Another thread may have been first; then this result is the one that nobody sees.
            let _lost = self.first_default.set(value);
        }
        self.first_default.get()
    }
}

impl<T: Send + Sync + 'static> ContextVar<T> {
    /// The value in the current context, else the default, else `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static LEVEL: u8 = 1; }
    ///
    /// assert_eq!(LEVEL.get(), Some(1));
    /// LEVEL.set(2);
    /// assert_eq!(LEVEL.get(), Some(2));
    /// ```
    pub fn get(&self) -> Option<T>
    where
        T: Clone,
    {
        self.with(|value| value.cloned())
    }

    /// The value in the current context, else `fallback`: the variable's own default comes last, as
    /// with an argument to Python's `get` (CV-04).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static LEVEL: u8 = 1; }
    ///
    /// assert_eq!(LEVEL.get_or(9), 9);
    /// LEVEL.set(2);
    /// assert_eq!(LEVEL.get_or(9), 2);
    /// ```
    pub fn get_or(&self, fallback: T) -> T
    where
        T: Clone,
    {
        current::read(self, |value| value.cloned()).unwrap_or(fallback)
    }

    /// The value in the current context or the default.
    ///
    /// # Errors
    ///
    /// A [`LookupError`] that names the variable, if there is neither.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// let error = LEVEL.try_get().unwrap_err();
    /// assert_eq!(error.var_name(), "LEVEL");
    /// ```
    pub fn try_get(&self) -> Result<T, LookupError>
    where
        T: Clone,
    {
        self.get()
            .ok_or_else(|| LookupError::new(self.shared_name()))
    }

    /// Calls `f` with a reference to the value, or to the default.
    ///
    /// `f` may call anything in this crate, and may set this variable: the reference stays valid.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static PATH: Vec<String>; }
    ///
    /// PATH.set(vec!["a".to_owned()]);
    /// let length = PATH.with(|path| {
    ///     PATH.set(Vec::new());
    ///     path.map_or(0, Vec::len)
    /// });
    /// assert_eq!(length, 1);
    /// ```
    pub fn with<R>(&self, f: impl FnOnce(Option<&T>) -> R) -> R {
        current::read(self, |value| match value {
            Some(value) => f(Some(value)),
            None => f(self.default_value()),
        })
    }

    /// Binds the variable in the current context, and returns a token that can restore what was there
    /// (CV-06). The token may be ignored.
    ///
    /// During thread-local destruction, when the thread's own context is gone, the value is dropped and
    /// the token restores nothing.
    ///
    /// # Panics
    ///
    /// In a tokio or async-std task that was not spawned through the shim, where the value would leak
    /// into other tasks; the message names the remedies. While the thread is unwinding the value is
    /// dropped instead. For a form that does not panic, see [`try_set`](Self::try_set).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// LEVEL.set(1);
    /// let token = LEVEL.set(2);
    /// assert_eq!(token.old_value(), Some(&1));
    /// ```
    #[track_caller]
    pub fn set(&self, value: T) -> Token<T> {
        match current::check_write() {
            Ok(()) => self.write(value),
            Err(refusal) => {
                SetError::new(self.shared_name(), refusal, value).panic_if_it_would_leak();
                Token::dead(self)
            }
        }
    }

    /// As [`set`](Self::set), with an error where that panics or drops the value.
    ///
    /// # Errors
    ///
    /// A [`SetError`] that gives the value back, in a task that has no context of its own, or during
    /// thread-local destruction.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// assert!(LEVEL.try_set(1).is_ok());
    /// ```
    pub fn try_set(&self, value: T) -> Result<Token<T>, SetError<T>> {
        match current::check_write() {
            Ok(()) => Ok(self.write(value)),
            Err(refusal) => Err(SetError::new(self.shared_name(), refusal, value)),
        }
    }

    /// Removes the binding from the current context, so that the variable has its default or no value.
    ///
    /// # Panics
    ///
    /// Where [`set`](Self::set) does; where that drops the value, so does this.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// LEVEL.set(1);
    /// let token = LEVEL.unset();
    /// assert_eq!(LEVEL.get(), None);
    /// LEVEL.reset(token).unwrap();
    /// assert_eq!(LEVEL.get(), Some(1));
    /// ```
    #[track_caller]
    pub fn unset(&self) -> Token<T> {
        match current::check_write() {
            Ok(()) => {
                let (context, old) = self.replace(None);
                Token::new(self, context, old)
            }
            Err(refusal) => {
                SetError::new(self.shared_name(), refusal, ()).panic_if_it_would_leak();
                Token::dead(self)
            }
        }
    }

    /// Restores the value that the variable had before the `set` or `unset` that made `token`.
    ///
    /// Resets need not nest: each token restores its own old value (TK-09). A value that was set under
    /// a [`scoped`](Self::scoped) guard that has gone since is not brought back; what was below that
    /// guard is.
    ///
    /// # Errors
    ///
    /// A [`ResetError`] that gives the token back, if it belongs to another variable, or to another
    /// context than the current one (TK-05, TK-06). Nothing is changed then, and the token can still be
    /// used where it belongs (TK-08).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{ResetErrorKind, context_var, copy_context};
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// let token = LEVEL.set(1);
    /// let error = copy_context().run(|| LEVEL.reset(token)).unwrap_err();
    /// assert_eq!(error.kind(), ResetErrorKind::DifferentContext);
    /// LEVEL.reset(error.into_token()).unwrap();
    /// assert_eq!(LEVEL.get(), None);
    /// ```
    pub fn reset(&self, token: Token<T>) -> Result<(), ResetError<T>> {
        if token.var_id() != self.id() {
            return Err(ResetError::new(ResetErrorKind::DifferentVar, token));
        }
        if token.context() == 0 || token.context() != current::id() {
            return Err(ResetError::new(ResetErrorKind::DifferentContext, token));
        }
        let old = token.into_old();
        let replaced = current::update(self.id(), self.local, |context, now| {
            let value = old.visible(context).cloned();
            (now.clone().with_value(value), now)
        });
        drop(replaced);
        Ok(())
    }

    /// Binds the variable until the guard is dropped.
    ///
    /// The guard may be held across `.await`, move between threads with its task, and be dropped in any
    /// order with others of the same variable: once no guard is live, no guard's value is visible.
    /// Plain `set`s made under a guard go with it (TK-13). Dropped in another context, a guard changes
    /// nothing there (TK-14).
    ///
    /// # Panics
    ///
    /// Where [`set`](Self::set) does; where that drops the value, so does this.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static PRECISION: u8 = 28; }
    ///
    /// {
    ///     let _guard = PRECISION.scoped(6);
    ///     assert_eq!(PRECISION.get(), Some(6));
    /// }
    /// assert_eq!(PRECISION.get(), Some(28));
    /// ```
    #[must_use = "the value is unset when the guard is dropped; bind it to a variable: `let _guard = …`"]
    #[track_caller]
    pub fn scoped(&self, value: T) -> Scoped<'_, T> {
        if let Err(refusal) = current::check_write() {
            SetError::new(self.shared_name(), refusal, ()).panic_if_it_would_leak();
            return Scoped::dead(self);
        }
        let value = self.store(value);
        let live = Live::new();
        let layer = live.clone();
        let (context, old) = current::update(self.id(), self.local, |context, now| {
            (
                now.clone().push_layer(context, layer, value),
                (context, now),
            )
        });
        drop(old);
        Scoped::new(self, context, live)
    }

    /// Takes out the layers that have ended, if `context` is the current one.
    pub(crate) fn settle(&self, context: u64) {
        if context == current::id() {
            let old = current::update(self.id(), self.local, |_, now| (now.clone(), now));
            drop(old);
        }
    }

    /// Calls `f` in a copy of the current context in which the variable is `value`: nothing set inside
    /// comes out.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::context_var;
    ///
    /// context_var! { static LEVEL: u8; static OTHER: u8; }
    ///
    /// LEVEL.sync_scope(5, || { OTHER.set(1); assert_eq!(LEVEL.get(), Some(5)); });
    /// assert_eq!((LEVEL.get(), OTHER.get()), (None, None));
    /// ```
    pub fn sync_scope<R>(&self, value: T, f: impl FnOnce() -> R) -> R {
        self.scope_context(value).run(f)
    }

    /// Polls and drops `future` in a copy of the current context, taken now, in which the variable is
    /// `value`: nothing set inside comes out.
    ///
    /// # Cancel safety
    ///
    /// The returned future is as cancel safe as `future`: dropping it drops `future` inside the copy.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{context_var, shim};
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// let level = shim::block_on(LEVEL.scope(5, async { LEVEL.get() }));
    /// assert_eq!((level, LEVEL.get()), (Some(5), None));
    /// ```
    pub fn scope<F: Future>(&self, value: T, future: F) -> WithContext<F> {
        future.in_context(self.scope_context(value))
    }

    /// `value` as it is kept in a context.
    #[inline]
    pub(crate) fn store(&self, value: T) -> Value {
        Arc::new(Stored {
            name: self.shared_name(),
            debug: self.debug,
            value,
        })
    }

    #[inline]
    fn write(&self, value: T) -> Token<T> {
        let mut value = Some(self.store(value));
        let (context, old) = match current::swap(self.id(), &mut value) {
            Some((context, old)) => (context, Slot::plain(Some(old))),
            None => self.replace(value),
        };
        Token::new(self, context, old)
    }

    /// Returns the id of the context and the slot as it was.
    fn replace(&self, value: Option<Value>) -> (u64, Slot) {
        current::update(self.id(), self.local, |context, now| {
            (now.clone().with_value(value), (context, now))
        })
    }

    fn scope_context(&self, value: T) -> Context {
        copy_context().with_value(self, value)
    }
}

impl<T> fmt::Debug for ContextVar<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("ContextVar");
        out.field("name", &self.name());
        out.field("id", &self.id());
        match (self.debug, self.first_default.get()) {
            (Some(debug), Some(default)) => out.field(
                "default",
                &Shown {
                    var: self.id(),
                    debug,
                    value: default,
                },
            ),
            _ => out.field("has_default", &self.default.is_some()),
        };
        out.finish_non_exhaustive()
    }
}

/// A default that the variable allows to be shown.
struct Shown<'a, T> {
    var: u64,
    debug: DebugValue<T>,
    value: &'a T,
}

impl<T> fmt::Debug for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        underway::show(Work::ShowDefault(self.var), f, |f| {
            (self.debug)(self.value, f)
        })
    }
}
