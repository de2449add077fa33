//! The built-in event loop: asyncio's in small, with no runtime and no reactor.
//!
//! Tasks and callbacks take turns in one queue, in the order in which they became ready, and
//! every one of them runs in its own context. An idle loop parks its thread. Sockets need a reactor
//! beside it, such as `async-io`'s, which wakes tasks of any executor.
//!
//! # Examples
//!
//! ```
//! use aiocontextvars::{context_var, event_loop::EventLoop};
//!
//! context_var! { static REQUEST_ID: u64; }
//!
//! let event_loop = EventLoop::new();
//! let seen = event_loop.run_until_complete(async {
//!     REQUEST_ID.set(7);
//!     aiocontextvars::shim::spawn(async { REQUEST_ID.get() }).await.unwrap()
//! });
//! assert_eq!(seen, Some(7));
//! // Nothing comes out: the loop ran in a copy of this thread's context.
//! assert_eq!(REQUEST_ID.get(), None);
//! ```

mod clock;
#[cfg(feature = "ctrl-c")]
mod ctrl_c;
mod debug;
mod handle;
mod run;
pub(crate) mod tasks;

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task;
use std::time::Duration;

#[cfg(feature = "ctrl-c")]
pub use self::ctrl_c::CtrlCError;
pub use self::debug::SlowCallback;
pub use self::handle::LoopHandle;

use self::clock::LoopClock;
use self::debug::Debug;
use super::block::{self, BlockOnError};
use super::call_handle::{CallHandle, TimerHandle};
use super::callback::Call;
use super::clock::Clock;
use super::context_aware::ContextAwareExecutor;
use super::executor::{Adapter, Executor, ExecutorName, Hooks, LocalExecutor, LocalName, QueueKey};
use super::join::{self, JoinHandle};
use super::onto_list;
use super::parker::Parker;
use super::queue::{Driver, Entry, Queue, QueueScope};
use super::runnable::{LocalRunnable, Runnable};
use super::scope::{ExecutorScope, LocalScope};
use super::task::TaskFuture;
use super::task_list::{Errand, TaskList};
use crate::catch::catch;
use crate::current;
use crate::shim::platform::Instant;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread;
use crate::task_context::TaskContext;

/// An event loop of one thread.
///
/// Dropping it drops its tasks and callbacks, each inside its context.
///
/// # Examples
///
/// ```
/// use std::{cell::RefCell, rc::Rc};
/// use aiocontextvars::event_loop::EventLoop;
///
/// let event_loop = EventLoop::new();
/// let order = Rc::new(RefCell::new(Vec::new()));
/// for n in 0..3 {
///     let order = Rc::clone(&order);
///     event_loop.call_soon(move || order.borrow_mut().push(n));
/// }
/// event_loop.call_soon({
///     let handle = event_loop.handle();
///     move || handle.stop()
/// });
/// event_loop.run_forever();
/// assert_eq!(*order.borrow(), [0, 1, 2]);
/// ```
pub struct EventLoop {
    shared: Arc<Shared>,
    local: ContextAwareExecutor<Rc<OnLoop>>,
    /// Taken when the loop is dropped.
    driver: RefCell<Option<Driver>>,
    debug: Debug,
}

/// What the loop shares with its handles and its tasks' wakers.
struct Shared {
    this: Weak<Shared>,
    queue: Arc<Queue>,
    clock: Arc<LoopClock>,
    parker: Arc<Parker>,
    tasks: Arc<TaskList>,
    stop: AtomicBool,
    /// Whether it is in a run.
    running: AtomicBool,
}

/// The loop, to those on its own thread.
struct OnLoop(Arc<Shared>);

impl EventLoop {
    /// A loop on the operating system's clock.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::event_loop::EventLoop;
    /// assert_eq!(EventLoop::new().run_until_complete(async { 1 }), 1);
    /// ```
    pub fn new() -> EventLoop {
        EventLoop::with_clock(None)
    }

