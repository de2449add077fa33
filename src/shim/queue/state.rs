//! [`Queue`]: what is shared of a callback queue.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, PoisonError};
use std::task::Waker;

use super::entry::Entry;
use super::timers::Timers;
use crate::shim::clock::Clock;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// The callbacks of one executor.
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Whether something is ready in the state. Changed under its lock.
    pub(super) has_ready: AtomicBool,
    /// Whether there may be timers. Changed under the lock of the state.
    pub(super) may_have_timers: AtomicBool,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
pub(super) struct State {
    /// What is due, in order, and behind the local queue of a turn that is running.
    pub(super) ready: VecDeque<Entry>,
    pub(super) timers: Timers,
    /// How many [`Reservation`](super::Reservation)s there are.
    pub(super) reserved: usize,
    /// Whether a driver exists.
    pub(super) has_driver: bool,
    /// Whether the executor is gone: what is added is dropped.
    pub(super) is_closed: bool,
    /// Wakes the driver, if it waits.
    pub(super) driver: Option<Waker>,
}

impl Queue {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Queue {
        Queue {
            state: Mutex::default(),
            has_ready: AtomicBool::new(false),
            may_have_timers: AtomicBool::new(false),
            clock,
        }
    }

    /// No user code runs under this lock.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Drops what is in the queue, and from now on what is added.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.empty();
    }

    /// Drops what is in the queue, each closure inside its context.
    pub(crate) fn empty(&self) {
        let (ready, timers) = {
            let mut state = self.lock();
            self.has_ready.store(false, Ordering::Relaxed);
            (mem::take(&mut state.ready), mem::take(&mut state.timers))
        };
        ready.into_iter().for_each(Entry::discard);
        timers.into_entries().for_each(Entry::discard);
    }

    /// Whether a timer is pending. The first one is when a runtime's ability to serve it shows.
    pub(crate) fn has_timers(&self) -> bool {
        !self.lock().timers.is_empty()
    }

    pub(crate) fn note_cancelled_timer(&self) {
        let mut state = self.lock();
        if state.timers.note_cancelled() {
            // The driver waits for a timer that will not fire, and perhaps for nothing else.
            wake(state);
        }
    }
}

/// Wakes the driver, if it waits, without the lock.
pub(super) fn wake(mut state: MutexGuard<'_, State>) {
    let driver = state.driver.take();
    drop(state);
    if let Some(driver) = driver {
        driver.wake();
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Of an executor that was gone when its queue was made.
        self.empty();
    }
}
