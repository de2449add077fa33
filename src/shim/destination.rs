//! [`Destination`]: where a unit of work goes, and how it gets there.

use std::future::Future;
use std::sync::Arc;

use super::call_handle::{CallHandle, TimerHandle};
use super::callback::Call;
use super::clock::{Clock, StdClock};
use super::dispatch::{Listed, Native, SpawnedJoin, Visitor};
use super::executor::{self, Adapter, Executor, ExecutorName, Hooks};
use super::executor_ref::{ExecutorRef, ScopeExecutor, known_name};
use super::inline;
use super::job;
use super::join::JoinHandle;
use super::local;
use super::outcome::CatchPanic;
use super::queue::{Driver, Queue, QueueScope, Reservation, adding, queue_for};
use super::runnable::Runnable;
use super::runnable_join::RunnableJoin;
use super::runtime::Spawned;
use super::scope::{ExecutorScope, LocalScope, RuntimeScope, new_context};
use super::task::TaskFuture;
use crate::catch::catch;
use crate::context::Context;
use crate::shim::platform::Instant;
use crate::task_context::TaskContext;

/// Where a unit of work goes.
pub(crate) enum Destination {
    /// To an executor that any thread can reach.
    Executor(OnExecutor),
    /// To the local executor of this scope, which names no other.
    Local(LocalScope),
}

/// An executor, and the context that it starts work in a copy of if it is a fixed one.
#[derive(Clone)]
pub(crate) struct OnExecutor {
    pub(crate) executor: ExecutorRef,
    pub(crate) fixed: Option<Arc<Context>>,
}

impl ExecutorRef {
    /// This executor, without a fixed context.
    #[inline]
    pub(crate) fn unfixed(self) -> OnExecutor {
        OnExecutor {
            executor: self,
            fixed: None,
        }
    }
}

impl OnExecutor {
    /// The context that a new unit of work starts in.
    #[inline]
    pub(crate) fn new_context(&self) -> Context {
        new_context(self.fixed.as_ref())
    }

    /// The scope of work on this executor.
    pub(crate) fn scope(&self) -> ExecutorScope {
        ExecutorScope::new(self.executor.name(), self.fixed.clone())
    }

    /// Spawns `future` in `context`.
    #[inline]
    #[track_caller]
    pub(crate) fn spawn<C, F>(&self, context: C, future: F) -> JoinHandle<F::Output>
    where
        C: TaskContext,
        F: Future<Output: Send> + Send + 'static,
    {
        let spawn = Spawn {
            on: self,
            context,
            future,
        };
        match &self.executor {
            ExecutorRef::Runtime(name) => name.native().visit(spawn),
            ExecutorRef::Static(executor) => spawn.by((**executor).hooks()),
            ExecutorRef::Value(executor) => spawn.by((**executor).hooks()),
        }
    }

    /// Runs `f` in `context` where it may block.
    pub(crate) fn spawn_blocking<C: TaskContext, T: Send + 'static>(
        &self,
        context: C,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let scope = self.scope();
        // By the scope's name: the handle of a job would keep an executor alive whose task awaits
        // it. Those that a scope names by the thread are held, which keeps nobody alive: the job
        // may be submitted from any thread, and again from whichever leaves the context that it
        // waits for.
        let is_by_thread = self.executor.is_by_thread();
        let held = is_by_thread.then(|| self.executor.to_value());
        let name = scope.executor.clone();
        let submit = move |job| match (&held, name.upgrade()) {
            (Some(executor), _) => executor.spawn_blocking(job),
            (None, Some(executor)) => executor.to_value().spawn_blocking(job),
            (None, None) => executor::spawn_blocking(job),
        };
        job::spawn(submit, scope, context, f)
    }
}

/// A task that is to be spawned.
struct Spawn<'a, C, F> {
    on: &'a OnExecutor,
    context: C,
    future: F,
}

impl<C, F> Spawn<'_, C, F>
where
    C: TaskContext,
    F: Future<Output: Send> + Send + 'static,
{
    #[inline]
    #[track_caller]
    fn by(self, hooks: Hooks<'_, ExecutorName>) -> JoinHandle<F::Output> {
        let native = hooks.adapter.and_then(Adapter::native);
        match native.and_then(Native::of) {
            Some(native) => native.visit(self),
            None => self.by_runnables(),
        }
    }

    /// Spawns the task on an executor that can run runnables, and no more.
    fn by_runnables(self) -> JoinHandle<F::Output> {
        let schedule = scheduler(&self.on.executor);
        let task = TaskFuture::to_spawn(self.context, self.on.scope(), self.future);
        let (runnable, task) = async_task::spawn(CatchPanic::new(task), schedule);
        runnable.schedule();
        JoinHandle::runnable(RunnableJoin::new(task))
    }
}