    /// A loop whose clock stands still while there is something to run and jumps to the next timer
    /// when there is not: timers of an hour take no time, and fire in order.
    ///
    /// Without a timer the loop parks until another thread wakes it, as any loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use aiocontextvars::{event_loop::EventLoop, shim};
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// let start = event_loop.time();
    /// event_loop.run_until_complete(shim::sleep(Duration::from_secs(3600)));
    /// assert_eq!(event_loop.time() - start, Duration::from_secs(3600));
    /// ```
    pub fn with_virtual_clock() -> EventLoop {
        EventLoop::with_clock(Some(Instant::now()))
    }

    fn with_clock(start: Option<Instant>) -> EventLoop {
        let clock = Arc::new(LoopClock::new(start));
        let queue = Arc::new(Queue::new(clock.clone()));
        clock.attach(&queue);
        let driver = queue.drive().map(|driver| {
            driver.only().serving(QueueScope {
                executor: true,
                local: true,
            })
        });
        let shared = Arc::new_cyclic(|this: &Weak<Shared>| Shared {
            this: this.clone(),
            tasks: Arc::new_cyclic(|tasks| {
                let executor = ExecutorName::Weak(this.clone());
                let scope = ExecutorScope::listed(executor, tasks.clone());
                let address = Arc::as_ptr(&queue).addr();
                let queue = Arc::clone(&queue);
                // The loop drives its queue itself.
                TaskList::new(scope, address, move |errand| {
                    let entry = || match errand {
                        Errand::Step(step) => Entry::Step(step),
                        Errand::Abort(task) => Entry::Abort(task),
                    };
                    queue.push_entry(entry, &mut drop);
                })
            }),
            queue,
            clock,
            parker: Arc::default(),
            stop: AtomicBool::new(false),
            running: AtomicBool::new(false),
        });
        EventLoop {
            local: ContextAwareExecutor::new(Rc::new(OnLoop(Arc::clone(&shared)))),
            shared,
            driver: RefCell::new(driver),
            debug: Debug::default(),
        }
    }

    /// A handle that other threads can use.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::event_loop::EventLoop;
    /// let event_loop = EventLoop::new();
    /// let task = event_loop.handle().spawn(async { 1 });
    /// assert_eq!(event_loop.run_until_complete(task).unwrap(), 1);
    /// ```
    pub fn handle(&self) -> LoopHandle {
        LoopHandle(Arc::clone(&self.shared))
    }

    /// The loop's present moment.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::event_loop::EventLoop;
    /// let event_loop = EventLoop::new();
    /// assert!(event_loop.time() <= event_loop.time());
    /// ```
    pub fn time(&self) -> Instant {
        self.shared.clock.now()
    }

