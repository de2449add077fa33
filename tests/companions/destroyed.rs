//! A companion with a thread-local that is destroyed when the thread exits.

use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use aiocontextvars::companion::Companion;
use aiocontextvars::{Context, context_var, inherit_context, shim};

context_var! { static ID: u64; }

/// Has something current in a thread-local with a destructor, as OpenTelemetry and sentry do.
pub(crate) struct Destroyed;

static CALLS_TOO_LATE: AtomicUsize = AtomicUsize::new(0);
static SEEN: Mutex<Vec<(Option<u64>, bool)>> = Mutex::new(Vec::new());

std::thread_local! {
    static DESTROYED: RefCell<Option<Box<u64>>> = const { RefCell::new(None) };
    /// Works with the crate when it is dropped.
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

struct Last(Option<Context>);

impl Drop for Last {
    fn drop(&mut self) {
        let captured = inherit_context();
        let bound = shim::bind(|| ID.get());
        let entered = self.0.take().map(|context| context.call(|| ID.get()));
        bound();
        SEEN.lock()
            .unwrap()
            .push((entered.flatten(), captured.has_companions()));
    }
}

fn too_late<R>(result: Result<R, thread::AccessError>) -> Option<R> {
    if result.is_err() {
        CALLS_TOO_LATE.fetch_add(1, Ordering::SeqCst);
    }
    result.ok()
}

impl Companion for Destroyed {
    type Value = u64;

    fn capture(&self) -> Option<u64> {
        too_late(DESTROYED.try_with(|value| value.borrow().as_deref().copied()))?
    }

    fn enter<R>(&self, &value: &u64, f: impl FnOnce() -> R) -> R {
        let set = |value| too_late(DESTROYED.try_with(|cell| cell.replace(value)));
        let before = set(Some(Box::new(value)));
        let result = f();
        set(before.flatten());
        result
    }
}

/// Checks that while a thread with a context that `capture` makes exits, the companion is not
/// called once its thread-local is gone.
pub(crate) fn none_is_called_when_the_thread_exits(
    capture: impl Fn() -> Context + Clone + Send + 'static,
) {
    for writes in [false, true] {
        let capture = capture.clone();
        let thread = thread::spawn(move || {
            // Dropped after all others.
            LAST.with_borrow_mut(|last| *last = Some(Last(None)));
            if writes {
                ID.set(1);
            }
            DESTROYED.set(Some(Box::new(3)));
            let context = capture().with_value(&ID, 7);
            assert!(context.has_companions());
            context.call(|| assert_eq!(DESTROYED.with_borrow(Clone::clone), Some(Box::new(3))));
            LAST.with_borrow_mut(|last| *last = Some(Last(Some(context))));
        });
        thread.join().unwrap();
        let seen = std::mem::take(&mut *SEEN.lock().unwrap());
        // The one that is replaced, while all is there, and the one at the end.
        assert_eq!(seen, [(None, true), (Some(7), false)]);
    }
    assert_eq!(CALLS_TOO_LATE.load(Ordering::SeqCst), 0);
}
