//! The [`Driver`] runs the callbacks of a queue, one at a time.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll, Waker};
use std::time::Instant;

use futures::future::BoxFuture;
use futures::task::AtomicWaker;

use super::{CallId, Item, Queue};
use crate::shared::{SharedContext, Waiter};
use crate::shim::block;
use crate::shim::local;
use crate::shim::mark::Mark;

/// How many callbacks a driver that is a task runs before it lets the executor's other tasks run.
const BATCH: usize = 64;

/// Runs a queue. Dropped, it empties the queue: each closure is dropped inside its context.
pub(crate) struct Driver {
    queue: Arc<Queue>,
    /// Calls for shared contexts that were taken when their turn came, by the context's address.
    parked: HashMap<usize, Parked>,
    unparked: Arc<Unparked>,
    sleep: Option<(Instant, BoxFuture<'static, ()>)>,
    finished: bool,
}

/// The calls that wait for one shared context, in order.
struct Parked {
    shared: SharedContext,
    waiter: Waiter,
    calls: VecDeque<CallId>,
}

/// The shared contexts that have become free.
#[derive(Default)]
struct Unparked {
    contexts: Mutex<Vec<usize>>,
    driver: AtomicWaker,
}

/// Wakes the driver for one shared context.
struct Unpark {
    context: usize,
    unparked: Arc<Unparked>,
}

impl task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.unparked
            .contexts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.context);
        self.unparked.driver.wake();
    }
}

/// What a driver does next.
pub(crate) enum Next {
    /// There is more to run, after others had their turn.
    Again,
    /// Nothing before this moment.
    At(Instant),
    /// Nothing until a shared context is free.
    Parked,
    /// Nothing at all.
    Idle,
}

impl Driver {
    /// A driver of a queue that has no other.
    pub(super) fn new(queue: Arc<Queue>) -> Driver {
        Driver {
            queue,
            parked: HashMap::new(),
            unparked: Arc::default(),
            sleep: None,
            finished: false,
        }
    }

