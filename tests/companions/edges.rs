//! Captures within captures, and threads that exit.

use std::cell::RefCell;

use aiocontextvars::companion::Companion;
use aiocontextvars::{Context, inherit_context, shim};

use super::{Ambient, Current, destroyed, two};

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

#[test]
fn none_is_called_when_the_thread_exits() {
    super::register_all();
    // With another one, which would be dropped inside of it.
    destroyed::none_is_called_when_the_thread_exits(|| two::noted(inherit_context));
}
