//! The adapter for async-std.
//!
//! async-std is no longer developed; its authors recommend smol. The adapter serves programs that are
//! still on it.
//!
//! A blocking job that async-std itself was given is no task, and what it sets goes to its thread of the pool, for the
//! next such job to see. Use [`spawn_blocking`], or bind the closure with [`shim::bind`](super::bind).
//!
//! # Examples
//!
//! ```
//! use aiocontextvars::{context_var, shim};
//!
//! context_var! { static REQUEST_ID: u64; }
//!
//! REQUEST_ID.set(7);
//! let seen = shim::async_std::block_on(async {
//!     shim::async_std::spawn(async { REQUEST_ID.get() }).await.unwrap()
//! });
//! assert_eq!(seen, Some(7));
//! ```

use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};

use ::async_std::task::{JoinHandle as NativeHandle, try_current};
use futures_core::future::LocalBoxFuture;

use super::ContextAwareExecutor;
use super::block::BlockOnError;
use super::entered::{self, FrameExecutor};
use super::executor::{Executor, Job, LocalExecutor, LocalRunnable, Runnable};
use super::join::abortable::{BoxedCancel, JoinTask, Joined, RawTask};
use super::join::{JoinHandle, RunsOn};
use super::native::{Native, task_in};
use super::queue::QueueKey;
use super::task::{CatchPanic, Unclaimed};
use crate::current;
use crate::task_context::TaskContext;

/// async-std's global executor.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Global;

/// The part of async-std's executor that belongs to the calling thread, and runs inside `block_on` there.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Local;

/// Spawns a task, in a copy of the current context, taken now.
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

/// Spawns a task that stays on this thread, in a copy of the current context, taken now. It runs while
/// the thread is inside `block_on`.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use aiocontextvars::shim;
///
/// let task = shim::async_std::spawn_local(async { Rc::new(1) });
/// assert_eq!(*shim::async_std::block_on(task).unwrap(), 1);
/// ```
#[track_caller]
pub fn spawn_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    ContextAwareExecutor::new(Local).spawn_local(future)
}

/// Runs `f` on async-std's blocking threads, in a copy of the current context, taken now.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// let output = shim::async_std::block_on(async { shim::async_std::spawn_blocking(|| 1).await });
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

/// The global executor, wrapped.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// let executor = shim::async_std::executor();
/// assert_eq!(executor.block_on(executor.spawn(async { 1 })).unwrap(), 1);
/// ```
pub fn executor() -> ContextAwareExecutor<Global> {
    ContextAwareExecutor::new(Global)
}

pub(crate) fn is_current() -> bool {
    try_current().is_some()
}

/// The task that async-std runs on this thread. The future of `block_on` is one, blocking jobs are none.
#[inline]
pub(crate) fn running_task() -> Option<::async_std::task::TaskId> {
    try_current().map(|task| task.id())
}

/// The frame of tasks on async-std.
pub(crate) struct Home;

impl entered::Home for Home {
    fn executor(&self) -> &FrameExecutor {
        const { &FrameExecutor::AsyncStd }
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
    JoinHandle::from_async_std(
        launch(task_in(Home, future, context)),
        RunsOn::Frame(FrameExecutor::AsyncStd),
    )
}

/// Spawns a finished task.
#[inline]
pub(crate) fn launch<F>(task: F) -> RawJoin<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let task = CatchPanic::new(task);
    RawJoin(::async_std::task::spawn(task))
}

/// async-std's handle.
pub(crate) struct RawJoin<T>(NativeHandle<Unclaimed<T>>);

impl<T> JoinTask for RawJoin<T> {
    type Output = T;

    #[inline]
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        let outcome = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(outcome.claim())
    }
}

impl<T: Send + 'static> RawTask for RawJoin<T> {
    fn is_finished(&self) -> Option<bool> {
        None
    }

    fn cancel(self) -> BoxedCancel<T> {
        Box::pin(async move { Unclaimed::claim_any(self.0.cancel().await) })
    }
}

impl Executor for Global {
    fn schedule(&self, task: Runnable) {
        drop(::async_std::task::spawn(async move { task.run() }));
    }

    fn spawn_blocking(&self, job: Job) {
        drop(::async_std::task::spawn_blocking(move || job.run()));
    }

    fn native(&self) -> Native<'_> {
        Native::AsyncStd
    }

    fn frame(&self) -> Option<FrameExecutor> {
        Some(FrameExecutor::AsyncStd)
    }

    fn queue_key(&self) -> QueueKey {
        QueueKey::numbered("async-std", 0)
    }

    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        ::async_std::task::block_on(future);
        Ok(())
    }
}

impl LocalExecutor for Local {
    fn schedule_local(&self, task: LocalRunnable) {
        drop(::async_std::task::spawn_local(async move { task.run() }));
    }

    fn spawn_local(
        &self,
        task: LocalBoxFuture<'static, ()>,
    ) -> Result<(), LocalBoxFuture<'static, ()>> {
        drop(::async_std::task::spawn_local(task));
        Ok(())
    }

    fn frame(&self) -> Option<FrameExecutor> {
        Some(FrameExecutor::AsyncStd)
    }

    fn frame_local(&self) -> Option<entered::FrameLocal> {
        Some(entered::FrameLocal::Static(&Local))
    }

    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        Executor::block_on(&Global, future)
    }

    fn queue_key(&self) -> QueueKey {
        // The executor is in each thread another one.
        thread_local!(static THREAD: u64 = crate::id::next());
        QueueKey::numbered("async-std local", THREAD.with(|thread| *thread))
    }
}
