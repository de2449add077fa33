//! A companion that captures and drops contexts where it is asked whether a value is current.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use aiocontextvars::companion::{self, Companion};
use aiocontextvars::{Context, context_var, inherit_context};

context_var! { static ID: u64; }

static ASKED: AtomicUsize = AtomicUsize::new(0);

struct Asks;

impl Companion for Asks {
    type Value = u64;

    fn capture(&self) -> Option<u64> {
        drop(inherit_context());
        ID.get()
    }

    fn is_current(&self, value: &u64) -> bool {
        ASKED.fetch_add(1, Relaxed);
        drop(inherit_context());
        ID.get() == Some(*value)
    }

    fn enter<R>(&self, _: &u64, f: impl FnOnce() -> R) -> R {
        f()
    }
}

#[test]
fn it_is_asked_a_few_times_and_not_without_end() {
    companion::register(Asks).unwrap();
    Context::new().with_value(&ID, 1).run(|| {
        drop(inherit_context());
        inherit_context().call(|| drop(ID.set(2)));
        let kept = inherit_context();
        kept.clone().call(|| drop(ID.set(2)));
        drop(kept);
        assert_eq!(ID.get(), Some(1));
    });
    let asked = ASKED.load(Relaxed);
    assert!((1..100).contains(&asked), "{asked}");
}
