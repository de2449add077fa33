//! [`ContextAwareExecutor`]: any executor, with values that follow the work.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_task::{FutureObj, LocalFutureObj, LocalSpawn, Spawn, SpawnError};

use super::call_handle::{CallHandle, TimerHandle};
use super::callback::Call;
use super::clock::deadline;
use super::destination::{Destination, OnExecutor};
use super::executor::{Adapter, Executor, ExecutorName, Hooks, LocalExecutor, LocalName, QueueKey};
use super::executor_ref::{ExecutorRef, name_beside};
use super::join::JoinHandle;
use super::local;
use super::runnable::Runnable;
use super::scope::{ExecutorScope, LocalScope, new_context};
use crate::context::Context;
use crate::id;
use crate::shim::platform::Instant;
use crate::task_context::TaskContext;

/// An executor whose units of work inherit the context that they are submitted from.
///
/// Wraps the handle of a runtime, an executor of one's own, or, with
/// [`from_schedule`](ContextAwareExecutor::from_schedule), any closure that gets work run. Tasks of
/// smol's and tokio's executors are spawned by their native means. Clones share the executor.
///
/// | wraps | how to block on it |
/// |---|---|
/// | `tokio::runtime::Handle` | as tokio's `Handle::block_on`; from a task of the multi-thread runtime, `block_in_place` |
/// | `Rc<tokio::task::LocalSet>` | where a runtime is entered, whose timers and I/O stand still meanwhile if it has one thread; otherwise [enter](Self::enter_local) the set and call `LocalSet::block_on` |
/// | `smol::Executor` and `LocalExecutor`, by `Arc`, `Rc` or `&'static` | runs the executor meanwhile |
/// | `shim::smol::Global`, `shim::async_std::Global` | yes, nested too; a task that blocks holds a worker, of which there may be one only |
/// | `futures::executor::ThreadPool`, with the feature `futures-executor` | parks the thread |
/// | `futures::executor::LocalSpawner`, with that feature | no: run the `LocalPool` |
/// | `event_loop::LoopHandle` | from other threads, while the loop runs |
/// | any `Fn(Runnable)` | parks the thread |
///
/// Callbacks wait in one line for each executor, however many wrappers it has. Clones of a
/// `ThreadPool` or a `LocalSpawner` cannot be told apart from other pools, nor clones of an
/// executor of your own that is moved in: there, clone the wrapper.
///
/// Work that this executor's own tasks submit through the free functions of [`shim`](super) goes to
/// it too. An executor that is moved into the wrapper, rather than pointed to, is found by its
/// tasks as long as a wrapper or a task exists.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "futures-executor")] {
/// use aiocontextvars::{context_var, shim::ContextAwareExecutor};
/// use futures::executor::ThreadPool;
///
/// context_var! { static REQUEST_ID: u64; }
///
/// let executor = ContextAwareExecutor::new(ThreadPool::new().unwrap());
/// REQUEST_ID.set(7);
/// let task = executor.spawn(async { REQUEST_ID.get() });
/// assert_eq!(executor.block_on(task).unwrap(), Some(7));
/// # }
/// ```
pub struct ContextAwareExecutor<E> {
    pub(crate) inner: Arc<E>,
    pub(crate) fixed: Option<Arc<Context>>,
}

/// An executor made of a closure, by [`ContextAwareExecutor::from_schedule`]. Clones share the
/// closure.
#[derive(Clone)]
pub struct FromSchedule {
    schedule: Arc<dyn Fn(Runnable) + Send + Sync>,
    /// Tells the closure from others, which its address does not if it captures nothing.
    id: u64,
}

impl Executor for FromSchedule {
    fn schedule(&self, task: Runnable) {
        (self.schedule)(task);
    }

    fn hooks(&self) -> Hooks<'_, ExecutorName> {
        Hooks::new(QueueKey::Numbered("schedule", self.id))
    }
}

impl fmt::Debug for FromSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromSchedule").finish_non_exhaustive()
    }
}

