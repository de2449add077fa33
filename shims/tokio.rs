//! The adapter for tokio: multi-thread and current-thread runtimes, and `LocalSet`.
//!
//! Tasks are tokio's own; the wrapper adds two words and no allocation. Timers follow the runtime's
//! clock, paused time included.
//!
//! # Examples
//!
//! ```
//! use aiocontextvars::{context_var, shim};
//!
//! context_var! { static REQUEST_ID: u64; }
//!
//! let runtime = tokio::runtime::Runtime::new().unwrap();
//! let _entered = runtime.enter();
//! REQUEST_ID.set(7);
//! let seen = shim::tokio::block_on(async {
//!     shim::tokio::spawn(async { REQUEST_ID.get() }).await.unwrap()
//! });
//! assert_eq!(seen, Some(7));
//! ```

use std::cell::Cell;
use std::future::{self, Future};
use std::hash::{BuildHasher, Hash};
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Instant;

use ::tokio::runtime::{Handle, RuntimeFlavor};
use ::tokio::task::LocalSet;
use futures_core::future::{BoxFuture, LocalBoxFuture};

use super::ContextAwareExecutor;
use super::block::{self, BlockOnError};
use super::entered::{self, FrameExecutor};
use super::executor::{Clock, Executor, Job, LocalExecutor, LocalRunnable, Runnable};
use super::join::abortable::{BoxedCancel, JoinTask, Joined, RawTask};
use super::join::{JoinError, JoinHandle, RunsOn};
use super::native::{Native, task_in};
use super::queue::QueueKey;
use crate::current;
use crate::id::BuildIdHasher;
use crate::task_context::TaskContext;

/// Spawns a task on the runtime of this thread, in a copy of the current context, taken now.
///
/// # Panics
///
/// Outside a runtime.
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
    // Named by its handle, which others than this thread can use.
    let handle = Handle::current();
    let task = launch(Some(&handle), task_in(Home, future, current::inherit()));
    JoinHandle::from_tokio(task, RunsOn::Handle(Arc::new(handle)))
}

/// Spawns a task on the [`LocalSet`] that is entered, in a copy of the current context, taken now.
///
/// # Panics
///
/// If no local executor is entered: tokio does not tell which `LocalSet` is running. Enter one with
/// [`ContextAwareExecutor::enter`], or use its `spawn_local`.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use aiocontextvars::shim::{self, ContextAwareExecutor};
///
/// let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// let _runtime = runtime.enter();
/// let local = ContextAwareExecutor::new(Rc::new(tokio::task::LocalSet::new()));
/// let _local = local.enter();
/// let task = shim::tokio::spawn_local(async { Rc::new(1) });
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

/// Runs `f` on the runtime's blocking threads, in a copy of the current context, taken now.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// let runtime = tokio::runtime::Runtime::new().unwrap();
/// let output = runtime.block_on(async { shim::tokio::spawn_blocking(|| 1).await });
/// assert_eq!(output.unwrap(), 1);
/// ```
#[track_caller]
pub fn spawn_blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    executor().spawn_blocking(f)
}

/// Runs `future` on this thread and on its runtime, in a copy of the current context.
///
/// On a current-thread runtime this is `Handle::block_on`: it runs the future alone, and the runtime's tasks
/// and timers only while another thread is in `Runtime::block_on`. Where the runtime is at hand, call its own
/// `block_on`, with the future [in the current context](crate::ContextExt::in_current_context).
///
/// # Panics
///
/// Outside a runtime, and in a task of any but a multi-thread runtime.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{ContextExt, context_var, shim};
///
/// context_var! { static REQUEST_ID: u64; }
///
/// let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// REQUEST_ID.set(7);
/// let seen = runtime.block_on(async { shim::spawn(async { REQUEST_ID.get() }).await }.in_current_context());
/// assert_eq!(seen.unwrap(), Some(7));
/// ```
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    executor().block_on(future)
}

/// The runtime of this thread.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// let runtime = tokio::runtime::Runtime::new().unwrap();
/// let _entered = runtime.enter();
/// let executor = shim::tokio::executor();
/// assert_eq!(executor.get_ref().id(), runtime.handle().id());
/// ```
#[track_caller]
pub fn executor() -> ContextAwareExecutor<Handle> {
    ContextAwareExecutor::new(Handle::current())
}

#[inline]
pub(crate) fn is_current() -> bool {
    Handle::try_current().is_ok()
}

/// The task that tokio runs on this thread: a blocking job is one, the future of `Runtime::block_on` is none.
#[inline]
pub(crate) fn running_task() -> Option<::tokio::task::Id> {
    ::tokio::task::try_id()
}

/// The number in one of tokio's ids, which show it to hashers only.
fn number(id: &impl Hash) -> u64 {
    BuildIdHasher::default().hash_one(id)
}

/// The frame of tasks on the runtime whose worker polls them.
pub(crate) struct Home;

impl entered::Home for Home {
    fn executor(&self) -> &FrameExecutor {
        const { &FrameExecutor::Tokio }
    }

    fn polled(&self) -> &dyn entered::Home {
        &Polled
    }
}

/// The same while the runtime polls a task.
struct Polled;

impl entered::Home for Polled {
    fn executor(&self) -> &FrameExecutor {
        const { &FrameExecutor::Tokio }
    }

    fn is_on_its_runtime(&self) -> bool {
        true
    }
}

