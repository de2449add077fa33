//! The [`Driver`] runs the callbacks of a queue, one at a time.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::mem;
use std::panic;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{self, Poll, Waker};

use futures_core::future::BoxFuture;

use super::entry::Entry;
use super::local::{self, LocalQueue, QueueScope};
use super::state::Queue;
use crate::catch::catch;
use crate::current::{self, Owner};
use crate::shared::SharedContext;
use crate::shared::enter::Waiter;
use crate::shim::callback::{Call, RunOutcome, drop_remote_cancelled};
use crate::shim::inline;
use crate::shim::platform::Instant;
use crate::shim::task_list::{ListedId, Step};
use crate::shim::thread_state::{self, Marked};
use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, MutexGuard, WakerCell};

/// How many callbacks a driver that is a task runs before it lets the executor's other tasks run.
const BATCH: usize = 64;

/// Runs a queue. Dropped, it empties the queue: each closure is dropped inside its context.
pub(crate) struct Driver {
    /// `None` while turns are running.
    local: Option<Box<LocalQueue>>,
    is_only: bool,
    /// What belongs to the turn that is running, and comes before the local queue.
    due: VecDeque<Entry>,
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
    driver: WakerCell,
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

/// How the entries of a turn are run.
pub(crate) trait Turns {
    /// Makes a call, by `run`.
    fn call(&mut self, run: impl FnOnce() -> Location);
    fn step(&mut self, step: async_task::Runnable<Step>);
    fn abort(&mut self, task: ListedId);
    fn runnable(&mut self, runnable: async_task::Runnable);
    fn main(&mut self);
}

/// The turns of a queue in which only calls wait.
struct OnlyCalls;

impl Turns for OnlyCalls {
    #[inline]
    fn call(&mut self, run: impl FnOnce() -> Location) {
        run();
    }

    fn step(&mut self, _: async_task::Runnable<Step>) {
        unreachable!("only the event loop queues steps of tasks");
    }

    fn abort(&mut self, _: ListedId) {
        unreachable!("only the event loop queues aborts");
    }

    fn runnable(&mut self, _: async_task::Runnable) {
        unreachable!("only the event loop queues runnables");
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
            local: Some(Box::new(LocalQueue {
                queue,
                entries: VecDeque::new(),
                scope: QueueScope::default(),
                frame: None,
            })),
            is_only: false,
            due: VecDeque::new(),
            parked: HashMap::new(),
            unparked: Arc::default(),
            sleep: None,
            finished: false,
        }
    }

    /// Says that nobody else will ever drive the queue.
    pub(crate) fn only(mut self) -> Driver {
        self.is_only = true;
        self
    }

    /// Says which calls go to this queue from the frame in which the driver runs.
    pub(crate) fn serving(mut self, scope: QueueScope) -> Driver {
        if let Some(local) = &mut self.local {
            local.scope = scope;
        }
        self
    }

    /// Not while turns are running.
    fn queue(&self) -> &Arc<Queue> {
        &self.local.as_ref().expect("no turn is running").queue
    }

    /// Begins to run turns, in the innermost frame of this thread.
    pub(crate) fn start(&mut self) -> Running<'_> {
        if let Some(local) = &mut self.local {
            local.frame = current::scope_frame();
        }
        Running {
            outer: local::replace(self.local.take()),
            driver: self,
        }
    }

    /// Makes all that is due the next turn, if nothing is left of the last one.
    #[inline]
    fn take_due(&mut self) {
        if !self.due.is_empty() {
            return;
        }
        let is_unparked = !self.parked.is_empty();
        let is_simple = local::with(|local| {
            local.take_shared();
            if is_unparked || local.queue.may_have_timers.load(Ordering::Acquire) {
                return false;
            }
            mem::swap(&mut self.due, &mut local.entries);
            true
        });
        if !is_simple {
            self.take_due_with_timers();
        }
    }

    /// The same where timers may be due, or shared contexts may be free.
    #[inline(never)]
    fn take_due_with_timers(&mut self) {
        let unparked = self.unparked.take();
        let queue = local::with(|local| Arc::clone(&local.queue));
        // Clocks are the user's code: asked without a borrow and a lock.
        let now = queue.clock().now();
        local::with(|local| {
            local.fire_due(now);
            local
                .entries
                .extend(unparked.into_iter().map(Entry::Parked));
            mem::swap(&mut self.due, &mut local.entries);
        });
    }

    fn run(&mut self, mut call: Call) -> Location {
        let shared = match call.run() {
            RunOutcome::Called(location) => return Some(location),
            RunOutcome::Cancelled => return None,
            RunOutcome::Enter(shared) => shared,
        };
        // Behind the calls for the same context that wait already, or first in a new line.
        let context = shared.address();
        let parked = self.parked.entry(context).or_insert_with(|| Parked {
            waiter: Waiter::from(shared.clone()).apart(),
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
            self.parked.remove(&context).into_iter().for_each(release);
            return None;
        }
        debug_assert_eq!(parked.shared.address(), context);
        let waker = Waker::from(Arc::new(Unpark {
            context,
            unparked: Arc::clone(&self.unparked),
        }));
        let mut cx = task::Context::from_waker(&waker);
        let Poll::Ready(frame) = parked.waiter.poll_frame(Owner::Call.users(), &mut cx) else {
            return None;
        };
        let call = parked.calls.pop_front()?;
        let is_last = parked.calls.is_empty();
        if is_last {
            // Before the call, so that the frame owns the last reference to the context, and drops
            // the values in an empty one.
            self.parked.remove(&context);
        }
        let mut location = None;
        // If it was cancelled just now, the frame is left without it, and nobody takes a panic of
        // the values.
        catch(|| {
            if let RunOutcome::Called(at) = call.run_in(frame) {
                location = Some(at);
            }
        });
        if !is_last {
            local::with(|local| local.push(|| Entry::Parked(context)));
        }
        location
    }

    /// Ends the driver if nothing is left to do, and returns whether it has.
    fn finish(&mut self) -> bool {
        // Added by the destructor of a waker, after the last look.
        let is_news = |local: &LocalQueue| !local.entries.is_empty();
        if self.local.as_deref().is_some_and(is_news) {
            return false;
        }
        let mut state = self.queue().lock();
        if !state.ready.is_empty() || !state.timers.is_empty() || state.reserved > 0 {
            return false;
        }
        state.has_driver = false;
        let waker = state.driver.take();
        drop(state);
        drop(waker);
        self.finished = true;
        true
    }
}

