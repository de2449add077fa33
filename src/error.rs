//! The errors of the core.

use std::error::Error;
use std::fmt;
use std::thread;

use crate::name::Name;

/// A variable has no value in the current context, and no default.
///
/// # Examples
///
/// ```
/// # use aiocontextvars::context_var;
/// context_var! { static LEVEL: u8; }
///
/// let error = LEVEL.try_get().unwrap_err();
/// assert_eq!(error.to_string(), "context variable `LEVEL` has no value in the current context and no default");
/// ```
#[derive(Clone)]
pub struct LookupError {
    name: Name,
}

impl LookupError {
    pub(crate) fn new(name: Name) -> LookupError {
        LookupError { name }
    }

    /// The name of the variable.
    pub fn var_name(&self) -> &str {
        self.name.as_str()
    }
}

impl fmt::Debug for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupError")
            .field("var", &self.var_name())
            .finish()
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.var_name();
        write!(
            f,
            "context variable `{name}` has no value in the current context and no default"
        )
    }
}

impl Error for LookupError {}

/// Why a variable cannot be written here.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SetErrorKind {
    /// The running task was not spawned through the shim and has no context of its own: the value
    /// would be seen by other tasks.
    ForeignTask,
    /// The running job has no context of its own: a worker of a rayon pool runs it and the shim did
    /// not start it, or it is a closure of `install` or `apart` in `shim::rayon`. The value would
    /// be seen by other jobs.
    ForeignJob,
    /// The thread is in the middle of changing its current context: this is an allocator or a
    /// signal handler. Or it drops values that destructors have set, and whose destructors have set
    /// others, over and over.
    Busy,
    /// The thread is exiting, and its own context has been freed.
    ThreadExit,
}

impl SetErrorKind {
    /// Whether a write that returns no error panics. Not where it would end the process: in an
    /// allocator, a signal handler or the destructor of a thread-local, or while the thread is
    /// unwinding already. There the value is dropped.
    fn panics(self) -> bool {
        match self {
            SetErrorKind::ForeignTask | SetErrorKind::ForeignJob => !thread::panicking(),
            SetErrorKind::Busy | SetErrorKind::ThreadExit => false,
        }
    }

    /// Says why `what` cannot be done and what to do instead, for a variable called `name` in
    /// examples.
    fn explain(self, what: &str, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetErrorKind::ForeignTask => write!(
                f,
                "{what} here: this task was not spawned through `aiocontextvars::shim`, so it has no context of its \
                 own and the value would leak into other tasks; use `{name}.scope(value, future)`, wrap the task's \
                 future with `.in_current_context()`, put `shim::tower::HttpContextLayer` around the service \
                 (features `tower` and `http-body`; `ContextLayer` if it is not HTTP), or spawn the task with `shim::spawn`; in a blocking job, bind \
                 the closure with `shim::bind`; for values that are set at start-up, \
                 `let base = inherit_context().without_companions();` and `HttpContextLayer::with(move |_: &Request<_>| base.clone())`"
            ),
            SetErrorKind::ForeignJob => write!(
                f,
                "{what} here: this job has no context of its own, and the value would leak into other jobs of the \
                 pool; start the job with `aiocontextvars::shim::rayon`, or put the parallel iterator into a context \
                 with `.in_current_context()`; in a closure of `install` or `apart`, call the code by `Context::call` \
                 of the context that the closure is given; for values of the job's own, use `Context::run`"
            ),
            SetErrorKind::Busy => write!(
                f,
                "{what} in an allocator or a signal handler that has interrupted a change of the thread's context, or in a \
                 destructor of values that destructors set over and over"
            ),
            SetErrorKind::ThreadExit => {
                write!(f, "{what} while the thread's locals are destroyed")
            }
        }
    }
}

/// A value that [`ContextVar::try_set`](crate::ContextVar::try_set) did not set.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{SetErrorKind, context_var};
///
/// context_var! { static TENANT: String; }
///
/// // Says where a value could not be kept, and gives it back.
/// if let Err(error) = TENANT.try_set("acme".to_owned()) {
///     assert_eq!(error.kind(), SetErrorKind::ForeignTask);
///     eprintln!("{error}");
///     let tenant: String = error.into_value();
/// }
/// ```
pub struct SetError<T> {
    name: Name,
    kind: SetErrorKind,
    value: T,
}

