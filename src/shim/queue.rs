//! The callback queue: one for each executor, FIFO, one callback at a time, timers included.
//!
//! The [`Queue`] holds what waits; a [`Driver`] runs it. On most executors the driver is a task that
//! exists while there is something to do; the event loop drives its own queue. Only one driver exists at
//! a time (`State::driven`), which is what keeps callbacks from overlapping on executors with several
//! threads.

mod driver;
mod line;
mod timers;

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::iter;
use std::mem;
use std::sync::{Arc, PoisonError, Weak};
use std::task::Waker;
use std::time::Instant;

pub(crate) use self::driver::{Driver, Next, Turns, adding};

use self::timers::Timers;
use super::callback::{Call, CallHandle};
use super::entered::{self, Serves};
use super::executor::Clock;
use crate::contain::contain;
use crate::context::Context;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard, StaticMutex, thread_local};

/// The callbacks of one executor.
pub struct Queue {
    state: Mutex<State>,
    /// Whether something is ready in the state. Changed under its lock.
    has_others: AtomicBool,
    /// Whether there may be timers. Changed under the lock of the state.
    may_have_timers: AtomicBool,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    /// What is due, in order, and behind the line of a turn that is running.
    ready: VecDeque<Item>,
    timers: Timers,
    /// How many [`Reservation`]s there are.
    reserved: usize,
    /// Whether a driver exists.
    driven: bool,
    /// Whether the executor is gone: what is added is dropped.
    closed: bool,
    /// Wakes the driver, if it waits.
    driver: Option<Waker>,
}

/// One turn of something in the queue.
pub(crate) enum Item {
    Call(Call),
    /// A call for this shared context, which was taken when its turn came.
    Parked(usize),
    /// A step of a task of the event loop.
    Task(async_task::Runnable),
    /// The event loop's main future.
    Main,
}

impl Item {
    /// Drops the work that it stands for. A handle may stay.
    fn discard(self) {
        match self {
            Item::Call(call) => call.abandon(),
            item => contain(|| drop(item)),
        }
    }
}

impl Queue {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Queue {
        Queue {
            state: Mutex::default(),
            has_others: AtomicBool::new(false),
            may_have_timers: AtomicBool::new(false),
            clock,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Adds a call: to the end of the line, or for later. `start` gets a driver if there is none.
    #[inline]
    pub(crate) fn push(self: &Arc<Self>, call: &Call, when: Option<Instant>, start: Start<'_>) {
        match when {
            Some(when) => self.push_timer(call.clone(), when, start),
            None => self.push_item(|| Item::Call(call.clone()), start),
        }
    }

    /// Adds to the end of the line. `start` gets a driver if there is none.
    #[inline]
    pub(crate) fn push_item(self: &Arc<Self>, item: impl FnOnce() -> Item, start: Start<'_>) {
        if let Err(item) = line::push(self, item) {
            self.push_elsewhere(iter::once_with(item), start);
        }
    }

    fn push_timer(self: &Arc<Self>, call: Call, when: Instant, start: Start<'_>) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            call.abandon();
            return;
        }
        let comes_first = state.timers.push(when, call);
        self.may_have_timers.store(true, Ordering::Release);
        self.see_to_a_driver(state, comes_first, start);
    }

    /// Adds to the end of the line, with nothing in between. `start` gets a driver if there is none.
    #[inline]
    pub(crate) fn push_items(
        self: &Arc<Self>,
        mut items: impl Iterator<Item = Item>,
        start: Start<'_>,
    ) {
        while let Some(item) = items.next() {
            if let Err(item) = line::push(self, || item) {
                self.push_elsewhere(iter::once_with(item).chain(items), start);
                return;
            }
        }
    }

    /// Adds what does not come from within a turn.
    fn push_elsewhere(self: &Arc<Self>, items: impl Iterator<Item = Item>, start: Start<'_>) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            items.for_each(Item::discard);
            return;
        }
        state.ready.extend(items);
        self.has_others.store(true, Ordering::Release);
        self.see_to_a_driver(state, true, start);
    }

