//! The callback queue: one for each executor, FIFO, one callback at a time, timers included.
//!
//! The [`Queue`] holds what waits; a [`Driver`] runs it. On most executors the driver is a task that
//! exists while there is something to do; the event loop drives its own queue. Only one driver exists at
//! a time (`State::driven`), which is what keeps callbacks from overlapping on executors with several
//! threads.

mod driver;

use std::any::TypeId;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Instant;

use slab::Slab;

pub(crate) use self::driver::{Driver, Next, adding};

use super::callback::Call;
use super::executor::Clock;
use super::task::contain;

pub(crate) struct Queue {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    calls: Slab<Entry>,
    next_serial: u64,
    /// What is due, in order. Ids of calls that were cancelled are skipped.
    ready: VecDeque<Item>,
    /// What is not due yet, by deadline and then in the order of scheduling.
    timers: BTreeMap<(Instant, u64), CallId>,
    /// Whether a driver exists.
    driven: bool,
    /// Whether the executor is gone: what is added is dropped.
    closed: bool,
    /// Wakes the driver, if it waits.
    driver: Option<Waker>,
}

struct Entry {
    serial: u64,
    call: Call,
    when: Option<Instant>,
}

/// A call in the queue. The serial number tells it from others that had the key before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallId {
    key: usize,
    serial: u64,
}

/// One turn of something in the queue.
pub(crate) enum Item {
    Call(CallId),
    /// A call for this shared context, which was taken when its turn came.
    Parked(usize),
    /// A step of a task of the event loop.
    Task(async_task::Runnable),
    /// The event loop's main future.
    Main,
}

impl Queue {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Queue {
        Queue {
            state: Mutex::default(),
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

    /// Adds a call: to the end of the line, or for later.
    pub(crate) fn push(&self, call: Call, when: Option<Instant>) -> CallId {
        let mut state = self.lock();
        let serial = state.next_serial;
        state.next_serial += 1;
        if state.closed {
            drop(state);
            contain(|| drop(call));
            return CallId {
                key: usize::MAX,
                serial,
            };
        }
        let key = state.calls.insert(Entry { serial, call, when });
        let id = CallId { key, serial };
        let is_next = match when {
            None => {
                state.ready.push_back(Item::Call(id));
                true
            }
            Some(when) => {
                state.timers.insert((when, serial), id);
                state
                    .timers
                    .first_key_value()
                    .is_some_and(|(&(first, _), _)| first == when)
            }
        };
        if is_next {
            wake(state);
        }
        id
    }

    /// Adds something that is no call to the end of the line.
    pub(crate) fn push_item(&self, item: Item) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            contain(|| drop(item));
            return;
        }
        state.ready.push_back(item);
        wake(state);
    }

    /// Drops what is in the queue, and from now on what is added.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.empty();
    }

    /// Drops what is in the queue, each closure inside its context.
    fn empty(&self) {
        let (calls, ready) = {
            let mut state = self.lock();
            state.timers.clear();
            (mem::take(&mut state.calls), mem::take(&mut state.ready))
        };
        for (_, entry) in calls {
            contain(|| drop(entry.call));
        }
        for item in ready {
            contain(|| drop(item));
        }
    }

    /// Whether a timer is pending. The first one is when a runtime's ability to serve it shows.
    pub(crate) fn has_timers(&self) -> bool {
        !self.lock().timers.is_empty()
    }

    /// Takes a call out, to be dropped by the caller. `None` if its turn has come.
    pub(crate) fn remove(&self, id: CallId) -> Option<Call> {
        let mut state = self.lock();
        let entry = state.remove(id)?;
        if let Some(when) = entry.when {
            state.timers.remove(&(when, id.serial));
        }
        Some(entry.call)
    }

    /// A driver, unless there is one. The caller starts it at once.
    pub(crate) fn drive(self: &Arc<Self>) -> Option<Driver> {
        let driven = mem::replace(&mut self.lock().driven, true);
        (!driven).then(|| Driver::new(Arc::clone(self)))
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let driver = state.driver.take();
    drop(state);
    if let Some(driver) = driver {
        driver.wake();
    }
}

impl State {
    fn remove(&mut self, id: CallId) -> Option<Entry> {
        match self.calls.get(id.key) {
            Some(entry) if entry.serial == id.serial => Some(self.calls.remove(id.key)),
            _ => None,
        }
    }

    /// Moves the timers that are due to the end of the line.
    fn ripen(&mut self, now: Instant) {
        while let Some(timer) = self.timers.first_entry() {
            if timer.key().0 > now {
                break;
            }
            let id = timer.remove();
            if let Some(entry) = self.calls.get_mut(id.key) {
                entry.when = None;
            }
            self.ready.push_back(Item::Call(id));
        }
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

/// The queue of the executor with this key, made now if it has none. A queue lives as long as something
/// waits in it.
pub(crate) fn queue_for(key: QueueKey, clock: impl FnOnce() -> Arc<dyn Clock>) -> Arc<Queue> {
    static QUEUES: Mutex<Option<HashMap<QueueKey, Weak<Queue>>>> = Mutex::new(None);

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