/// Spawns `future` in `context`, on this thread's runtime.
#[inline]
#[track_caller]
pub(crate) fn spawn_in<C, F>(context: C, future: F) -> JoinHandle<F::Output>
where
    C: TaskContext,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let task = launch(None, task_in(Home, future, context));
    JoinHandle::from_tokio(task, RunsOn::Frame(FrameExecutor::Tokio))
}

/// Spawns a finished task; without a handle, on this thread's runtime.
#[inline]
#[track_caller]
pub(crate) fn launch<F>(handle: Option<&Handle>, task: F) -> RawJoin<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    RawJoin(match handle {
        Some(handle) => handle.spawn(task),
        None => ::tokio::spawn(task),
    })
}

/// tokio's handle.
pub(crate) struct RawJoin<T>(::tokio::task::JoinHandle<T>);

impl<T> JoinTask for RawJoin<T> {
    type Output = T;

    #[inline]
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        // Without a budget: when it is used up, tokio wakes at once, and again at each poll within the same one of its own.
        let join = pin!(::tokio::task::coop::unconstrained(&mut self.0));
        join.poll(cx).map_err(error)
    }
}

impl<T: Send + 'static> RawTask for RawJoin<T> {
    fn is_finished(&self) -> Option<bool> {
        Some(self.0.is_finished())
    }

    fn cancel(mut self) -> BoxedCancel<T> {
        self.0.abort();
        Box::pin(future::poll_fn(move |cx| self.poll(cx)))
    }
}

#[cold]
fn error(error: ::tokio::task::JoinError) -> JoinError {
    match error.try_into_panic() {
        Ok(payload) => JoinError::panicked(payload),
        Err(_cancelled) => JoinError::cancelled(),
    }
}

impl Executor for Handle {
    fn schedule(&self, task: Runnable) {
        self.spawn(async move { task.run() });
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(TokioClock(self.clone()))
    }

    fn spawn_blocking(&self, job: Job) {
        drop(Handle::spawn_blocking(self, move || job.run()));
    }

    fn native(&self) -> Native<'_> {
        Native::Tokio(Some(self))
    }

    fn frame(&self) -> Option<FrameExecutor> {
        Some(FrameExecutor::Tokio)
    }

    fn queue_key(&self) -> QueueKey {
        QueueKey::numbered("tokio", number(&self.id()))
    }

    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        let in_place = Handle::try_current()
            .is_ok_and(|current| current.runtime_flavor() == RuntimeFlavor::MultiThread);
        if !in_place {
            refuse_in_task()?;
        }
        unless_refused(future, |future| {
            if in_place {
                ::tokio::task::block_in_place(|| Handle::block_on(self, future));
            } else {
                Handle::block_on(self, future);
            }
        })
    }
}

const NESTED: &str = "tokio does not block within a current-thread runtime or a `LocalSet`; await the future \
                      instead";

/// A task is where tokio surely refuses to block. It would do so by a panic. Blocking jobs have ids too.
fn refuse_in_task() -> Result<(), BlockOnError> {
    if ::tokio::task::try_id().is_some() && !block::in_job() {
        return Err(BlockOnError::nested(NESTED));
    }
    Ok(())
}

/// Tells tokio's refusal to block, which comes before the first poll, from a panic of the future.
fn unless_refused(
    future: Pin<&mut dyn Future<Output = ()>>,
    block_on: impl FnOnce(NotePoll<'_>),
) -> Result<(), BlockOnError> {
    let polled = Cell::new(false);
    let future = NotePoll {
        future,
        polled: &polled,
    };
    match panic::catch_unwind(AssertUnwindSafe(|| block_on(future))) {
        Ok(()) => Ok(()),
        Err(_) if !polled.get() => Err(BlockOnError::nested(NESTED)),
        Err(payload) => panic::resume_unwind(payload),
    }
}

/// Notes whether its future has been polled.
struct NotePoll<'a> {
    future: Pin<&'a mut dyn Future<Output = ()>>,
    polled: &'a Cell<bool>,
}

impl Future for NotePoll<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        self.polled.set(true);
        self.future.as_mut().poll(cx)
    }
}

/// A runtime's clock: stands still while it is paused.
struct TokioClock(Handle);

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        let _entered = self.0.enter();
        ::tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        // Panics here, in the caller, if the runtime has no time driver.
        let _entered = self.0.enter();
        Box::pin(::tokio::time::sleep_until(at.into()))
    }
}

impl LocalExecutor for LocalSet {
    fn schedule_local(&self, task: LocalRunnable) {
        drop(LocalSet::spawn_local(self, async move { task.run() }));
    }

    fn spawn_local(
        &self,
        task: LocalBoxFuture<'static, ()>,
    ) -> Result<(), LocalBoxFuture<'static, ()>> {
        drop(LocalSet::spawn_local(self, task));
        Ok(())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(LocalClock)
    }

    fn frame(&self) -> Option<FrameExecutor> {
        Some(FrameExecutor::Tokio)
    }

    fn queue_key(&self) -> QueueKey {
        QueueKey::numbered("tokio local set", number(&self.id()))
    }

    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        let handle = Handle::try_current().map_err(|_| {
            BlockOnError::nested(
                "a `LocalSet` needs a tokio runtime: enter one, as with `Runtime::enter`",
            )
        })?;
        refuse_in_task()?;
        unless_refused(future, |future| handle.block_on(self.run_until(future)))
    }
}

/// The clock of the runtime that is current when it is asked: a `LocalSet` has none of its own.
struct LocalClock;

impl Clock for LocalClock {
    fn now(&self) -> Instant {
        ::tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        Box::pin(::tokio::time::sleep_until(at.into()))
    }
}