    /// Runs the loop until `future` has completed, in a copy of the current context.
    ///
    /// There is one more turn then, as in asyncio, unless it is stopped at once: the callbacks, and
    /// the first steps of the tasks, that the future has scheduled in its last step are run, before
    /// the output is returned. What is scheduled meanwhile is left for the next run. (The same goes
    /// for a future that panics; its panic comes out afterwards.)
    ///
    /// # Panics
    ///
    /// If a loop is running on this thread, or if [`stop`](LoopHandle::stop) was called before the
    /// future had completed. For a form that does not panic, see
    /// [`try_run_until_complete`](Self::try_run_until_complete).
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::event_loop::EventLoop;
    /// assert_eq!(EventLoop::new().run_until_complete(async { 1 }), 1);
    /// ```
    #[track_caller]
    pub fn run_until_complete<F: Future>(&self, future: F) -> F::Output {
        match self.try_run_until_complete(future) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`run_until_complete`](Self::run_until_complete).
    ///
    /// # Errors
    ///
    /// If a loop is running on this thread, before anything is entered, or if
    /// [`stop`](LoopHandle::stop) was called before the future had completed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::event_loop::EventLoop;
    /// let event_loop = EventLoop::new();
    /// let nested = event_loop.run_until_complete(async { event_loop.try_run_until_complete(async {}) });
    /// assert!(nested.is_err());
    /// ```
    pub fn try_run_until_complete<F: Future>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let future = TaskFuture::to_block_on(current::inherit(), self.scope(), future);
        block::run(|future| self.block(future), future)
    }

    /// Runs the loop until [`stop`](LoopHandle::stop) is called.
    ///
    /// # Panics
    ///
    /// If a loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::event_loop::EventLoop;
    /// let event_loop = EventLoop::new();
    /// let handle = event_loop.handle();
    /// event_loop.call_soon(move || handle.stop());
    /// event_loop.run_forever();
    /// ```
    #[track_caller]
    pub fn run_forever(&self) {
        if let Err(error) = self.try_run_forever() {
            panic!("{error}");
        }
    }

    /// As [`run_forever`](Self::run_forever).
    ///
    /// # Errors
    ///
    /// If a loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::event_loop::EventLoop;
    /// let event_loop = EventLoop::new();
    /// let nested = event_loop.run_until_complete(async { event_loop.try_run_forever() });
    /// assert!(nested.is_err());
    /// ```
    pub fn try_run_forever(&self) -> Result<(), BlockOnError> {
        let _running = run::start_running()?;
        self.run(&mut || false);
        Ok(())
    }

    /// Makes the run that is under way, or the next one, return after this turn.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::event_loop::EventLoop;
    /// let event_loop = EventLoop::new();
    /// event_loop.stop();
    /// event_loop.run_forever();
    /// ```
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Spawns a task on the loop, in a copy of the current context, taken now. The future stays on
    /// this thread and need not be `Send`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use aiocontextvars::event_loop::EventLoop;
    ///
    /// let event_loop = EventLoop::new();
    /// let one = Rc::new(1);
    /// let task = event_loop.spawn(async move { *one });
    /// assert_eq!(event_loop.run_until_complete(task).unwrap(), 1);
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.spawn_in(current::inherit(), future)
    }

    /// Spawns a task on the loop, in `context`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, event_loop::EventLoop, shim};
    /// # context_var! { static ID: u64; }
    /// let event_loop = EventLoop::new();
    /// ID.set(7);
    /// let task = event_loop.spawn_in(Context::new(), async { ID.get() });
    /// assert_eq!(event_loop.run_until_complete(task).unwrap(), None);
    /// ```
    #[track_caller]
    pub fn spawn_in<C: TaskContext, F>(&self, context: C, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        onto_list::spawn_local(Arc::clone(&self.shared.tasks), context, future)
    }

    /// Schedules `f` for the next turn, in a copy of the current context, taken now.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{event_loop::EventLoop, shim};
    /// let event_loop = EventLoop::new();
    /// event_loop.call_soon(|| println!("soon"));
    /// event_loop.run_until_complete(shim::yield_now());
    /// ```
    #[track_caller]
    pub fn call_soon(&self, f: impl FnOnce() + 'static) -> CallHandle {
        self.call_soon_in(current::inherit(), f)
    }

    /// Schedules `f` for the next turn, in `context`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, event_loop::EventLoop, shim};
    /// # context_var! { static ID: u64; }
    /// let event_loop = EventLoop::new();
    /// ID.set(7);
    /// event_loop.call_soon_in(Context::new(), || assert_eq!(ID.get(), None));
    /// event_loop.run_until_complete(shim::yield_now());
    /// ```
    #[track_caller]
    pub fn call_soon_in<C: TaskContext>(
        &self,
        context: C,
        f: impl FnOnce() + 'static,
    ) -> CallHandle {
        let call = Call::new_local(context, None, f);
        // The loop drives its queue itself.
        self.shared.queue.push(&call, None, &mut drop);
        CallHandle::new(call)
    }

    /// Schedules `f` for when `delay` has passed, in a copy of the current context, taken now.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use aiocontextvars::{event_loop::EventLoop, shim};
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// event_loop.call_later(Duration::from_secs(1), || println!("late"));
    /// event_loop.run_until_complete(shim::sleep(Duration::from_secs(2)));
    /// ```
    #[track_caller]
    pub fn call_later(&self, delay: Duration, f: impl FnOnce() + 'static) -> TimerHandle {
        self.local.call_later_local(delay, f)
    }

    /// Schedules `f` for `when` on the loop's clock, in a copy of the current context, taken now.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, event_loop::EventLoop, shim};
    /// # context_var! { static ID: u64; }
    /// let event_loop = EventLoop::new();
    /// event_loop.call_at(event_loop.time(), || println!("at once"));
    /// event_loop.run_until_complete(shim::yield_now());
    /// ```
    #[track_caller]
    pub fn call_at(&self, when: Instant, f: impl FnOnce() + 'static) -> TimerHandle {
        self.local.call_at_local(when, f)
    }

    /// Schedules `f` for when `delay` has passed, in `context`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use aiocontextvars::{SharedContext, context_var, event_loop::EventLoop, shim};
    /// # context_var! { static ID: u64; }
    /// let (event_loop, shared) = (EventLoop::with_virtual_clock(), SharedContext::new());
    /// event_loop.call_later_in(&shared, Duration::from_secs(1), || { ID.set(7); });
    /// event_loop.run_until_complete(shim::sleep(Duration::from_secs(2)));
    /// assert_eq!(shared.get(&ID), Some(7));
    /// ```
    #[track_caller]
    pub fn call_later_in<C: TaskContext>(
        &self,
        context: C,
        delay: Duration,
        f: impl FnOnce() + 'static,
    ) -> TimerHandle {
        self.local.call_later_local_in(context, delay, f)
    }

    /// Schedules `f` for `when` on the loop's clock, in `context`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{SharedContext, context_var, event_loop::EventLoop, shim};
    /// # context_var! { static ID: u64; }
    /// let (event_loop, shared) = (EventLoop::new(), SharedContext::new());
    /// event_loop.call_at_in(&shared, event_loop.time(), || { ID.set(7); });
    /// event_loop.run_until_complete(shim::yield_now());
    /// assert_eq!(shared.get(&ID), Some(7));
    /// ```
    #[track_caller]
    pub fn call_at_in<C: TaskContext>(
        &self,
        context: C,
        when: Instant,
        f: impl FnOnce() + 'static,
    ) -> TimerHandle {
        self.local.call_at_local_in(context, when, f)
    }

    /// Ends the loop: drops its tasks and callbacks, each inside its context. Equivalent to
    /// dropping it. A loop that is running cannot be closed: it is borrowed.
    ///
    /// What [handles](LoopHandle) submit from now on is dropped, and their
    /// [`is_closed`](LoopHandle::is_closed) holds.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::event_loop::EventLoop;
    /// let event_loop = EventLoop::new();
    /// let handle = event_loop.handle();
    /// let task = handle.spawn(async {});
    /// event_loop.close();
    /// assert!(handle.is_closed() && task.is_finished());
    /// ```
    pub fn close(self) {}

    /// In debug mode, what holds the loop up for long is reported: a callback, or a step of a task,
    /// in which nothing else can run. Off by default.
    ///
    /// # Examples
    ///
    /// See [`SlowCallback`].
    pub fn set_debug(&self, enabled: bool) {
        self.debug.enabled.set(enabled);
    }

    /// How long a callback or a step may take in [debug mode](Self::set_debug) without being
    /// reported, on the operating system's clock: 100 milliseconds by default, as with asyncio's
    /// `slow_callback_duration`.
    ///
    /// # Examples
    ///
    /// See [`SlowCallback`].
    pub fn set_slow_callback_duration(&self, duration: Duration) {
        self.debug.limit.set(duration);
    }

    /// Sets what is done about slow callbacks in [debug mode](Self::set_debug). By default one line
    /// on standard error names the call site. A panic of the handler goes no further.
    ///
    /// # Examples
    ///
    /// See [`SlowCallback`].
    pub fn set_slow_callback_handler(&self, f: impl Fn(&SlowCallback) + 'static) {
        drop(self.debug.handler.replace(Some(Rc::new(f))));
    }

    pub(crate) fn scope(&self) -> LocalScope {
        let local: Rc<dyn LocalExecutor> = self.local.get_ref().clone();
        LocalScope {
            scope: ExecutorScope::listed(
                ExecutorName::Weak(self.shared.this.clone()),
                Arc::downgrade(&self.shared.tasks),
            ),
            local: LocalName::Rc(Rc::downgrade(&local)),
        }
    }
}

