//! Something that is current on a thread beside the context, as a span is, and follows the work as
//! a companion.
//!
//! A unit of work sees the one that was current where it was made: never another, and none only
//! where it may have a context without. At the end none is kept.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::AccessError;

use aiocontextvars::companion::{self, Companion};

use crate::ledger::LEDGER;
use crate::truth::number;

static LIVING: AtomicUsize = AtomicUsize::new(0);
/// How often a unit has seen one.
static SEEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static CURRENT: RefCell<Option<Ambient>> = const { RefCell::new(None) };
}

/// A number that is counted as long as it is kept.
struct Ambient(u64);

impl Ambient {
    fn new(number: u64) -> Ambient {
        LIVING.fetch_add(1, Ordering::Relaxed);
        Ambient(number)
    }
}

impl Drop for Ambient {
    fn drop(&mut self) {
        LIVING.fetch_sub(1, Ordering::Relaxed);
    }
}

struct CurrentAmbient;

impl Companion for CurrentAmbient {
    type Value = Ambient;

    fn capture(&self) -> Option<Ambient> {
        current().map(Ambient::new)
    }

    fn is_current(&self, value: &Ambient) -> bool {
        current() == Some(value.0)
    }

    fn enter<R>(&self, value: &Ambient, f: impl FnOnce() -> R) -> R {
        replaced_by(Some(value.0), f)
    }

    fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
        replaced_by(None, f)
    }
}

fn replaced_by<R>(number: Option<u64>, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Ambient>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _restore = Restore(CURRENT.replace(number.map(Ambient::new)));
    f()
}

/// The number of what is current. An error where the thread's locals are gone.
fn try_current() -> Result<Option<u64>, AccessError> {
    CURRENT.try_with(|current| Some(current.borrow().as_ref()?.0))
}

fn current() -> Option<u64> {
    try_current().ok().flatten()
}

/// Calls `f` while a new one is current.
pub(crate) fn around<R>(f: impl FnOnce() -> R) -> R {
    replaced_by(Some(number()), f)
}

/// Has it follow the work.
pub(crate) fn follow() {
    if let Err(error) = companion::register(CurrentAmbient) {
        LEDGER.fault(|| error.to_string());
    }
}

/// What is to be current in a unit of work: what was where it was made.
pub(crate) struct Expected {
    number: Option<u64>,
    or_none: bool,
}

impl Expected {
    /// For a unit in a context that is captured here.
    pub(crate) fn here() -> Expected {
        Expected {
            number: current(),
            or_none: false,
        }
    }

    /// For one that may be in a context without it as well.
    pub(crate) fn or_none() -> Expected {
        Expected {
            or_none: true,
            ..Expected::here()
        }
    }

    pub(crate) fn check(&self, who: impl FnOnce() -> String, at: &str) {
        let Ok(seen) = try_current() else { return };
        SEEN.fetch_add(u64::from(seen.is_some()), Ordering::Relaxed);
        if seen != self.number && (seen.is_some() || !self.or_none) {
            LEDGER.fault(|| {
                let number = self.number;
                format!(
                    "{} {at} is in the ambient {seen:?}, and was made in {number:?}",
                    who()
                )
            });
        }
    }
}

/// Whether none is kept.
pub(crate) fn are_gone() -> bool {
    LIVING.load(Ordering::Relaxed) == 0
}

/// How often a unit has seen one.
pub(crate) fn seen() -> u64 {
    SEEN.load(Ordering::Relaxed)
}
