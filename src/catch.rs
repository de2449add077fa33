//! Panics of user code that have nowhere to go.

use std::any::Any;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::task::Waker;
use std::thread;

/// Calls `f` and keeps its panic to itself. The panic hook has reported it.
pub(crate) fn catch(f: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(f)) {
        discard(payload);
    }
}

/// Calls `f` and returns its result, or `None` if it panics.
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Option<R> {
    let mut result = None;
    catch(|| result = Some(f()));
    result
}

/// Wakes all of them, also if one panics: the others have nobody else who would.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        catch(|| waker.wake());
    }
}

/// Drops the payload of a panic, which may panic itself, with a payload that does too. That is for
/// nobody to see.
#[cold]
fn discard(mut payload: Box<dyn Any + Send>) {
    // A bounded number of times: the payload of a panic may panic again.
    for _ in 0..8 {
        match panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    mem::forget(payload);
}

/// Calls `f` in a destructor of this crate, where values of users are dropped. Its panic is passed
/// on, unless the thread unwinds: a second panic would end the process.
pub(crate) fn in_destructor(f: impl FnOnce()) {
    if thread::panicking() {
        catch(f);
    } else {
        f();
    }
}