impl Default for EventLoop {
    fn default() -> EventLoop {
        EventLoop::new()
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        current::enter_again(&self.scope(), || self.drop_tasks());
    }
}

impl EventLoop {
    /// Drops the tasks and callbacks that are left, each in its context.
    fn drop_tasks(&self) {
        let shared = &*self.shared;
        shared.tasks.close();
        drop(self.driver.borrow_mut().take());
        // Waking a task of a closed loop drops it, here. A runnable that another thread is just
        // handing over comes through the queue.
        while shared.tasks.wake_all() {
            shared.queue.empty();
            give_notices(&shared.tasks);
            thread::yield_now();
        }
        // The last ones may have been dropped by other threads in between.
        give_notices(&shared.tasks);
        // Whatever is submitted from now on is not by this thread's tasks, and is dropped by its
        // submitter.
        shared.queue.close();
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").finish_non_exhaustive()
    }
}

/// Gives the notices of tasks that have ended.
fn give_notices(tasks: &TaskList) {
    tasks
        .take_ended()
        .iter()
        .for_each(join::listed::give_notices);
}

impl Shared {
    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        task::Wake::wake(Arc::clone(&self.parker));
    }

    fn schedule_runnable(&self, runnable: async_task::Runnable) {
        if self.tasks.is_closed() && self.tasks.is_here() {
            // Cancels the task.
            catch(|| drop(runnable));
        } else {
            // The loop drives its queue itself.
            self.queue
                .push_entry(|| Entry::Runnable(runnable), &mut drop);
        }
    }

    /// Whether the run is to be stopped now.
    fn take_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire) && self.stop.swap(false, Ordering::AcqRel)
    }
}

