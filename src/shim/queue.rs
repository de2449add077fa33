//! The callback queue: one for each executor, FIFO, one callback at a time, timers included.
//!
//! The [`Queue`] holds what waits; a [`Driver`] runs it. On most executors the driver is a task
//! that exists while there is something to do; the event loop drives its own queue. Only one driver
//! exists at a time (`has_driver`), which is what keeps callbacks from overlapping on executors
//! with several threads.

mod driver;
mod entry;
mod local;
mod state;
mod timers;

use std::cell::RefCell;
use std::collections::HashMap;
use std::iter;
use std::mem;
use std::sync::{Arc, PoisonError, Weak};

pub(crate) use self::driver::{Driver, Next, Turns, adding};
pub(crate) use self::entry::Entry;
pub(crate) use self::local::{QueueScope, is_own, push_step};
pub(crate) use self::state::Queue;

use self::state::{State, wake};
use super::callback::Call;
use super::clock::Clock;
use super::executor::QueueKey;
use crate::catch::catch;
use crate::shim::platform::Instant;
use crate::sync::atomic::Ordering;
use crate::sync::{MutexGuard, StaticMutex, thread_local};

impl Queue {
    /// Adds a call: to the end of the line, or for later. `start` gets a driver if there is none.
    #[inline]
    pub(crate) fn push(self: &Arc<Self>, call: &Call, when: Option<Instant>, start: Start<'_>) {
        match when {
            Some(when) => self.push_timer(call.clone(), when, start),
            None => self.push_entry(|| Entry::Call(call.clone()), start),
        }
    }

    /// Adds to the end of the line. `start` gets a driver if there is none. `entry` is called under
    /// a lock or a borrow: it runs no user code.
    #[inline]
    pub(crate) fn push_entry(self: &Arc<Self>, entry: impl FnOnce() -> Entry, start: Start<'_>) {
        if let Err(entry) = local::push(self, entry) {
            self.push_elsewhere(iter::once_with(entry), start);
        }
    }

    fn push_timer(self: &Arc<Self>, call: Call, when: Instant, start: Start<'_>) {
        let mut state = self.lock();
        if state.is_closed {
            drop(state);
            call.abandon();
            return;
        }
        let comes_first = state.timers.push(when, call);
        self.may_have_timers.store(true, Ordering::Release);
        self.ensure_driver(state, comes_first, start);
    }

    /// Adds to the end of the line, with nothing in between. `start` gets a driver if there is
    /// none.
    #[inline]
    pub(crate) fn push_entries(
        self: &Arc<Self>,
        mut entries: impl Iterator<Item = Entry>,
        start: Start<'_>,
    ) {
        while let Some(entry) = entries.next() {
            if let Err(entry) = local::push(self, || entry) {
                self.push_elsewhere(iter::once_with(entry).chain(entries), start);
                return;
            }
        }
    }

    /// Adds what does not come from within a turn.
    fn push_elsewhere(self: &Arc<Self>, entries: impl Iterator<Item = Entry>, start: Start<'_>) {
        let mut state = self.lock();
        if state.is_closed {
            drop(state);
            entries.for_each(Entry::discard);
            return;
        }
        state.ready.extend(entries);
        self.has_ready.store(true, Ordering::Release);
        self.ensure_driver(state, true, start);
    }

    /// Wakes the driver, if something has come that it does not wait for, or starts one.
    fn ensure_driver(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        is_news: bool,
        start: Start<'_>,
    ) {
        let has_driver = mem::replace(&mut state.has_driver, true);
        if is_news {
            wake(state);
        } else {
            drop(state);
        }
        if !has_driver {
            start(Driver::new(Arc::clone(self)));
        }
    }

    /// A driver, unless there is one. The caller starts it at once.
    pub(crate) fn drive(self: &Arc<Self>) -> Option<Driver> {
        let has_driver = mem::replace(&mut self.lock().has_driver, true);
        (!has_driver).then(|| Driver::new(Arc::clone(self)))
    }

    /// Reserves a place for a call that is added later, from any thread and without the executor.
    /// Until then there is a driver; `start` gets one if there is none.
    pub(crate) fn reserve(self: &Arc<Self>, start: Start<'_>) -> Reservation {
        self.lock().reserved += 1;
        let reservation = Reservation(Arc::clone(self));
        self.drive().into_iter().for_each(start);
        reservation
    }
}

/// Starts a driver.
pub(crate) type Start<'a> = &'a mut dyn FnMut(Driver);

/// Adds a call to the queue whose turns this thread is running.
#[inline]
pub(crate) fn push_own(call: &Call) {
    local::with(|local| local.push(|| Entry::Call(call.clone())));
}

/// A place for one call in a queue. Made where the executor is at hand, used where it may not be.
pub(crate) struct Reservation(Arc<Queue>);

impl Reservation {
    /// Whether it is in the same queue.
    pub(crate) fn is_beside(&self, other: &Reservation) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Adds the calls to the end of their line, together. They are dropped if the executor is gone.
    pub(crate) fn submit(calls: Vec<(Call, Reservation)>) {
        let Some((_, first)) = calls.first() else {
            return;
        };
        let queue = Arc::clone(&first.0);
        let (calls, places): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
        let _adding = adding();
        // There is a driver, or the executor has dropped it: then a new one has nowhere to run.
        queue.push_entries(calls.into_iter().map(Entry::Call), &mut drop);
        // Within the mark: this may wake the driver, too.
        drop(places);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.reserved -= 1;
        if state.reserved == 0 {
            // It may have nothing to wait for any more. Its waker is user code.
            catch(|| wake(state));
        }
    }
}

thread_local! {
    /// The queue that this thread used last.
    static LAST: RefCell<Option<(QueueKey, Weak<Queue>)>> = const { RefCell::new(None) };
}

/// The queue of the executor with this key, made now if it has none. A queue lives as long as
/// something waits in it.
pub(crate) fn queue_for(key: QueueKey, clock: impl FnOnce() -> Arc<dyn Clock>) -> Arc<Queue> {
    let last = LAST.try_with(|last| match &*last.borrow() {
        Some((last, queue)) if *last == key => queue.upgrade(),
        _ => None,
    });
    if let Some(queue) = last.ok().flatten() {
        return queue;
    }
    let queue = find_or_make(key, clock);
    let _no_cache_at_thread_exit =
        LAST.try_with(|last| last.replace(Some((key, Arc::downgrade(&queue)))));
    queue
}

fn find_or_make(key: QueueKey, clock: impl FnOnce() -> Arc<dyn Clock>) -> Arc<Queue> {
    static QUEUES: StaticMutex<Option<HashMap<QueueKey, Weak<Queue>>>> = StaticMutex::new(None);

    let find = || {
        let mut queues = QUEUES.lock().unwrap_or_else(PoisonError::into_inner);
        let queues = queues.get_or_insert_default();
        queues.get(&key).and_then(Weak::upgrade)
    };
    if let Some(queue) = find() {
        return queue;
    }
    // Clocks are the user's code: asked without the lock.
    let new = Arc::new(Queue::new(clock()));
    let mut queues = QUEUES.lock().unwrap_or_else(PoisonError::into_inner);
    let queues = queues.get_or_insert_default();
    if let Some(queue) = queues.get(&key).and_then(Weak::upgrade) {
        return queue;
    }
    queues.retain(|_, queue| queue.strong_count() > 0);
    queues.insert(key, Arc::downgrade(&new));
    new
}
