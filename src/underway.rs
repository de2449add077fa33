//! What a thread is in the middle of, so that user code which comes back to it is noticed.

use std::cell::Cell;
use std::fmt;
use std::mem::ManuallyDrop;

use crate::sync::thread_local;

/// Something that must not be begun again within itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Work {
    /// Computing the default of a variable.
    Default(u64),
    /// Showing the default of a variable.
    ShowDefault(u64),
    /// Showing the value at an address.
    ShowValue(usize),
}

/// Marks work of this thread as under way, until dropped.
pub(crate) struct Underway {
    _private: (),
}

thread_local! {
    /// The innermost last. Without a destructor, so that defaults work during thread-local destruction; an empty
    /// `Vec` owns nothing.
    static UNDERWAY: Cell<ManuallyDrop<Vec<Work>>> = const { Cell::new(ManuallyDrop::new(Vec::new())) };
}

impl Underway {
    /// `None` if this thread is in the middle of `work` already.
    pub(crate) fn start(work: Work) -> Option<Underway> {
        update(|all| {
            if all.contains(&work) {
                return None;
            }
            all.push(work);
            Some(Underway { _private: () })
        })
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        update(|all| all.pop());
    }
}

/// Calls `f`, or writes `...` within a call of itself: what is shown may contain itself.
pub(crate) fn show(
    work: Work,
    out: &mut fmt::Formatter<'_>,
    f: impl FnOnce(&mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    match Underway::start(work) {
        Some(_underway) => f(out),
        None => out.write_str("..."),
    }
}

fn update<R>(f: impl FnOnce(&mut Vec<Work>) -> R) -> R {
    UNDERWAY.with(|cell| {
        let mut all = ManuallyDrop::into_inner(cell.take());
        let result = f(&mut all);
        if all.is_empty() {
            all = Vec::new();
        }
        cell.set(ManuallyDrop::new(all));
        result
    })
}
