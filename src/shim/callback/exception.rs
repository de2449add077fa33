//! What happens when a callback panics.

use std::any::Any;
use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use crate::contain::contain;
use crate::shim::join::panic_message;

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
    contain(|| report(&CallError { location, payload }));
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

pub(crate) type Handler = Arc<dyn Fn(&CallError) + Send + Sync>;

static HANDLER: RwLock<Option<Handler>> = RwLock::new(None);

/// Sets what happens when a callback panics, on any executor of the process. By default one line on
/// standard error names the callback's call site.
///
/// The handler runs in the callback's context (CS-06), when the callback has been unwound and before
/// the next one runs; in an empty context if it was the destructor of a value that panicked when that context went. If
/// it panics itself, the default does its work. It may use the crate, and replace itself: then it is dropped when it has
/// returned.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// shim::set_exception_handler(|error| eprintln!("{error}"));
/// ```
pub fn set_exception_handler(f: impl Fn(&CallError) + Send + Sync + 'static) {
    drop(replace(Some(Arc::new(f))));
}

/// Sets the handler, or the default, and returns what was set before.
pub(crate) fn replace(handler: Option<Handler>) -> Option<Handler> {
    let mut current = HANDLER.write().unwrap_or_else(PoisonError::into_inner);
    mem::replace(&mut current, handler)
}

fn report(error: &CallError) {
    let handler = HANDLER
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let handled = handler.is_some_and(|handler| {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| handler(error)));
        let handled = outcome.is_ok();
        // The handler may have been replaced meanwhile, so that this is the end of it.
        contain(|| drop(handler));
        contain(|| drop(outcome));
        handled
    });
    if !handled {
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(io::stderr(), "aiocontextvars: {error}");
    }
}