/// A driver that is running turns: what this thread adds to its queue meanwhile goes into its line.
pub(crate) struct Running<'a> {
    driver: &'a mut Driver,
    outer: Option<Box<LocalQueue>>,
}

impl Running<'_> {
    /// Runs what is due now, at most `limit` of it, and returns whether anything was. What is
    /// scheduled meanwhile has to wait for the next turn.
    pub(crate) fn turn(&mut self, limit: usize, turns: &mut impl Turns) -> bool {
        drop_remote_cancelled();
        let driver = &mut *self.driver;
        driver.take_due();
        let any = !driver.due.is_empty();
        for _ in 0..limit {
            let Some(entry) = driver.due.pop_front() else {
                break;
            };
            match entry {
                Entry::Call(call) => turns.call(|| driver.run(call)),
                Entry::Parked(context) => turns.call(|| driver.run_parked(context)),
                Entry::Step(step) => turns.step(step),
                Entry::Abort(task) => turns.abort(task),
                Entry::Runnable(runnable) => turns.runnable(runnable),
                Entry::Main => turns.main(),
            }
        }
        any
    }

    /// What is left after a turn. If nothing is to be run now, `waker` is woken by new entries.
    pub(crate) fn next(&self, waker: &Waker) -> Next {
        let driver = &*self.driver;
        if !driver.due.is_empty() || local::with(|local| !local.entries.is_empty()) {
            return Next::Again;
        }
        let waker = waker.clone();
        driver.unparked.driver.register(&waker);
        let is_unparked = !driver.parked.is_empty() && !driver.unparked.lock().is_empty();
        let (next, old) = local::with(|local| {
            let mut state = local.queue.lock();
            if is_unparked || !state.ready.is_empty() {
                return (Next::Again, Some(waker));
            }
            let next = match state.timers.first() {
                Some(when) => Next::At(when),
                None if driver.parked.is_empty() && state.reserved == 0 => Next::Idle,
                None => Next::Waiting,
            };
            (next, state.driver.replace(waker))
        });
        // Wakers are the executor's code: dropped without a borrow and a lock.
        drop(old);
        next
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.driver.local = local::replace(self.outer.take());
    }
}

/// Marks this thread as adding to a queue, until the guard is dropped.
pub(crate) fn adding() -> Marked {
    thread_state::mark(|state| &state.is_adding, true)
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        if thread_state::is(|state| &state.is_adding) || inline::is_inline() {
            // The executor runs steps where they are scheduled. A callback never runs within the
            // call that schedules it, and a line of callbacks must not become a stack of them, so
            // this has to come from elsewhere.
            inline::wake_after_runnables(cx.waker().clone());
            return Poll::Pending;
        }
        let this = &mut *self;
        let next = {
            let mut running = this.start();
            running.turn(BATCH, &mut OnlyCalls);
            running.next(cx.waker())
        };
        match next {
            Next::Again => cx.waker().wake_by_ref(),
            Next::Waiting => {}
            Next::Idle if this.finish() => return Poll::Ready(()),
            Next::Idle => cx.waker().wake_by_ref(),
            Next::At(when) => {
                if this.sleep.as_ref().is_none_or(|(at, _)| *at != when) {
                    this.sleep = Some((when, this.queue().clock().sleep_until(when)));
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

/// Drops a reference to a shared context, and perhaps its values: not in the frame of the driver,
/// which may be the thread's, and would keep what their destructors set. What else waits is not to
/// hear of a panic there.
fn release(parked: Parked) {
    catch(|| current::enter_empty(|| drop(parked)));
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.finished {
            // The queue may have another driver by now.
            return;
        }
        drop_remote_cancelled();
        let parked = mem::take(&mut self.parked).into_values();
        let calls = parked.flat_map(|mut parked| {
            // The entries that are left own the last references to the context.
            let calls = mem::take(&mut parked.calls);
            release(parked);
            calls
        });
        let local = self.local.as_mut();
        let entries = local.map(|local| mem::take(&mut local.entries));
        let entries = entries.unwrap_or_default();
        calls
            .map(Entry::Call)
            .chain(mem::take(&mut self.due))
            .chain(entries)
            .for_each(Entry::discard);
        let waker = {
            let mut state = self.queue().lock();
            state.has_driver = self.is_only;
            state.driver.take()
        };
        drop(waker);
        self.queue().empty();
    }
}