impl ContextAwareExecutor<FromSchedule> {
    /// Makes an executor of a closure that gets a [`Runnable`] run, soon, once and on any thread.
    ///
    /// A closure that runs it at once makes [`spawn`](ContextAwareExecutor::spawn) poll the task
    /// before it returns. Callbacks never run within the call that schedules them; with such a
    /// closure they run on one of the crate's blocking threads.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use aiocontextvars::shim::{ContextAwareExecutor, Runnable};
    ///
    /// let (sender, receiver) = mpsc::channel::<Runnable>();
    /// let worker = std::thread::spawn(move || receiver.into_iter().for_each(Runnable::run));
    ///
    /// let executor = ContextAwareExecutor::from_schedule(move |task| {
    ///     let _ = sender.send(task);
    /// });
    /// assert_eq!(executor.block_on(executor.spawn(async { 1 })).unwrap(), 1);
    /// drop(executor);
    /// worker.join().unwrap();
    /// ```
    pub fn from_schedule(schedule: impl Fn(Runnable) + Send + Sync + 'static) -> Self {
        ContextAwareExecutor::new(FromSchedule {
            schedule: Arc::new(schedule),
            id: id::next(),
        })
    }
}

impl<E> ContextAwareExecutor<E> {
    /// Wraps `inner`. The context is captured at each submission.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// use aiocontextvars::shim::ContextAwareExecutor;
    /// use futures::executor::LocalPool;
    ///
    /// let mut pool = LocalPool::new();
    /// let executor = ContextAwareExecutor::new(pool.spawner());
    /// let task = executor.spawn_local(async { 1 });
    /// assert_eq!(pool.run_until(task).unwrap(), 1);
    /// # }
    /// ```
    pub fn new(inner: E) -> Self {
        ContextAwareExecutor {
            // `E` may be a local executor: then nothing but the pointer is ever shared.
            inner: Arc::new(inner),
            fixed: None,
        }
    }

    /// Wraps `inner` so that every unit of work starts in a copy of `context`, wherever it is
    /// submitted. The `_in` methods still take the context they are given.
    ///
    /// For work that outlives the request that happens to start it, as a pooled connection does: on
    /// an executor made by [`new`](Self::new), it would keep the values of the request that opened
    /// it.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// use aiocontextvars::{Context, context_var, shim::ContextAwareExecutor};
    /// use futures::executor::ThreadPool;
    ///
    /// context_var! { static REQUEST_ID: u64; }
    ///
    /// let background = ContextAwareExecutor::fixed(ThreadPool::new().unwrap(), Context::new());
    /// REQUEST_ID.set(7);
    /// let task = background.spawn(async { REQUEST_ID.get() });
    /// assert_eq!(background.block_on(task).unwrap(), None);
    /// # }
    /// ```
    pub fn fixed(inner: E, context: Context) -> Self {
        ContextAwareExecutor {
            inner: Arc::new(inner),
            fixed: Some(Arc::new(context)),
        }
    }

    /// The executor.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::shim::ContextAwareExecutor;
    /// assert_eq!(ContextAwareExecutor::new("any").get_ref(), &"any");
    /// ```
    pub fn get_ref(&self) -> &E {
        &self.inner
    }

    /// The executor, out of the wrapper; a clone of it while other wrappers or tasks share it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::shim::ContextAwareExecutor;
    /// assert_eq!(ContextAwareExecutor::new("any").into_inner(), "any");
    /// ```
    pub fn into_inner(self) -> E
    where
        E: Clone,
    {
        Arc::unwrap_or_clone(self.inner)
    }

    /// The context that a new unit of work starts in.
    pub(crate) fn new_context(&self) -> Context {
        new_context(self.fixed.as_ref())
    }
}

impl<E: Executor> ContextAwareExecutor<E> {
    pub(crate) fn on_executor(&self) -> OnExecutor {
        OnExecutor {
            executor: ExecutorRef::Value(self.inner.clone()),
            fixed: self.fixed.clone(),
        }
    }

    fn destination(&self) -> Destination {
        Destination::Executor(self.on_executor())
    }

