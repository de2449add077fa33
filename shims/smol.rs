//! The adapter for smol: its global executor, and `Executor` and `LocalExecutor` as values.
//!
//! Dropping a handle detaches the task, as everywhere in the shim; smol by itself cancels it.
//!
//! # Tasks that the shim did not spawn
//!
//! smol does not tell which task is running, so that a write in a task that the shim did not spawn
//! cannot be refused, as it is [on tokio and async-std](super#tasks-that-the-shim-did-not-spawn). It goes to what is
//! entered on the thread: to the context of the `block_on` whose future runs the executor, or else to the thread's own,
//! where every such task that runs on the thread later sees it, and which keeps it until it is unset or the
//! thread exits. So spawn through the shim whatever sets a variable, or wrap its future:
//!
//! ```
//! use aiocontextvars::{ContextExt, context_var};
//!
//! context_var! { static REQUEST_ID: u64; }
//!
//! let executor = smol::LocalExecutor::new();
//! let run = |task| smol::block_on(executor.run(task));
//!
//! run(executor.spawn(async { drop(REQUEST_ID.set(7)) }.in_current_context()));
//! assert_eq!(REQUEST_ID.get(), None);
//!
//! // Bare, it leaves the value behind.
//! run(executor.spawn(async { drop(REQUEST_ID.set(7)) }));
//! assert_eq!(REQUEST_ID.get(), Some(7));
//! ```
//!
//! # Examples
//!
//! ```
//! use aiocontextvars::{context_var, shim};
//!
//! context_var! { static REQUEST_ID: u64; }
//!
//! REQUEST_ID.set(7);
//! let seen = shim::smol::block_on(async {
//!     shim::smol::spawn(async { REQUEST_ID.get() }).await.unwrap()
//! });
//! assert_eq!(seen, Some(7));
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use ::smol::{Executor as SmolExecutor, LocalExecutor as SmolLocalExecutor, Timer};
use futures_core::future::{BoxFuture, LocalBoxFuture};

use super::ContextAwareExecutor;
use super::block::BlockOnError;
use super::entered::{self, FrameExecutor};
use super::executor::{Clock, Executor, Job, LocalExecutor, LocalRunnable, Runnable};
use super::join::{JoinHandle, RunsOn};
use super::native::{Native, task_in};
use super::queue::QueueKey;
use super::task::{CatchPanic, StepTask};
use crate::current;
use crate::task_context::TaskContext;

/// smol's global executor.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Global;

/// Spawns a task on the global executor, in a copy of the current context, taken now.
///
/// # Examples
///
/// See the [module](self).
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn_in(current::inherit(), future)
}

/// Spawns a task on the [`LocalExecutor`](SmolLocalExecutor) that is entered, in a copy of the current
/// context, taken now.
///
/// # Panics
///
/// If no local executor is entered; see [`ContextAwareExecutor::enter`].
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use aiocontextvars::shim::{self, ContextAwareExecutor};
///
/// let local = ContextAwareExecutor::new(Rc::new(smol::LocalExecutor::new()));
/// let _local = local.enter();
/// let task = shim::smol::spawn_local(async { Rc::new(1) });
/// assert_eq!(*local.block_on(task).unwrap(), 1);
/// ```
#[track_caller]
pub fn spawn_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    super::spawn_local(future)
}

/// Runs `f` on smol's blocking threads, in a copy of the current context, taken now.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// let output = shim::smol::block_on(async { shim::smol::spawn_blocking(|| 1).await });
/// assert_eq!(output.unwrap(), 1);
/// ```
pub fn spawn_blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    executor().spawn_blocking(f)
}

/// Runs `future` on this thread, in a copy of the current context. May be nested.
///
/// # Examples
///
/// See the [module](self).
pub fn block_on<F: Future>(future: F) -> F::Output {
    executor().block_on(future)
}

/// smol's global executor, wrapped.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// let executor = shim::smol::executor();
/// assert_eq!(executor.block_on(executor.spawn(async { 1 })).unwrap(), 1);
/// ```
pub fn executor() -> ContextAwareExecutor<Global> {
    ContextAwareExecutor::new(Global)
}

/// The frame of tasks on the global executor.
pub(crate) struct Home;

impl entered::Home for Home {
    fn executor(&self) -> &FrameExecutor {
        const { &FrameExecutor::Smol }
    }
}

/// Spawns `future` in `context`.
#[inline]
#[track_caller]
pub(crate) fn spawn_in<C, F>(context: C, future: F) -> JoinHandle<F::Output>
where
    C: TaskContext,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    JoinHandle::from_steps(
        launch(None, task_in(Home, future, context)),
        RunsOn::Frame(FrameExecutor::Smol),
    )
}

/// Spawns a finished task; without an executor, on the global one.
#[inline]
pub(crate) fn launch<F>(executor: Option<&SmolExecutor<'static>>, task: F) -> StepTask<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let task = CatchPanic::new(task);
    StepTask::new(match executor {
        Some(executor) => executor.spawn(task),
        None => ::smol::spawn(task),
    })
}

impl Executor for Global {
    fn schedule(&self, task: Runnable) {
        ::smol::spawn(async move { task.run() }).detach();
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SmolClock)
    }

    fn spawn_blocking(&self, job: Job) {
        ::smol::unblock(move || job.run()).detach();
    }

    fn native(&self) -> Native<'_> {
        Native::Smol(None)
    }

    fn frame(&self) -> Option<FrameExecutor> {
        Some(FrameExecutor::Smol)
    }

    fn queue_key(&self) -> QueueKey {
        QueueKey::numbered("smol", 0)
    }

    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        ::smol::block_on(future);
        Ok(())
    }
}

impl Executor for SmolExecutor<'static> {
    fn schedule(&self, task: Runnable) {
        self.spawn(async move { task.run() }).detach();
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SmolClock)
    }

    fn spawn_blocking(&self, job: Job) {
        Global.spawn_blocking(job);
    }

    fn native(&self) -> Native<'_> {
        Native::Smol(Some(self))
    }

    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        ::smol::block_on(self.run(future));
        Ok(())
    }
}

/// The operating system's clock, with timers of smol's reactor.
struct SmolClock;

impl Clock for SmolClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            Timer::at(at).await;
        })
    }
}

impl LocalExecutor for SmolLocalExecutor<'static> {
    fn schedule_local(&self, task: LocalRunnable) {
        self.spawn(async move { task.run() }).detach();
    }

    fn spawn_local(
        &self,
        task: LocalBoxFuture<'static, ()>,
    ) -> Result<(), LocalBoxFuture<'static, ()>> {
        self.spawn(task).detach();
        Ok(())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SmolClock)
    }

    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        ::smol::block_on(self.run(future));
        Ok(())
    }
}
