//! Captures within captures, and threads that exit.

use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use aiocontextvars::companion::Companion;
use aiocontextvars::{Context, context_var, inherit_context, shim};

use super::{Ambient, Current, two};

context_var! { static ID: u64; }

/// Captures a context itself where it is captured.
pub(crate) struct Captures;

std::thread_local! {
    static CAPTURES: RefCell<Option<Vec<Context>>> = const { RefCell::new(None) };
}

impl Companion for Captures {
    type Value = ();

    fn capture(&self) -> Option<()> {
        let mut captured = CAPTURES.take()?;
        let context = inherit_context();
        assert!(!context.has_companions());
        let thread = shim::thread::spawn(Current::number);
        assert_eq!(thread.join().unwrap(), None);
        captured.push(context);
        CAPTURES.set(Some(captured));
        None
    }

    fn enter<R>(&self, (): &(), f: impl FnOnce() -> R) -> R {
        f()
    }
}

#[test]
fn nothing_is_captured_inside_a_capture() {
    let one = Ambient::new(1);
    CAPTURES.set(Some(Vec::new()));
    let context = Current::around(&one, inherit_context);
    let captured = CAPTURES.take().unwrap();
    assert_eq!(
        (captured.len(), context.call(Current::number)),
        (1, Some(1))
    );
    // Afterwards it is as ever.
    assert!(Current::around(&one, inherit_context).has_companions());
}

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

#[test]
fn none_is_called_when_the_thread_exits() {
    super::register_all();
    for writes in [false, true] {
        let thread = thread::spawn(move || {
            // Dropped after all others.
            LAST.with_borrow_mut(|last| *last = Some(Last(None)));
            if writes {
                ID.set(1);
            }
            DESTROYED.set(Some(Box::new(3)));
            // With another one, which would be dropped inside of it.
            let context = two::noted(inherit_context).with_value(&ID, 7);
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
