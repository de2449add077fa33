//! Companions: what is captured, entered and dropped, and what becomes of their panics.
//!
//! The rows `co` of the conformance suite have what every executor has to do.

mod destroyed;
mod drops;
mod edges;
mod panics;
mod runtimes;
mod two;

use std::cell::RefCell;
use std::sync::{Arc, Once};

use aiocontextvars::companion::{self, Companion};

/// What is current on a thread, by the name of a companion.
#[derive(Clone, Debug)]
pub(crate) struct Ambient {
    number: u64,
    /// Counts who keeps it.
    kept: Arc<()>,
}

impl Ambient {
    pub(crate) fn new(number: u64) -> Ambient {
        Ambient {
            number,
            kept: Arc::default(),
        }
    }

    /// How many others keep it.
    pub(crate) fn keepers(&self) -> usize {
        Arc::strong_count(&self.kept) - 1
    }
}

macro_rules! thread_local_companion {
    ($(#[$attribute:meta])* $name:ident, $cell:ident, $entered:literal) => {
        std::thread_local! {
            static $cell: RefCell<Option<Ambient>> = const { RefCell::new(None) };
        }

        $(#[$attribute])*
        pub(crate) struct $name;

        impl $name {
            pub(crate) fn replaced_by<R>(ambient: Option<Ambient>, f: impl FnOnce() -> R) -> R {
                struct Restore(Option<Ambient>);
                impl Drop for Restore {
                    fn drop(&mut self) {
                        $cell.set(self.0.take());
                    }
                }
                let _restore = Restore($cell.replace(ambient));
                f()
            }

            /// Calls `f` while it is current.
            pub(crate) fn around<R>(ambient: &Ambient, f: impl FnOnce() -> R) -> R {
                register_all();
                $name::replaced_by(Some(ambient.clone()), f)
            }

            /// The number of what is current.
            pub(crate) fn number() -> Option<u64> {
                let number =
                    |current: &RefCell<Option<Ambient>>| Some(current.borrow().as_ref()?.number);
                // `None` also where the thread exits.
                $cell.try_with(number).ok().flatten()
            }
        }

        impl Companion for $name {
            type Value = Ambient;

            fn capture(&self) -> Option<Ambient> {
                $cell.with_borrow(Clone::clone)
            }

            fn is_current(&self, value: &Ambient) -> bool {
                let same = |current: &Ambient| Arc::ptr_eq(&current.kept, &value.kept);
                $cell.with_borrow(|current| current.as_ref().is_some_and(same))
            }

            fn enter<R>(&self, value: &Ambient, f: impl FnOnce() -> R) -> R {
                two::entered($entered);
                $name::replaced_by(Some(value.clone()), f)
            }

            fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
                $name::replaced_by(None, f)
            }
        }
    };
}

thread_local_companion!(
    /// The one that most tests use.
    Current, CURRENT, "first"
);
thread_local_companion!(
    /// Is registered after it.
    Second, SECOND, "second"
);

pub(crate) fn register_all() {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        companion::register(Current).unwrap();
        companion::register(Second).unwrap();
        companion::register(panics::Panics).unwrap();
        companion::register(edges::Captures).unwrap();
        companion::register(destroyed::Destroyed).unwrap();
        companion::register(two::Noted).unwrap();
        companion::register(drops::Open).unwrap();
        companion::register(drops::Parent).unwrap();
    });
}