impl Executor for Shared {
    fn schedule(&self, task: Runnable) {
        self.schedule_runnable(task.0);
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    fn hooks(&self) -> Hooks<'_, ExecutorName> {
        Hooks::adapted(QueueKey::address(self), self)
    }
}

impl Adapter for Shared {
    fn native(&self) -> Option<&dyn Any> {
        Some(&self.tasks)
    }

    fn executor(&self) -> Option<ExecutorName> {
        Some(ExecutorName::Weak(self.this.clone()))
    }

    fn local(&self) -> Option<LocalName> {
        let this = self.this.upgrade()?;
        self.tasks
            .is_here()
            .then(|| LocalName::Strong(Arc::new(OnLoop(this))))
    }

    fn queue(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self.queue.clone())
    }

    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        run::refuse_nested()?;
        if self.tasks.is_here() {
            Err(BlockOnError::new(
                "the event loop belongs to this thread; await the future in its `run_until_complete`",
            ))
        } else {
            block::park_on(future)
        }
    }
}

impl LocalExecutor for OnLoop {
    fn schedule_local(&self, task: LocalRunnable) {
        self.0.schedule_runnable(task.into_inner());
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.0.clock.clone()
    }

    fn hooks(&self) -> Hooks<'_, LocalName> {
        Hooks::adapted(QueueKey::address(&*self.0), self)
    }
}

impl Adapter for OnLoop {
    fn task_list(&self) -> Option<&Arc<TaskList>> {
        Some(&self.0.tasks)
    }

    fn executor(&self) -> Option<ExecutorName> {
        Adapter::executor(&*self.0)
    }

    fn queue(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Adapter::queue(&*self.0)
    }

    fn block_on(&self, _: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        Err(BlockOnError::unsupported())
    }
}
