//! Panics of user code that have nowhere to go.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::thread;

/// Calls `f` and keeps its panic to itself. The panic hook has reported it.
pub(crate) fn contain(f: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(f)) {
        // A payload may panic itself when it is dropped. That one is for nobody to see.
        mem::forget(panic::catch_unwind(AssertUnwindSafe(|| drop(payload))));
    }
}

/// Calls `f` in a destructor of this crate, where values of users are dropped. Its panic comes out, unless the thread
/// unwinds: a second panic would end the process.
pub(crate) fn in_destructor(f: impl FnOnce()) {
    if thread::panicking() {
        contain(f);
    } else {
        f();
    }
}
