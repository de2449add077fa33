//! The [`Driver`] runs the callbacks of a queue, one at a time.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::mem;
use std::panic;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, Waker};
use std::time::Instant;

use futures::future::BoxFuture;
use futures::task::AtomicWaker;

use super::{Item, Queue, State};
use crate::shared::{SharedContext, Waiter};
use crate::shim::block;
use crate::shim::callback::{Call, empty_trash};
use crate::shim::mark::Mark;

/// How many callbacks a driver that is a task runs before it lets the executor's other tasks run.
const BATCH: usize = 64;

/// Runs a queue. Dropped, it empties the queue: each closure is dropped inside its context.
pub(crate) struct Driver {
    queue: Arc<Queue>,
    /// What has been taken out of the line, and not been run.
    due: VecDeque<Item>,
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
    calls: VecDeque<Call>,
}

/// The shared contexts that have become free.
#[derive(Default)]
struct Unparked {
    contexts: Mutex<Vec<usize>>,
    driver: AtomicWaker,
}

impl Unparked {
    fn lock(&self) -> MutexGuard<'_, Vec<usize>> {
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<usize> {
        mem::take(&mut *self.lock())
    }
}

/// Wakes the driver for one shared context.
struct Unpark {
    context: usize,
    unparked: Arc<Unparked>,
}

impl task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.unparked.lock().push(self.context);
        self.unparked.driver.wake();
    }
}

/// Where a call was scheduled, if it was made.
type Location = Option<&'static panic::Location<'static>>;

/// How the items of a turn are run.
pub(crate) trait Turns {
    /// Makes a call, by `run`.
    fn call(&mut self, run: impl FnOnce() -> Location);
    fn task(&mut self, step: async_task::Runnable);
    fn main(&mut self);
}

/// The turns of a queue in which only calls wait.
struct OnlyCalls;

impl Turns for OnlyCalls {
    fn call(&mut self, run: impl FnOnce() -> Location) {
        run();
    }

    fn task(&mut self, _: async_task::Runnable) {
        unreachable!("only the event loop queues steps");
    }

    fn main(&mut self) {
        unreachable!("only the event loop has a main future");
    }
}

/// What a driver does next.
pub(crate) enum Next {
    /// There is more to run, after others had their turn.
    Again,
    /// Nothing before this moment.
    At(Instant),
    /// Nothing until a shared context is free, or a reserved place is taken.
    Waiting,
    /// Nothing at all.
    Idle,
}

impl Driver {
    /// A driver of a queue that has no other.
    pub(super) fn new(queue: Arc<Queue>) -> Driver {
        Driver {
            queue,
            due: VecDeque::new(),
            parked: HashMap::new(),
            unparked: Arc::default(),
            sleep: None,
            finished: false,
        }
    }

    /// Runs what is due now, at most `limit` of it. What is scheduled meanwhile has to wait for the next turn.
    pub(crate) fn turn(&mut self, limit: usize, turns: &mut impl Turns) {
        empty_trash();
        if self.due.is_empty() {
            self.take_due();
        }
        for _ in 0..self.due.len().min(limit) {
            let Some(item) = self.due.pop_front() else {
                break;
            };
            match item {
                Item::Call(call) => turns.call(|| self.run(call)),
                Item::Parked(context) => turns.call(|| self.run_parked(context)),
                Item::Task(step) => turns.task(step),
                Item::Main => turns.main(),
            }
        }
    }

    /// Takes all that is due out of the line.
    fn take_due(&mut self) {
        let mut state = self.queue.lock();
        if !state.timers.is_empty() {
            // Clocks are the user's code: asked without the lock.
            drop(state);
            let now = self.queue.clock.now();
            state = self.queue.lock();
            let State { timers, ready, .. } = &mut *state;
            timers.ripen(now, ready);
        }
        if !self.parked.is_empty() {
            let unparked = self.unparked.take();
            state.ready.extend(unparked.into_iter().map(Item::Parked));
        }
        mem::swap(&mut state.ready, &mut self.due);
    }

    /// What is left after a turn. If nothing is to be run now, `waker` is told of what comes.
    pub(crate) fn next(&self, waker: &Waker) -> Next {
        if !self.due.is_empty() || !self.queue.lock().ready.is_empty() {
            return Next::Again;
        }
        let waker = waker.clone();
        self.unparked.driver.register(&waker);
        let unparked = !self.parked.is_empty() && !self.unparked.lock().is_empty();
        let mut state = self.queue.lock();
        if unparked || !state.ready.is_empty() {
            return Next::Again;
        }
        let first = state.timers.first();
        let is_reserved = state.reserved > 0;
        let old = state.driver.replace(waker);
        drop(state);
        drop(old);
        match first {
            Some(when) => Next::At(when),
            None if self.parked.is_empty() && !is_reserved => Next::Idle,
            None => Next::Waiting,
        }
    }

    fn run(&mut self, call: Call) -> Location {
        let Some(shared) = call.shared() else {
            return call.run(None);
        };
        // Behind the calls for the same context that wait already, or first in a new line.
        let context = shared.address();
        let parked = self.parked.entry(context).or_insert_with(|| Parked {
            waiter: Waiter::from(shared.clone()),
            shared,
            calls: VecDeque::new(),
        });
        parked.calls.push_back(call);
        if parked.calls.len() == 1 {
            return self.run_parked(context);
        }
        None
    }

    /// Runs the first of the calls that wait for a shared context, if it can be entered.
    fn run_parked(&mut self, context: usize) -> Location {
        let parked = self.parked.get_mut(&context)?;
        // Those that were cancelled are gone; their place in line is not theirs any more.
        while parked.calls.front().is_some_and(|call| !call.is_pending()) {
            parked.calls.pop_front();
        }
        if parked.calls.is_empty() {
            self.parked.remove(&context);
            return None;
        }
        debug_assert_eq!(parked.shared.address(), context);
        let waker = Waker::from(Arc::new(Unpark {
            context,
            unparked: Arc::clone(&self.unparked),
        }));
        let mut cx = task::Context::from_waker(&waker);
        let Poll::Ready(entered) = parked.waiter.poll_enter(&mut cx) else {
            return None;
        };
        let call = parked.calls.pop_front()?;
        let location = call.run(entered);
        if parked.calls.is_empty() {
            self.parked.remove(&context);
        } else {
            self.queue.push_item(Item::Parked(context));
        }
        location
    }

    /// Ends a driver that has nothing to do. Gives it back if something came in between.
    fn finish(&mut self) -> bool {
        let mut state = self.queue.lock();
        if !state.ready.is_empty() || !state.timers.is_empty() || state.reserved > 0 {
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
        this.turn(BATCH, &mut OnlyCalls);
        match this.next(cx.waker()) {
            Next::Again => cx.waker().wake_by_ref(),
            Next::Waiting => {}
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
        let parked = mem::take(&mut self.parked).into_values();
        let parked = parked.flat_map(|parked| parked.calls).map(Item::Call);
        parked.chain(mem::take(&mut self.due)).for_each(Item::discard);
        let waker = {
            let mut state = self.queue.lock();
            state.driven = false;
            state.driver.take()
        };
        drop(waker);
        self.queue.empty();
    }
}