impl<C, F> Visitor for Spawn<'_, C, F>
where
    C: TaskContext,
    F: Future<Output: Send> + Send + 'static,
{
    type Output = JoinHandle<F::Output>;

    #[inline]
    #[track_caller]
    fn visit<R: Listed>(self, native: R::Native<'_>) -> JoinHandle<F::Output> {
        match R::scope(native).filter(|_| self.on.fixed.is_none()) {
            Some(scope) => spawn_native::<R, C, F>(native, scope, self.context, self.future),
            None => {
                let task = TaskFuture::to_spawn(self.context, self.on.scope(), self.future);
                handle::<R, _>(R::spawn(native, task))
            }
        }
    }
}

/// Spawns `future` in `context` on a runtime, which it finds its way back to by `scope`.
#[inline]
#[track_caller]
pub(crate) fn spawn_native<R: Listed, C, F>(
    native: R::Native<'_>,
    scope: R::Scope,
    context: C,
    future: F,
) -> JoinHandle<F::Output>
where
    C: TaskContext,
    F: Future<Output: Send> + Send + 'static,
{
    let make = |scope| TaskFuture::to_spawn(context, RuntimeScope::<R>(scope), future);
    handle::<R, _>(R::spawn_in(native, scope, make))
}

/// Spawns `future` in `context` on the runtime that its name means here.
#[inline]
#[track_caller]
pub(crate) fn spawn_by_name<R: Listed, C, F>(
    name: R,
    scope: R::Scope,
    context: C,
    future: F,
) -> JoinHandle<F::Output>
where
    C: TaskContext,
    F: Future<Output: Send> + Send + 'static,
{
    let task = TaskFuture::to_spawn(context, RuntimeScope::<R>(scope), future);
    handle::<R, _>(name.spawn_by_name(task))
}

/// The handle of a task. Without `#[inline]`, so that it is compiled once for each output. With it,
/// its body would be copied into what is compiled for each future.
fn handle<R: Listed, T: Send>(spawned: Spawned<R::Join<T>, T>) -> JoinHandle<T> {
    match spawned {
        Spawned::Own(join) => match R::to_join(join) {
            SpawnedJoin::Native(join) => JoinHandle::native(join),
            SpawnedJoin::OfEventLoop(join) => JoinHandle::listed(join),
        },
        Spawned::Runnable(join) => JoinHandle::runnable(join),
    }
}

/// An executor that a task holds.
struct HeldExecutor(Option<Arc<dyn Executor>>);

impl Drop for HeldExecutor {
    fn drop(&mut self) {
        let executor = self.0.take();
        // The task may be the last that holds it. `async-task` aborts the process if it panics
        // then.
        catch(|| drop(executor));
    }
}

/// How the runnables of a task reach `executor`.
///
/// An executor that the user holds by pointer is held weakly: one that keeps its tasks would
/// otherwise be kept alive by them. Without it the runnable is dropped, which cancels the task. One
/// that was moved into the wrapper is held, so that the wrapper need not be.
fn scheduler(executor: &ExecutorRef) -> impl Fn(async_task::Runnable) + Send + Sync + 'static {
    let (held, name) = match executor {
        ExecutorRef::Value(executor) => match known_name(&(**executor).hooks()) {
            Some(name) => (None, name),
            None => (Some(Arc::clone(executor)), ScopeExecutor::None),
        },
        executor => (None, executor.name()),
    };
    let held = HeldExecutor(held);
    move |runnable| {
        let runnable = Runnable(runnable);
        let _scheduling = inline::scheduling();
        // A panic, as of a channel that nobody receives from, drops the runnable. It would come out
        // of a wake-up.
        catch(|| match (&held.0, name.upgrade()) {
            (Some(executor), _) => executor.schedule(runnable),
            (None, Some(executor)) => executor.with(|executor| executor.schedule(runnable)),
            (None, None) => drop(runnable),
        });
    }
}

