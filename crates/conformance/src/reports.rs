//! The process's exception handler, shared by the rows that need one.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aiocontextvars::shim::{self, CallError, ExceptionHandler};

use crate::exits::PANIC;
use crate::fixtures::ID;
use crate::hook;

type Handler = Arc<dyn Fn(&CallError) + Send + Sync>;

/// The handlers, by the beginning of the messages that they are for.
static HANDLERS: Mutex<Vec<(String, Handler)>> = Mutex::new(Vec::new());

fn handlers() -> MutexGuard<'static, Vec<(String, Handler)>> {
    HANDLERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the rows' handlers the process's, and returns what was set before. For the panics of the
/// exit matrix it only writes, which none of its rows may see; everybody else's are passed over.
pub(crate) fn install() -> ExceptionHandler {
    shim::set_exception_handler(|error| {
        let handler = handlers()
            .iter()
            // A row that was left behind may have an older one.
            .rev()
            .find(|(marker, _)| error.message().starts_with(marker))
            .map(|(_, handler)| Arc::clone(handler));
        match handler {
            // If it panicked, the default would print that.
            Some(handler) if hook::is_silent() => catch(|| handler(error)),
            Some(handler) => handler(error),
            None if error.message() == PANIC => drop(ID.set(0)),
            None => (),
        }
    })
}

/// Calls `f`, and drops what it panics with; the drop may panic as well, and so on for a few times.
fn catch(f: impl FnOnce()) {
    let mut outcome = panic::catch_unwind(AssertUnwindSafe(f));
    for _ in 0..4 {
        let Err(payload) = outcome else { return };
        outcome = panic::catch_unwind(AssertUnwindSafe(|| drop(payload)));
    }
    mem::forget(outcome);
}

/// Makes the rows' handlers the process's, and those that were before are back when what is
/// returned is dropped.
pub(crate) fn instead() -> impl Drop {
    struct Restore(ExceptionHandler);
    impl Drop for Restore {
        fn drop(&mut self) {
            mem::take(&mut self.0).restore();
        }
    }
    Restore(install())
}

/// Has `handler` called for panics whose message begins with `marker`, until dropped.
pub(crate) fn watch(marker: &str, handler: impl Fn(&CallError) + Send + Sync + 'static) -> Watch {
    let handler: Handler = Arc::new(handler);
    handlers().push((marker.to_owned(), Arc::clone(&handler)));
    install();
    Watch(handler)
}

#[must_use = "the handler is forgotten when this is dropped"]
pub(crate) struct Watch(Handler);

impl Drop for Watch {
    fn drop(&mut self) {
        handlers().retain(|(_, handler)| !Arc::ptr_eq(handler, &self.0));
    }
}
