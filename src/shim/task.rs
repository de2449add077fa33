//! Tasks that are driven by steps: `async-task` underneath, for executors that can only run a closure.

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};

use async_task::FallibleTask;
use pin_project_lite::pin_project;

use super::block;
use super::entered::FrameExecutor;
use super::executor::{Executor, Job, Runnable};
use super::join::JoinError;
use super::join::abortable::{BoxedCancel, JoinTask, Joined, RawTask};
use super::native::Target;
use crate::contain::contain;

/// An outcome, an output or a panic, that nobody may come for. Keeps the panic of its destructor from the executor:
/// `async-task` aborts the process when an output panics while it is dropped.
pub(crate) struct Unclaimed<T>(Option<Joined<T>>);

impl<T> Unclaimed<T> {
    pub(crate) fn new(outcome: Joined<T>) -> Unclaimed<T> {
        Unclaimed(Some(outcome))
    }

    #[inline]
    pub(crate) fn claim(mut self) -> Joined<T> {
        match self.0.take() {
            Some(outcome) => outcome,
            None => unreachable!("claiming takes the value"),
        }
    }

    /// What a handle gives for this; `None` for a task that was cancelled.
    #[inline]
    pub(crate) fn claim_any(outcome: Option<Unclaimed<T>>) -> Joined<T> {
        outcome.map_or_else(|| Err(JoinError::cancelled()), Unclaimed::claim)
    }
}

impl<T> Drop for Unclaimed<T> {
    fn drop(&mut self) {
        if let Some(outcome) = self.0.take() {
            contain(|| drop(outcome));
        }
    }
}

pin_project! {
    /// Keeps panics of a future, in its polls and in its drop, from whoever polls or drops it.
    ///
    /// `async-task` aborts the process when a future panics while it is dropped by a cancellation, and
    /// smol's and async-std's executors let a panic out to the awaiter.
    pub(crate) struct CatchPanic<F> {
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for CatchPanic<F> {
        fn drop(this: Pin<&mut Self>) {
            // Nobody waits for this task's outcome any more.
            contain(|| drop(this.drop_future()));
        }
    }
}

impl<F> CatchPanic<F> {
    pub(crate) fn new(future: F) -> CatchPanic<F> {
        CatchPanic {
            future: Some(future),
        }
    }

    pub(crate) fn drop_future(self: Pin<&mut Self>) -> Joined<()> {
        let mut future = self.project().future;
        panic::catch_unwind(AssertUnwindSafe(|| future.set(None))).map_err(JoinError::panicked)
    }
}

impl<F: Future> Future for CatchPanic<F> {
    type Output = Unclaimed<F::Output>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.as_mut().project().future.as_pin_mut() else {
            panic!("the task was polled after it had completed");
        };
        let outcome = match panic::catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => Err(JoinError::panicked(payload)),
        };
        // The destructors belong to the task: a panic there is its outcome too.
        let outcome = Unclaimed::new(outcome);
        Poll::Ready(match self.drop_future() {
            Ok(()) => outcome,
            Err(error) => Unclaimed::new(Err(error)),
        })
    }
}

/// A task of `async-task`, of our own or of smol's, that is detached when dropped.
pub(crate) struct StepTask<T>(Option<FallibleTask<Unclaimed<T>>>);

impl<T> StepTask<T> {
    pub(crate) fn new(task: async_task::Task<Unclaimed<T>>) -> StepTask<T> {
        // Fallible: a task whose executor is gone has been cancelled, not panicked.
        StepTask(Some(task.fallible()))
    }
}

impl<T> Drop for StepTask<T> {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.detach();
        }
    }
}

impl<T> JoinTask for StepTask<T> {
    type Output = T;

    #[inline]
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        let outcome = match &mut self.0 {
            Some(task) => ready!(Pin::new(task).poll(cx)),
            None => None,
        };
        Poll::Ready(Unclaimed::claim_any(outcome))
    }
}

impl<T: Send + 'static> RawTask for StepTask<T> {
    fn is_finished(&self) -> Option<bool> {
        Some(self.0.as_ref().is_none_or(|task| task.is_finished()))
    }

    fn cancel(mut self) -> BoxedCancel<T> {
        let task = self.0.take();
        let cancel = async move { task?.cancel().await };
        Box::pin(async move { Unclaimed::claim_any(cancel.await) })
    }
}

/// Spawns `task` on an executor that runs steps.
#[inline]
pub(crate) fn spawn_by_steps<F>(executor: &Target, task: F) -> StepTask<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (runnable, task) = async_task::spawn(CatchPanic::new(task), scheduler(executor));
    runnable.schedule();
    StepTask::new(task)
}

/// An executor that is held by a task.
struct Held(Option<Arc<dyn Executor>>);

impl Drop for Held {
    fn drop(&mut self) {
        let executor = self.0.take();
        // The task may be the last that holds it. `async-task` aborts the process if it panics then.
        contain(|| drop(executor));
    }
}

/// How the steps of a task reach `executor`.
///
/// An executor that the user holds by pointer is held weakly: one that keeps its tasks would otherwise
/// be kept alive by them. Without it the step is dropped, which cancels the task. One that was moved into
/// the wrapper is held, so that the wrapper need not be.
fn scheduler(executor: &Target) -> impl Fn(async_task::Runnable) + Send + Sync + 'static {
    let (held, frame) = match executor {
        // The executor's own answer, not that of the pointer.
        Target::Value(executor) => match (**executor).frame() {
            Some(frame) => (None, frame),
            None => (Some(Arc::clone(executor)), FrameExecutor::None),
        },
        executor => (None, executor.frame()),
    };
    let held = Held(held);
    move |runnable| {
        let runnable = Runnable(runnable);
        let _scheduling = block::scheduling();
        // A panic, as of a channel that nobody receives from, drops the step. It would come out of a wake-up.
        contain(|| match &held.0 {
            Some(executor) => executor.schedule(runnable),
            None => {
                if let Some(executor) = Target::of_frame(&frame) {
                    executor.with(|executor| executor.schedule(runnable));
                }
            }
        });
    }
}

/// Runs `job` on the blocking threads that `submit` hands it to.
///
/// A task like others, so that the outcome, the cancellation before the start and the wait for a shared
/// context are the same on every executor.
pub(crate) fn spawn_blocking<F>(
    submit: impl Fn(Job) + Send + Sync + 'static,
    job: F,
) -> StepTask<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let schedule = move |runnable| contain(|| submit(Job(runnable)));
    let (runnable, task) = async_task::spawn(CatchPanic::new(job), schedule);
    runnable.schedule();
    StepTask::new(task)
}
