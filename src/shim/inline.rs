//! Executors that run a runnable within the call that schedules it.

use std::cell::RefCell;
use std::task::Waker;

use super::platform;
use super::thread_state::{self, Marked};
use crate::sync::thread_local;

thread_local! {
    /// Whose tasks are woken, from elsewhere, when this thread has left its outermost runnable.
    static LATER: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f`, which runs a runnable.
pub(crate) fn run<R>(f: impl FnOnce() -> R) -> R {
    struct Leave {
        _inline: Marked,
        _scheduling: Marked,
    }

    impl Drop for Leave {
        fn drop(&mut self) {
            let left = thread_state::with(|state| {
                let left = state.runnables.get() - 1;
                state.runnables.set(left);
                left
            });
            if left == 0 {
                // Not there any more at thread exit.
                let later = LATER.try_with(RefCell::take).unwrap_or_default();
                later.into_iter().for_each(wake_elsewhere);
            }
        }
    }

    let is_inline = thread_state::with(|state| {
        let runnables = state.runnables.get();
        state.runnables.set(runnables + 1);
        runnables > 0 && state.is_scheduling.get()
    });
    let _leave = Leave {
        _inline: thread_state::mark(|state| &state.is_inline, is_inline),
        _scheduling: thread_state::mark(|state| &state.is_scheduling, false),
    };
    f()
}

/// Marks this thread as being in the call that schedules a runnable, until the guard is dropped.
pub(crate) fn scheduling() -> Marked {
    thread_state::mark(|state| &state.is_scheduling, true)
}

/// Whether this thread runs a runnable within the call that scheduled it, within another runnable.
pub(crate) fn is_inline() -> bool {
    thread_state::is(|state| &state.is_inline)
}

/// Wakes a task that runs on this thread, from another thread, and when this one has left all of
/// its runnables: an executor that runs them where they are scheduled would run the task within
/// them.
pub(crate) fn wake_after_runnables(waker: Waker) {
    if thread_state::with(|state| state.runnables.get()) == 0 {
        return wake_elsewhere(waker);
    }
    let mut waker = Some(waker);
    let _at_exit = LATER.try_with(|later| later.borrow_mut().extend(waker.take()));
    waker.into_iter().for_each(wake_elsewhere);
}

fn wake_elsewhere(waker: Waker) {
    /// Wakes when it is dropped, so that no wake-up is lost where no thread can be had for it.
    struct WakeOnDrop(Waker);

    impl Drop for WakeOnDrop {
        fn drop(&mut self) {
            self.0.wake_by_ref();
        }
    }

    let wake = WakeOnDrop(waker);
    let _woken_here = platform::submit(move || drop(wake));
}