    /// Spawns a task that starts in a copy of the current context, taken now.
    ///
    /// See [`shim::spawn`](super::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, shim::ContextAwareExecutor};
    /// # context_var! { static ID: u64; }
    /// # let executor = ContextAwareExecutor::from_schedule(|step| drop(std::thread::spawn(|| step.run())));
    /// ID.set(7);
    /// let task = executor.spawn(async { ID.get() });
    /// assert_eq!(executor.block_on(task).unwrap(), Some(7));
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_in(self.new_context(), future)
    }

    /// Spawns a task in `context`.
    ///
    /// See [`shim::spawn_in`](super::spawn_in).
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, shim::ContextAwareExecutor};
    /// # context_var! { static ID: u64; }
    /// # let executor = ContextAwareExecutor::from_schedule(|step| drop(std::thread::spawn(|| step.run())));
    /// ID.set(7);
    /// let task = executor.spawn_in(Context::new(), async { ID.get() });
    /// assert_eq!(executor.block_on(task).unwrap(), None);
    /// ```
    #[track_caller]
    pub fn spawn_in<C: TaskContext, F>(&self, context: C, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.on_executor().spawn(context, future)
    }

    /// Runs `f` on a thread that may block, in a copy of the current context, taken now.
    ///
    /// See [`shim::spawn_blocking`](super::spawn_blocking).
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, shim::ContextAwareExecutor};
    /// # context_var! { static ID: u64; }
    /// # let executor = ContextAwareExecutor::from_schedule(|step| drop(std::thread::spawn(|| step.run())));
    /// ID.set(7);
    /// let job = executor.spawn_blocking(|| ID.get());
    /// assert_eq!(executor.block_on(job).unwrap(), Some(7));
    /// ```
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.spawn_blocking_in(self.new_context(), f)
    }

    /// Runs `f` on a thread that may block, in `context`.
    ///
    /// See [`shim::spawn_blocking_in`](super::spawn_blocking_in).
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, shim::ContextAwareExecutor};
    /// # context_var! { static ID: u64; }
    /// # let executor = ContextAwareExecutor::from_schedule(|step| drop(std::thread::spawn(|| step.run())));
    /// let context = Context::new().with_value(&ID, 8);
    /// let job = executor.spawn_blocking_in(context, || ID.get());
    /// assert_eq!(executor.block_on(job).unwrap(), Some(8));
    /// ```
    pub fn spawn_blocking_in<C: TaskContext, T: Send + 'static>(
        &self,
        context: C,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.on_executor().spawn_blocking(context, f)
    }

    /// Schedules `f`, in a copy of the current context, taken now.
    ///
    /// See [`shim::call_soon`](super::call_soon).
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, shim::ContextAwareExecutor};
    /// # context_var! { static ID: u64; }
    /// # let executor = ContextAwareExecutor::from_schedule(|step| drop(std::thread::spawn(|| step.run())));
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// ID.set(7);
    /// executor.call_soon(move || sender.send(ID.get()).unwrap());
    /// assert_eq!(receiver.recv(), Ok(Some(7)));
    /// ```
    #[track_caller]
    pub fn call_soon(&self, f: impl FnOnce() + Send + 'static) -> CallHandle {
        self.call_soon_in(self.new_context(), f)
    }

    /// Schedules `f` in `context`.
    ///
    /// See [`shim::call_soon_in`](super::call_soon_in).
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, shim::ContextAwareExecutor};
    /// # context_var! { static ID: u64; }
    /// # let executor = ContextAwareExecutor::from_schedule(|step| drop(std::thread::spawn(|| step.run())));
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// executor.call_soon_in(Context::new().with_value(&ID, 8), move || sender.send(ID.get()).unwrap());
    /// assert_eq!(receiver.recv(), Ok(Some(8)));
    /// ```
    #[track_caller]
    pub fn call_soon_in<C: TaskContext>(
        &self,
        context: C,
        f: impl FnOnce() + Send + 'static,
    ) -> CallHandle {
        self.destination().call_soon_in(context, f)
    }

    /// Schedules `f` for when `delay` has passed, in a copy of the current context, taken now.
    ///
    /// See [`shim::call_later`](super::call_later).
    ///
    /// # Panics
    ///
    /// On a tokio runtime without a time driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, shim::ContextAwareExecutor};
    /// # context_var! { static ID: u64; }
    /// # let executor = ContextAwareExecutor::from_schedule(|step| drop(std::thread::spawn(|| step.run())));
    /// # use std::time::Duration;
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// ID.set(7);
    /// executor.call_later(Duration::from_millis(1), move || sender.send(ID.get()).unwrap());
    /// assert_eq!(receiver.recv(), Ok(Some(7)));
    /// ```
    #[track_caller]
    pub fn call_later(&self, delay: Duration, f: impl FnOnce() + Send + 'static) -> TimerHandle {
        self.call_later_in(self.new_context(), delay, f)
    }

    /// Schedules `f` for when `delay` has passed, in `context`.
    ///
    /// See [`shim::call_later`](super::call_later).
    ///
    /// # Panics
    ///
    /// On a tokio runtime without a time driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, shim::ContextAwareExecutor};
    /// # context_var! { static ID: u64; }
    /// # let executor = ContextAwareExecutor::from_schedule(|step| drop(std::thread::spawn(|| step.run())));
    /// # use std::time::Duration;
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// // A timer that keeps nothing of its maker alive.
    /// executor.call_later_in(Context::new(), Duration::from_millis(1), move || sender.send(()).unwrap());
    /// assert_eq!(receiver.recv(), Ok(()));
    /// ```
    #[track_caller]
    pub fn call_later_in<C: TaskContext>(
        &self,
        context: C,
        delay: Duration,
        f: impl FnOnce() + Send + 'static,
    ) -> TimerHandle {
        self.destination().call_later_in(context, delay, f)
    }

    /// Schedules `f` for `when`, on the executor's clock, in a copy of the current context, taken
    /// now.
    ///
    /// See [`shim::call_at`](super::call_at).
    ///
    /// # Panics
    ///
    /// On a tokio runtime without a time driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, shim::ContextAwareExecutor};
    /// # context_var! { static ID: u64; }
    /// # let executor = ContextAwareExecutor::from_schedule(|step| drop(std::thread::spawn(|| step.run())));
    /// use std::time::Instant;
    ///
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// ID.set(7);
    /// executor.call_at(Instant::now(), move || sender.send(ID.get()).unwrap());
    /// assert_eq!(receiver.recv(), Ok(Some(7)));
    /// ```
    #[track_caller]
    pub fn call_at(&self, when: Instant, f: impl FnOnce() + Send + 'static) -> TimerHandle {
        self.call_at_in(self.new_context(), when, f)
    }

    /// Schedules `f` for `when`, on the executor's clock, in `context`.
    ///
    /// See [`shim::call_at`](super::call_at).
    ///
    /// # Panics
    ///
    /// On a tokio runtime without a time driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, shim::ContextAwareExecutor};
    /// # context_var! { static ID: u64; }
    /// # let executor = ContextAwareExecutor::from_schedule(|step| drop(std::thread::spawn(|| step.run())));
    /// # use std::time::Instant;
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// executor.call_at_in(Context::new(), Instant::now(), move || sender.send(ID.get()).unwrap());
    /// assert_eq!(receiver.recv(), Ok(None));
    /// ```
    #[track_caller]
    pub fn call_at_in<C: TaskContext>(
        &self,
        context: C,
        when: Instant,
        f: impl FnOnce() + Send + 'static,
    ) -> TimerHandle {
        self.destination().call_at_in(context, when, f)
    }
}

