//! The errors of the core.

use std::error::Error;
use std::fmt;
use std::thread;

use crate::current::Refusal;
use crate::name::Name;

/// A variable has no value in the current context, and no default (CV-04).
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

/// Why a value was not set.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SetErrorKind {
    /// The running task was not spawned through the shim and has no context of its own: the value would
    /// be seen by every other such task on the thread.
    ForeignTask,
    /// The thread is exiting, and its own context has been freed.
    ThreadExit,
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
    pub(crate) fn new(name: Name, refusal: Refusal, value: T) -> SetError<T> {
        let kind = match refusal {
            Refusal::ForeignTask => SetErrorKind::ForeignTask,
            Refusal::ThreadExit => SetErrorKind::ThreadExit,
        };
        SetError { name, kind, value }
    }

    /// The name of the variable.
    pub fn var_name(&self) -> &str {
        self.name.as_str()
    }

    /// Why the value was not set.
    pub fn kind(&self) -> SetErrorKind {
        self.kind
    }

    /// The value.
    pub fn into_value(self) -> T {
        self.value
    }

    /// Panics with this error, unless the write can be dropped without harm: the thread is exiting, or
    /// unwinding already, where a second panic would abort the process.
    #[track_caller]
    pub(crate) fn panic_if_it_would_leak(self) {
        if self.kind == SetErrorKind::ForeignTask && !thread::panicking() {
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
        match self.kind {
            SetErrorKind::ForeignTask => write!(
                f,
                "context variable `{name}` cannot be set here: this task was not spawned through \
                 `aiocontextvars::shim`, so it has no context of its own and the value would leak into \
                 other tasks; use `{name}.scope(value, future)`, wrap the task's future with \
                 `.in_current_context()`, put `shim::tower::ContextLayer` around the service, or spawn \
                 the task with `shim::spawn`"
            ),
            SetErrorKind::ThreadExit => write!(
                f,
                "context variable `{name}` cannot be set while the thread's locals are destroyed"
            ),
        }
    }
}

impl<T> Error for SetError<T> {}

/// The shared context is entered already, on this thread or another (RN-05, RN-06).
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
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct AlreadyEntered {
    pub(crate) _private: (),
}

impl fmt::Display for AlreadyEntered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shared context is already entered")
    }
}

impl Error for AlreadyEntered {}
