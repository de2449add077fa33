//! [`JoinError`]: why a task gave no output.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

/// A task did not give an output: it panicked or was cancelled.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// # std::panic::set_hook(Box::new(|_| {}));
/// let error = shim::block_on(async { shim::spawn(async { panic!("no") }).await }).unwrap_err();
/// assert!(error.is_panic());
/// assert_eq!(error.into_panic().downcast_ref(), Some(&"no"));
/// ```
pub struct JoinError {
    /// Of a task that panicked. In a mutex only to be `Sync`, as errors are expected to be, and in a
    /// box because every output is moved with the room for an error.
    payload: Option<Box<Mutex<Box<dyn Any + Send>>>>,
}

impl JoinError {
    pub(crate) fn cancelled() -> JoinError {
        JoinError { payload: None }
    }

    pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> JoinError {
        JoinError {
            payload: Some(Box::new(Mutex::new(payload))),
        }
    }

    /// Whether the task was aborted, or dropped by an executor that shut down.
    pub fn is_cancelled(&self) -> bool {
        self.payload.is_none()
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        self.payload.is_some()
    }

    /// The payload of the task's panic, for [`std::panic::resume_unwind`].
    ///
    /// # Panics
    ///
    /// If the task did not panic. For a form that does not, see
    /// [`try_into_panic`](Self::try_into_panic).
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.try_into_panic() {
            Ok(payload) => payload,
            Err(_) => panic!("`JoinError::into_panic` was called on a task that was cancelled"),
        }
    }

    /// The payload of the task's panic.
    ///
    /// # Errors
    ///
    /// Gives the error back if the task did not panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        match self.payload {
            Some(payload) => {
                let payload = payload.into_inner();
                Ok(payload.unwrap_or_else(PoisonError::into_inner))
            }
            None => Err(JoinError::cancelled()),
        }
    }
}

/// The text of a panic, if it has one.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    if let Some(message) = payload.downcast_ref::<&'static str>() {
        message
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message
    } else {
        "a panic without a message"
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.payload {
            None => f.write_str("the task was cancelled"),
            Some(payload) => {
                // Copied out: what is written to may use this very error.
                let message = {
                    let payload = payload.lock().unwrap_or_else(PoisonError::into_inner);
                    panic_message(&**payload).to_owned()
                };
                write!(f, "the task panicked: {message}")
            }
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.payload {
            None => f.write_str("JoinError::Cancelled"),
            Some(_) => write!(f, "JoinError::Panicked({:?})", self.to_string()),
        }
    }
}

impl Error for JoinError {}

/// For functions that return an `io::Result`: an error of the kind `Other`, in which this one is.
///
/// # Examples
///
/// ```
/// use std::io;
/// use aiocontextvars::shim;
///
/// async fn read() -> io::Result<String> {
///     let text = shim::spawn_blocking(|| std::fs::read_to_string("Cargo.toml")).await??;
///     Ok(text)
/// }
///
/// assert!(shim::block_on(read()).unwrap().contains("[package]"));
/// ```
impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        io::Error::other(error)
    }
}