    /// Runs what is due now, at most `limit` of it. What is scheduled meanwhile has to wait for the next turn.
    /// `other` runs the items that are not calls.
    pub(crate) fn turn(&mut self, limit: usize, mut other: impl FnMut(Item)) {
        local::empty_trash();
        let unparked = mem::take(
            &mut *self
                .unparked
                .contexts
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let has_timers = self.queue.has_timers();
        let now = has_timers.then(|| self.queue.clock.now());
        let due = {
            let mut state = self.queue.lock();
            if let Some(now) = now {
                state.ripen(now);
            }
            state.ready.extend(unparked.into_iter().map(Item::Parked));
            state.ready.len().min(limit)
        };
        for _ in 0..due {
            let Some(item) = self.queue.lock().ready.pop_front() else {
                break;
            };
            match item {
                Item::Call(id) => self.run(id),
                Item::Parked(context) => self.run_parked(context),
                item => other(item),
            }
        }
    }

    /// What is left after a turn. If nothing is to be run now, `waker` is told of what comes.
    pub(crate) fn next(&self, waker: &Waker) -> Next {
        let waker = waker.clone();
        self.unparked.driver.register(&waker);
        let unparked = !self
            .unparked
            .contexts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty();
        let mut state = self.queue.lock();
        if unparked || !state.ready.is_empty() {
            return Next::Again;
        }
        let first = state.timers.first_key_value().map(|(&(when, _), _)| when);
        let old = state.driver.replace(waker);
        drop(state);
        drop(old);
        match first {
            Some(when) => Next::At(when),
            None if self.parked.is_empty() => Next::Idle,
            None => Next::Parked,
        }
    }

    fn run(&mut self, id: CallId) {
        let shared = {
            let state = self.queue.lock();
            match state.calls.get(id.key) {
                Some(entry) if entry.serial == id.serial => entry.call.shared().cloned(),
                _ => return,
            }
        };
        if let Some(shared) = shared {
            // Behind the calls for the same context that wait already, or first in a new line.
            let context = shared.address();
            let parked = self.parked.entry(context).or_insert_with(|| Parked {
                waiter: Waiter::from(shared.clone()),
                shared,
                calls: VecDeque::new(),
            });
            parked.calls.push_back(id);
            if parked.calls.len() == 1 {
                self.run_parked(context);
            }
            return;
        }
        let call = self.queue.lock().remove(id);
        if let Some(entry) = call {
            entry.call.run(None);
        }
    }

    /// Runs the first of the calls that wait for a shared context, if it can be entered.
    fn run_parked(&mut self, context: usize) {
        let Some(parked) = self.parked.get_mut(&context) else {
            return;
        };
        // Those that were cancelled are gone; their place in line is not theirs any more.
        {
            let state = self.queue.lock();
            let is_live = |id: &CallId| {
                state
                    .calls
                    .get(id.key)
                    .is_some_and(|entry| entry.serial == id.serial)
            };
            while parked.calls.front().is_some_and(|id| !is_live(id)) {
                parked.calls.pop_front();
            }
        }
        let Some(&id) = parked.calls.front() else {
            self.parked.remove(&context);
            return;
        };
        debug_assert_eq!(parked.shared.address(), context);
        let waker = Waker::from(Arc::new(Unpark {
            context,
            unparked: Arc::clone(&self.unparked),
        }));
        match parked
            .waiter
            .poll_enter(&mut task::Context::from_waker(&waker))
        {
            Poll::Pending => {}
            Poll::Ready(entered) => {
                parked.calls.pop_front();
                let call = self.queue.lock().remove(id);
                match call {
                    Some(entry) => entry.call.run(entered),
                    None => drop(entered),
                }
                let done = self
                    .parked
                    .get(&context)
                    .is_none_or(|parked| parked.calls.is_empty());
                if done {
                    self.parked.remove(&context);
                } else {
                    self.queue.push_item(Item::Parked(context));
                }
            }
        }
    }

    /// Ends a driver that has nothing to do. Gives it back if something came in between.
    fn finish(&mut self) -> bool {
        let mut state = self.queue.lock();
        if !state.ready.is_empty() || !state.timers.is_empty() {
            return false;
        }
        state.driven = false;
        self.finished = true;
        let waker = state.driver.take();
        drop(state);
        drop(waker);
        true
    }
}

thread_local! {
    /// Whether this thread is within a call that adds to a queue.
    static ADDING: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as adding to a queue, until dropped.
pub(crate) fn adding() -> Mark {
    Mark::set(&ADDING)
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        if ADDING.get() || block::is_nested_step() {
            // The executor runs steps where they are scheduled. A callback never runs within the call that
            // schedules it, and a line of callbacks must not become a stack of them, so this has to come from
            // elsewhere.
            block::wake_after_steps(cx.waker().clone());
            return Poll::Pending;
        }
        let this = &mut *self;
        this.turn(BATCH, |_| {
            unreachable!("only the event loop queues anything but calls")
        });
        match this.next(cx.waker()) {
            Next::Again => cx.waker().wake_by_ref(),
            Next::Parked => {}
            Next::Idle if this.finish() => return Poll::Ready(()),
            Next::Idle => cx.waker().wake_by_ref(),
            Next::At(when) => {
                if this.sleep.as_ref().is_none_or(|(at, _)| *at != when) {
                    this.sleep = Some((when, this.queue.clock.sleep_until(when)));
                }
                if let Some((_, sleep)) = &mut this.sleep {
                    if sleep.as_mut().poll(cx).is_ready() {
                        this.sleep = None;
                        cx.waker().wake_by_ref();
                    }
                }
            }
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.finished {
            // The queue may have another driver by now.
            return;
        }
        self.parked.clear();
        let waker = {
            let mut state = self.queue.lock();
            state.driven = false;
            state.driver.take()
        };
        drop(waker);
        self.queue.empty();
    }
}