impl Destination {
    /// The context that a new unit of work starts in.
    #[inline]
    pub(crate) fn new_context(&self) -> Context {
        match self {
            Destination::Executor(on) => on.new_context(),
            Destination::Local(local) => local.scope.new_context(),
        }
    }

    /// The context of the fixed executor, if this is one.
    pub(crate) fn fixed(&self) -> Option<Arc<Context>> {
        match self {
            Destination::Executor(on) => on.fixed.clone(),
            Destination::Local(local) => local.scope.fixed.clone(),
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn spawn<C, F>(&self, context: C, future: F) -> JoinHandle<F::Output>
    where
        C: TaskContext,
        F: Future<Output: Send> + Send + 'static,
    {
        match self {
            Destination::Executor(on) => on.spawn(context, future),
            Destination::Local(local) => local::spawn(local.clone(), context, future),
        }
    }

    pub(crate) fn spawn_blocking<C: TaskContext, T: Send + 'static>(
        self,
        context: C,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        match self {
            Destination::Executor(on) => on.spawn_blocking(context, f),
            Destination::Local(local) => {
                // The job is on another thread, out of the local executor's reach.
                let scope = ExecutorScope::new(ScopeExecutor::None, local.scope.fixed);
                job::spawn(executor::spawn_blocking, scope, context, f)
            }
        }
    }

    #[track_caller]
    pub(crate) fn call_soon(self, call: Call) -> CallHandle {
        self.push(&call, None);
        CallHandle::new(call)
    }

    #[track_caller]
    pub(crate) fn call_at(self, when: Instant, call: Call) -> TimerHandle {
        let queue = self.push(&call, Some(when));
        TimerHandle::new(call, when, &queue)
    }

    #[track_caller]
    fn push(self, call: &Call, when: Option<Instant>) -> Arc<Queue> {
        let queue = self.queue();
        if let Some(when) = when {
            check_timers(&queue, when);
        }
        let _adding = adding();
        queue.push(call, when, &mut |driver| self.start(driver));
        queue
    }

    /// Keeps a place for a call that is to be made later, from any thread.
    #[track_caller]
    pub(crate) fn reserve(&self) -> Reservation {
        let _adding = adding();
        self.queue().reserve(&mut |driver| self.start(driver))
    }

    /// Without the local executor, the queue is one that nobody drives: what is pushed is dropped
    /// with it.
    fn queue(&self) -> Arc<Queue> {
        match self {
            Destination::Executor(on) => on.executor.with(|executor| {
                let hooks = executor.hooks();
                queue_of(&hooks, || executor.clock())
            }),
            Destination::Local(local) => match local.upgrade() {
                Some(executor) => queue_of(&executor.hooks(), || executor.clock()),
                None => Arc::new(Queue::new(Arc::new(StdClock))),
            },
        }
    }

    /// Starts a driver, in an empty context: it outlives the caller and must not pin its values.
    #[track_caller]
    fn start(&self, driver: Driver) {
        match self {
            Destination::Executor(on) => {
                let driver = driver.serving(QueueScope {
                    // The scopes of some runtimes' tasks name the runtime of the thread, which may
                    // be another one later.
                    executor: !on.executor.is_by_thread(),
                    local: false,
                });
                on.spawn(Context::new(), driver).detach();
            }
            Destination::Local(local) => {
                let driver = driver.serving(QueueScope {
                    executor: matches!(local.scope.executor, ScopeExecutor::None),
                    local: true,
                });
                local::spawn(local.clone(), Context::new(), driver).detach();
            }
        }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        match self {
            Destination::Executor(on) => on.executor.with(|executor| executor.clock()),
            Destination::Local(local) => match local.upgrade() {
                Some(executor) => executor.clock(),
                None => Arc::new(StdClock),
            },
        }
    }
}

/// The callback queue of an executor with these hooks.
fn queue_of<N>(hooks: &Hooks<'_, N>, clock: impl FnOnce() -> Arc<dyn Clock>) -> Arc<Queue> {
    match hooks.adapter.and_then(Adapter::queue).map(Arc::downcast) {
        Some(Ok(queue)) => queue,
        _ => queue_for(hooks.queue, clock),
    }
}

/// A runtime that cannot serve timers refuses the first one here, in the caller.
#[track_caller]
fn check_timers(queue: &Queue, when: Instant) {
    if !queue.has_timers() {
        drop(queue.clock().sleep_until(when));
    }
}