impl<T> SetError<T> {
    pub(crate) fn new(name: Name, kind: SetErrorKind, value: T) -> SetError<T> {
        SetError { name, kind, value }
    }

    /// The name of the variable.
    ///
    /// # Examples
    ///
    /// In a task of tokio that was not spawned through the shim, with the feature `tokio`:
    ///
    /// ```
    /// # use aiocontextvars::{SetErrorKind, context_var};
    /// context_var! { static TENANT: &'static str; }
    ///
    /// # #[cfg(feature = "tokio")]
    /// # {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let task = tokio::spawn(async { TENANT.try_set("acme").unwrap_err() });
    /// assert_eq!(task.await.unwrap().var_name(), "TENANT");
    /// # });
    /// # }
    /// ```
    pub fn var_name(&self) -> &str {
        self.name.as_str()
    }

    /// Why the value was not set.
    ///
    /// # Examples
    ///
    /// In a task of tokio that was not spawned through the shim, with the feature `tokio`:
    ///
    /// ```
    /// # use aiocontextvars::{SetErrorKind, context_var};
    /// context_var! { static TENANT: &'static str; }
    ///
    /// # #[cfg(feature = "tokio")]
    /// # {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let task = tokio::spawn(async { TENANT.try_set("acme").unwrap_err() });
    /// assert_eq!(task.await.unwrap().kind(), SetErrorKind::ForeignTask);
    /// # });
    /// # }
    /// ```
    pub fn kind(&self) -> SetErrorKind {
        self.kind
    }

    /// The value.
    ///
    /// # Examples
    ///
    /// In a task of tokio that was not spawned through the shim, with the feature `tokio`:
    ///
    /// ```
    /// # use aiocontextvars::{SetErrorKind, context_var};
    /// context_var! { static TENANT: &'static str; }
    ///
    /// # #[cfg(feature = "tokio")]
    /// # {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let task = tokio::spawn(async { TENANT.try_set("acme").unwrap_err() });
    /// assert_eq!(task.await.unwrap().into_value(), "acme");
    /// # });
    /// # }
    /// ```
    pub fn into_value(self) -> T {
        self.value
    }

    /// Panics with this error, unless the value is rather dropped.
    #[track_caller]
    pub(crate) fn panic_or_drop(self) {
        if self.kind.panics() {
            panic!("{self}");
        }
    }
}

impl<T> fmt::Debug for SetError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetError")
            .field("var", &self.var_name())
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for SetError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.var_name();
        let what = format!("context variable `{name}` cannot be set");
        self.kind.explain(&what, name, f)
    }
}

impl<T> Error for SetError<T> {}

/// The values of a context that [`Context::try_apply`](crate::Context::try_apply) did not apply.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{Context, SetErrorKind};
///
/// if let Err(error) = Context::new().try_apply() {
///     assert_eq!(error.kind(), SetErrorKind::ForeignTask);
///     eprintln!("{error}");
/// }
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ApplyError {
    kind: SetErrorKind,
}

impl ApplyError {
    pub(crate) fn new(kind: SetErrorKind) -> ApplyError {
        ApplyError { kind }
    }

    /// Why the values were not applied.
    pub fn kind(&self) -> SetErrorKind {
        self.kind
    }

    /// As [`SetError::panic_or_drop`].
    #[track_caller]
    pub(crate) fn panic_or_drop(self) {
        if self.kind.panics() {
            panic!("{self}");
        }
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind
            .explain("the values of a context cannot be applied", "VAR", f)
    }
}

impl Error for ApplyError {}

/// The shared context is entered already, on this thread or another.
///
/// # Examples
///
/// ```
/// use aiocontextvars::SharedContext;
///
/// let shared = SharedContext::new();
/// let error = shared.run(|| shared.run(|| ())).unwrap().unwrap_err();
/// assert_eq!(error.to_string(), "the shared context is already entered");
/// ```
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct AlreadyEntered {
    pub(crate) _private: (),
}

impl fmt::Debug for AlreadyEntered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AlreadyEntered")
    }
}

impl fmt::Display for AlreadyEntered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shared context is already entered")
    }
}

impl Error for AlreadyEntered {}