impl<E: LocalExecutor> ContextAwareExecutor<E> {
    /// The scope of work on this executor.
    pub(crate) fn scope(&self) -> LocalScope {
        // The executor's own answers, not those of the pointer.
        let executor: &E = &self.inner;
        let hooks = executor.hooks();
        let local = hooks.adapter.and_then(Adapter::local);
        let local = local.or_else(|| hooks.pointer_name());
        let local = local.unwrap_or_else(|| {
            let inner: Arc<dyn LocalExecutor> = self.inner.clone();
            if hooks.adapter.is_some_and(Adapter::is_handle) {
                LocalName::Strong(inner)
            } else {
                LocalName::Weak(Arc::downgrade(&inner))
            }
        });
        LocalScope {
            scope: ExecutorScope::new(name_beside(&hooks), self.fixed.clone()),
            local,
        }
    }

    /// Spawns a task that stays on this thread, in a copy of the current context, taken now.
    ///
    /// See [`shim::spawn_local`](super::spawn_local).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// # use std::{cell::Cell, rc::Rc, time::Duration};
    /// # use aiocontextvars::{Context, context_var, shim::{self, ContextAwareExecutor}};
    /// # use futures::executor::LocalPool;
    /// # context_var! { static ID: u64; }
    /// let mut pool = LocalPool::new();
    /// let executor = ContextAwareExecutor::new(pool.spawner());
    /// ID.set(7);
    /// let task = executor.spawn_local(async { Rc::new(ID.get()) });
    /// assert_eq!(*pool.run_until(task).unwrap(), Some(7));
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_local<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.spawn_local_in(self.new_context(), future)
    }

    /// Spawns a task that stays on this thread, in `context`.
    ///
    /// See [`shim::spawn_local`](super::spawn_local).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// # use std::{cell::Cell, rc::Rc, time::Duration};
    /// # use aiocontextvars::{Context, context_var, shim::{self, ContextAwareExecutor}};
    /// # use futures::executor::LocalPool;
    /// # context_var! { static ID: u64; }
    /// let mut pool = LocalPool::new();
    /// let executor = ContextAwareExecutor::new(pool.spawner());
    /// ID.set(7);
    /// let task = executor.spawn_local_in(Context::new(), async { Rc::new(ID.get()) });
    /// assert_eq!(*pool.run_until(task).unwrap(), None);
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_local_in<C: TaskContext, F>(&self, context: C, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        local::spawn(self.scope(), context, future)
    }

    /// Schedules `f` on this thread, in a copy of the current context, taken now.
    ///
    /// See [`shim::call_soon_local`](super::call_soon_local).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// # use std::{cell::Cell, rc::Rc, time::Duration};
    /// # use aiocontextvars::{Context, context_var, shim::{self, ContextAwareExecutor}};
    /// # use futures::executor::LocalPool;
    /// # context_var! { static ID: u64; }
    /// let mut pool = LocalPool::new();
    /// let executor = ContextAwareExecutor::new(pool.spawner());
    /// let seen = Rc::new(Cell::new(None));
    /// ID.set(7);
    /// executor.call_soon_local({ let seen = Rc::clone(&seen); move || seen.set(ID.get()) });
    /// pool.run_until_stalled();
    /// assert_eq!(seen.get(), Some(7));
    /// # }
    /// ```
    #[track_caller]
    pub fn call_soon_local(&self, f: impl FnOnce() + 'static) -> CallHandle {
        self.call_soon_local_in(self.new_context(), f)
    }

    /// Schedules `f` on this thread, in `context`.
    ///
    /// See [`shim::call_soon_local`](super::call_soon_local).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// # use std::{cell::Cell, rc::Rc, time::Duration};
    /// # use aiocontextvars::{Context, context_var, shim::{self, ContextAwareExecutor}};
    /// # use futures::executor::LocalPool;
    /// # context_var! { static ID: u64; }
    /// let mut pool = LocalPool::new();
    /// let executor = ContextAwareExecutor::new(pool.spawner());
    /// let seen = Rc::new(Cell::new(None));
    /// let context = Context::new().with_value(&ID, 8);
    /// executor.call_soon_local_in(context, { let seen = Rc::clone(&seen); move || seen.set(ID.get()) });
    /// pool.run_until_stalled();
    /// assert_eq!(seen.get(), Some(8));
    /// # }
    /// ```
    #[track_caller]
    pub fn call_soon_local_in<C: TaskContext>(
        &self,
        context: C,
        f: impl FnOnce() + 'static,
    ) -> CallHandle {
        let call = Call::new_local(context, self.fixed.clone(), f);
        Destination::Local(self.scope()).call_soon(call)
    }

    /// Schedules `f` on this thread for when `delay` has passed, in a copy of the current context,
    /// taken now.
    ///
    /// See [`shim::call_later`](super::call_later).
    ///
    /// # Panics
    ///
    /// On a tokio runtime without a time driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// # use std::{cell::Cell, rc::Rc, time::Duration};
    /// # use aiocontextvars::{Context, context_var, shim::{self, ContextAwareExecutor}};
    /// # use futures::executor::LocalPool;
    /// # context_var! { static ID: u64; }
    /// let mut pool = LocalPool::new();
    /// let executor = ContextAwareExecutor::new(pool.spawner());
    /// let (sender, receiver) = futures::channel::oneshot::channel();
    /// ID.set(7);
    /// executor.call_later_local(Duration::from_millis(1), move || sender.send(ID.get()).unwrap());
    /// assert_eq!(pool.run_until(receiver), Ok(Some(7)));
    /// # }
    /// ```
    #[track_caller]
    pub fn call_later_local(&self, delay: Duration, f: impl FnOnce() + 'static) -> TimerHandle {
        self.call_later_local_in(self.new_context(), delay, f)
    }

    /// Schedules `f` on this thread for when `delay` has passed, in `context`.
    ///
    /// See [`shim::call_later`](super::call_later).
    ///
    /// # Panics
    ///
    /// On a tokio runtime without a time driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// # use std::time::Duration;
    /// # use aiocontextvars::{Context, context_var, shim::ContextAwareExecutor};
    /// # use futures::executor::LocalPool;
    /// # context_var! { static ID: u64; }
    /// let mut pool = LocalPool::new();
    /// let executor = ContextAwareExecutor::new(pool.spawner());
    /// let (sender, receiver) = futures::channel::oneshot::channel();
    /// let context = Context::new().with_value(&ID, 8);
    /// let delay = Duration::from_millis(1);
    /// executor.call_later_local_in(context, delay, move || sender.send(ID.get()).unwrap());
    /// assert_eq!(pool.run_until(receiver), Ok(Some(8)));
    /// # }
    /// ```
    #[track_caller]
    pub fn call_later_local_in<C: TaskContext>(
        &self,
        context: C,
        delay: Duration,
        f: impl FnOnce() + 'static,
    ) -> TimerHandle {
        let when = deadline(self.inner.clock().now(), delay);
        self.call_at_local_in(context, when, f)
    }

    /// Schedules `f` on this thread for `when`, on the executor's clock, in a copy of the current
    /// context, taken now.
    ///
    /// See [`shim::call_at`](super::call_at).
    ///
    /// # Panics
    ///
    /// On a tokio runtime without a time driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// # use std::{cell::Cell, rc::Rc, time::Duration};
    /// # use aiocontextvars::{Context, context_var, shim::{self, ContextAwareExecutor}};
    /// # use futures::executor::LocalPool;
    /// # context_var! { static ID: u64; }
    /// let mut pool = LocalPool::new();
    /// let executor = ContextAwareExecutor::new(pool.spawner());
    /// let (sender, receiver) = futures::channel::oneshot::channel();
    /// ID.set(7);
    /// executor.call_at_local(shim::now(), move || sender.send(ID.get()).unwrap());
    /// assert_eq!(pool.run_until(receiver), Ok(Some(7)));
    /// # }
    /// ```
    #[track_caller]
    pub fn call_at_local(&self, when: Instant, f: impl FnOnce() + 'static) -> TimerHandle {
        self.call_at_local_in(self.new_context(), when, f)
    }

    /// Schedules `f` on this thread for `when`, on the executor's clock, in `context`.
    ///
    /// See [`shim::call_at`](super::call_at).
    ///
    /// # Panics
    ///
    /// On a tokio runtime without a time driver.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// # use aiocontextvars::{Context, context_var, shim::{self, ContextAwareExecutor}};
    /// # use futures::executor::LocalPool;
    /// # context_var! { static ID: u64; }
    /// let mut pool = LocalPool::new();
    /// let executor = ContextAwareExecutor::new(pool.spawner());
    /// let (sender, receiver) = futures::channel::oneshot::channel();
    /// let context = Context::new().with_value(&ID, 8);
    /// executor.call_at_local_in(context, shim::now(), move || sender.send(ID.get()).unwrap());
    /// assert_eq!(pool.run_until(receiver), Ok(Some(8)));
    /// # }
    /// ```
    #[track_caller]
    pub fn call_at_local_in<C: TaskContext>(
        &self,
        context: C,
        when: Instant,
        f: impl FnOnce() + 'static,
    ) -> TimerHandle {
        let call = Call::new_local(context, self.fixed.clone(), f);
        Destination::Local(self.scope()).call_at(when, call)
    }
}

impl<E> Clone for ContextAwareExecutor<E> {
    fn clone(&self) -> Self {
        ContextAwareExecutor {
            inner: Arc::clone(&self.inner),
            fixed: self.fixed.clone(),
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for ContextAwareExecutor<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextAwareExecutor")
            .field("inner", &self.inner)
            .field("fixed", &self.fixed)
            .finish()
    }
}

impl<E: Executor> Spawn for ContextAwareExecutor<E> {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.spawn(future).detach();
        Ok(())
    }
}

impl<E: LocalExecutor> LocalSpawn for ContextAwareExecutor<E> {
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.spawn_local(future).detach();
        Ok(())
    }
}
