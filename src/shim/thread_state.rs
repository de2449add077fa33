//! [`ThreadState`]: what a thread is in the middle of.

use std::cell::Cell;

use crate::sync::thread_local;

/// The shim's state of a thread. None of it has a destructor, so that it is there as long as the
/// thread is.
pub(crate) struct ThreadState {
    /// How many runnables, of executors that cannot be run by whoever blocks on them, the thread is
    /// in.
    pub(crate) runnables: Cell<u32>,
    /// Whether the thread is in the call that schedules a runnable, and not in a runnable within
    /// it.
    pub(crate) is_scheduling: Cell<bool>,
    /// Whether the innermost runnable runs within the call that scheduled it, within another
    /// runnable.
    pub(crate) is_inline: Cell<bool>,
    /// Whether the thread is parked on a future, or polls it.
    pub(crate) is_parked: Cell<bool>,
    /// Whether the thread is running a blocking job.
    pub(crate) in_job: Cell<bool>,
    /// Whether the thread is adding to a callback queue.
    pub(crate) is_adding: Cell<bool>,
    /// Whether the thread is running an event loop.
    pub(crate) in_event_loop: Cell<bool>,
}

thread_local! {
    static STATE: ThreadState = const {
        ThreadState {
            runnables: Cell::new(0),
            is_scheduling: Cell::new(false),
            is_inline: Cell::new(false),
            is_parked: Cell::new(false),
            in_job: Cell::new(false),
            is_adding: Cell::new(false),
            in_event_loop: Cell::new(false),
        }
    };
}

/// Reads or changes the state of this thread.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(&ThreadState) -> R) -> R {
    STATE.with(f)
}

/// One of the marks of a [`ThreadState`].
pub(crate) type Mark = fn(&ThreadState) -> &Cell<bool>;

/// Whether the mark is set.
#[inline]
pub(crate) fn is(mark: Mark) -> bool {
    with(|state| mark(state).get())
}

/// Gives the mark this value until the guard is dropped.
#[inline]
pub(crate) fn mark(mark: Mark, value: bool) -> Marked {
    Marked {
        mark,
        before: with(|state| mark(state).replace(value)),
    }
}

/// Restores a mark when dropped.
pub(crate) struct Marked {
    mark: Mark,
    before: bool,
}

impl Drop for Marked {
    #[inline]
    fn drop(&mut self) {
        with(|state| (self.mark)(state).set(self.before));
    }
}
