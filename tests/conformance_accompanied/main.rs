//! All rows of the conformance suite while a companion is active everywhere: whatever it captures
//! and enters, it changes nothing of what the rows promise.

#[path = "../conformance/executors.rs"]
#[allow(dead_code, reason = "these tests are for some of the executors")]
mod executors;
#[path = "../conformance/main_loop.rs"]
#[allow(dead_code, reason = "it is one of them")]
mod main_loop;

use std::cell::Cell;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use aiocontextvars::companion::{self, Companion};
use aiocontextvars::{context_var, copy_context};
use aiocontextvars_conformance::Suite;

context_var! { static NEVER_SET: u64; }

static CAPTURED: AtomicU64 = AtomicU64::new(0);
static ENTERED: AtomicU64 = AtomicU64::new(0);
static LIVING: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// Is captured by every capture, and is another one each time.
struct Always;

struct Number(u64);

impl Drop for Number {
    fn drop(&mut self) {
        LIVING.fetch_sub(1, Ordering::Relaxed);
        uses_the_crate();
    }
}

impl Companion for Always {
    type Value = Number;

    fn capture(&self) -> Option<Number> {
        uses_the_crate();
        LIVING.fetch_add(1, Ordering::Relaxed);
        Some(Number(1 + CAPTURED.fetch_add(1, Ordering::Relaxed)))
    }

    fn enter<R>(&self, value: &Number, f: impl FnOnce() -> R) -> R {
        ENTERED.fetch_add(1, Ordering::Relaxed);
        within(value.0, f)
    }

    fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
        within(0, f)
    }
}

/// As a subscriber may, in `on_enter` and `on_close`.
fn uses_the_crate() {
    assert_eq!(NEVER_SET.get(), None);
    assert!(!copy_context().contains(&NEVER_SET));
}

fn within<R>(number: u64, f: impl FnOnce() -> R) -> R {
    struct Restore {
        before: u64,
        number: u64,
    }
    impl Drop for Restore {
        fn drop(&mut self) {
            uses_the_crate();
            // Whatever was entered in between has been left.
            let found = CURRENT.replace(self.before);
            assert!(found == self.number || std::thread::panicking());
        }
    }
    uses_the_crate();
    let before = CURRENT.replace(number);
    let _restore = Restore { before, number };
    f()
}

fn check(suite: Suite) {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| companion::register(Always).unwrap());
    let entered = ENTERED.load(Ordering::Relaxed);
    let report = suite.check();
    // At least once in each row, and most values are gone: some rows leak work on purpose.
    assert!(ENTERED.load(Ordering::Relaxed) > entered + report.passed() as u64);
    let captured = CAPTURED.load(Ordering::Relaxed);
    assert!(LIVING.load(Ordering::Relaxed) < captured / 10);
    assert_eq!(CURRENT.get(), 0);
}

#[test]
fn event_loop() {
    check(Suite::of::<executors::event_loop::Harness>().ending());
    check(Suite::driven::<executors::event_loop_handle::Handle>().ending());
}

#[cfg(feature = "tokio")]
#[test]
fn tokio() {
    check(Suite::driven::<executors::tokio_multi_thread::MultiThread>().ending());
    check(Suite::driven::<executors::tokio_current_thread::CurrentThread>().ending());
}

#[cfg(feature = "smol")]
#[test]
fn smol() {
    check(Suite::of::<executors::smol_global::Harness>());
    check(Suite::driven::<executors::smol_executor::Value>().ending());
}
