//! What happens when a callback panics.

use std::any::Any;
use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use crate::catch::catch;
use crate::shim::join_error::panic_message;

/// Tells the exception handler of a callback that panicked, in what context it was.
#[inline]
pub(super) fn report_panic(outcome: thread::Result<()>, location: &'static Location<'static>) {
    if let Err(payload) = outcome {
        report_payload(payload, location);
    }
}

#[cold]
fn report_payload(payload: Box<dyn Any + Send>, location: &'static Location<'static>) {
    // Neither the report nor the payload's destructor may keep the next callback from running.
    catch(|| report(&CallError { location, payload }));
}

/// A callback panicked. Given to the handler of
/// [`set_exception_handler`](super::set_exception_handler).
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// shim::set_exception_handler(|error| {
///     assert_eq!(error.message(), "on purpose");
///     eprintln!("from {}: {error}", error.location());
/// });
/// shim::block_on(async {
///     shim::call_soon(|| std::panic::resume_unwind(Box::new("on purpose")));
///     shim::yield_now().await;
/// });
/// ```
pub struct CallError {
    location: &'static Location<'static>,
    payload: Box<dyn Any + Send>,
}

impl CallError {
    /// Where the callback was scheduled.
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// The text of the panic.
    pub fn message(&self) -> &str {
        panic_message(&*self.payload)
    }

    /// The payload of the panic.
    pub fn payload(&self) -> &(dyn Any + Send) {
        &*self.payload
    }
}

impl fmt::Debug for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallError")
            .field("location", &format_args!("{}", self.location))
            .field("message", &self.message())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the callback scheduled at {} panicked: {}",
            self.location,
            self.message()
        )
    }
}

impl std::error::Error for CallError {}

/// What is called when a callback panics: a function, or the default. Returned by
/// [`set_exception_handler`], for what was set before.
///
/// # Examples
///
/// A handler for the time of a test:
///
/// ```
/// use aiocontextvars::shim;
///
/// let before = shim::set_exception_handler(|error| panic!("{error}"));
/// // ...
/// before.restore();
/// ```
#[derive(Clone, Default)]
pub struct ExceptionHandler(Option<Arc<Handler>>);

type Handler = dyn Fn(&CallError) + Send + Sync;

impl ExceptionHandler {
    /// Makes this the process's handler again, and returns the one that it replaces.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim::{self, ExceptionHandler};
    ///
    /// shim::set_exception_handler(|_| ());
    /// // One line on standard error, as if nothing had been set.
    /// ExceptionHandler::default().restore();
    /// ```
    pub fn restore(self) -> ExceptionHandler {
        let mut current = HANDLER.write().unwrap_or_else(PoisonError::into_inner);
        mem::replace(&mut current, self)
    }

    /// Calls the handler, for one that passes on what it does not know.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::OnceLock;
    /// use aiocontextvars::shim::{self, ExceptionHandler};
    ///
    /// static BEFORE: OnceLock<ExceptionHandler> = OnceLock::new();
    ///
    /// let before = shim::set_exception_handler(|error| match error.message() {
    ///     "not worth a report" => (),
    ///     _ => BEFORE.get_or_init(ExceptionHandler::default).call(error),
    /// });
    /// BEFORE.get_or_init(|| before);
    /// ```
    pub fn call(&self, error: &CallError) {
        match &self.0 {
            Some(handler) => handler(error),
            // Where standard error is closed there is nobody to tell.
            None => drop(writeln!(io::stderr(), "aiocontextvars: {error}")),
        }
    }
}

impl fmt::Debug for ExceptionHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_default = self.0.is_none();
        f.debug_struct("ExceptionHandler")
            .field("is_default", &is_default)
            .finish_non_exhaustive()
    }
}

static HANDLER: RwLock<ExceptionHandler> = RwLock::new(ExceptionHandler(None));

/// Sets what happens when a callback panics, on any executor of the process, and returns what was
/// set before. By default one line on standard error names the callback's call site.
///
/// The handler runs in the callback's context, when the callback has been unwound and
/// before the next one runs; in an empty context if it was the destructor of a value that panicked
/// when that context went. If it panics itself, the default does its work. It may use the crate,
/// and replace itself: then it is dropped when it has returned.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// shim::set_exception_handler(|error| eprintln!("{error}"));
/// ```
pub fn set_exception_handler(f: impl Fn(&CallError) + Send + Sync + 'static) -> ExceptionHandler {
    ExceptionHandler(Some(Arc::new(f))).restore()
}

fn report(error: &CallError) {
    let handler = HANDLER
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| handler.call(error)));
    let handled = outcome.is_ok();
    // The handler may have been replaced meanwhile, so that this is the end of it.
    catch(|| drop(handler));
    catch(|| drop(outcome));
    if !handled {
        ExceptionHandler::default().call(error);
    }
}