    /// Wakes the driver, if something has come that it does not wait for, or starts one.
    fn see_to_a_driver(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        is_news: bool,
        start: Start<'_>,
    ) {
        let driven = mem::replace(&mut state.driven, true);
        if is_news {
            wake(state);
        } else {
            drop(state);
        }
        if !driven {
            start(Driver::new(Arc::clone(self)));
        }
    }

    /// Drops what is in the queue, and from now on what is added.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.empty();
    }

    /// Drops what is in the queue, each closure inside its context.
    pub(crate) fn empty(&self) {
        let (ready, timers) = {
            let mut state = self.lock();
            self.has_others.store(false, Ordering::Relaxed);
            (mem::take(&mut state.ready), mem::take(&mut state.timers))
        };
        ready.into_iter().for_each(Item::discard);
        timers.into_items().for_each(Item::discard);
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

    /// A driver, unless there is one. The caller starts it at once.
    pub(crate) fn drive(self: &Arc<Self>) -> Option<Driver> {
        let driven = mem::replace(&mut self.lock().driven, true);
        (!driven).then(|| Driver::new(Arc::clone(self)))
    }

    /// Keeps a driver until a call comes that is to be added later, from any thread and without the executor.
    /// `start` gets a driver if there is none.
    pub(crate) fn reserve(self: &Arc<Self>, start: Start<'_>) -> Reservation {
        self.lock().reserved += 1;
        let reservation = Reservation(Arc::clone(self));
        self.drive().into_iter().for_each(start);
        reservation
    }
}

/// Starts a driver.
pub(crate) type Start<'a> = &'a mut dyn FnMut(Driver);

/// The fixed context of those who submit to the queue whose turns this thread is running, if the calls that `which` tells
/// go there.
#[inline]
pub(crate) fn own(which: impl Fn(Serves) -> bool) -> Option<Option<Arc<Context>>> {
    // An `EnterGuard` that is dropped out of order may leave a mark behind.
    entered::own_queue(which).filter(|_| line::is_running())
}

/// Adds a call to the queue whose turns this thread is running.
#[inline]
pub(crate) fn push_own(call: Call) -> CallHandle {
    line::with(|line| line.push(|| Item::Call(call.clone())));
    CallHandle::new(call)
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Of an executor that was gone when its queue was made.
        self.empty();
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
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
        queue.push_items(calls.into_iter().map(Item::Call), &mut drop);
        // Within the mark: this may wake the driver, too.
        drop(places);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.reserved -= 1;
        if state.reserved == 0 {
            // It may have nothing to wait for any more.
            wake(state);
        }
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let driver = state.driver.take();
    drop(state);
    if let Some(driver) = driver {
        driver.wake();
    }
}

/// What tells the queue of one executor from others.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum QueueKey {
    /// An executor that is a value. Those without a size share addresses, but not with others of their type.
    Value(TypeId, usize),
    /// An executor of a runtime with a number of its own, or the only one.
    Numbered(&'static str, u64),
}

impl QueueKey {
    /// For an executor that is a value.
    pub(crate) fn address<E: ?Sized + 'static>(executor: &E) -> QueueKey {
        let address = std::ptr::from_ref(executor).cast::<()>() as usize;
        QueueKey::Value(TypeId::of::<E>(), address)
    }

    /// For an executor of `runtime` with a number of its own, or the only one.
    pub(crate) fn numbered(runtime: &'static str, number: u64) -> QueueKey {
        QueueKey::Numbered(runtime, number)
    }
}

thread_local! {
    /// The queue that this thread used last.
    static LAST: RefCell<Option<(QueueKey, Weak<Queue>)>> = const { RefCell::new(None) };
}

/// The queue of the executor with this key, made now if it has none. A queue lives as long as something
/// waits in it.
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
        queues
            .get_or_insert_default()
            .get(&key)
            .and_then(Weak::upgrade)
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
