//! [`RunnableJoin`]: the handle of a task of `async-task`, of our own or of smol's.

use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};

use async_task::FallibleTask;

use super::join_error::JoinError;
use super::join_task::{Cancel, JoinTask};
use super::outcome::{Joined, Outcome};

/// The handle of a task of `async-task`, which is detached when this is dropped.
pub(crate) struct RunnableJoin<T> {
    task: StepTask<T>,
    /// Found where the output is known to be `Send`.
    cancel: fn(StepTask<T>) -> Cancel<T>,
}

/// A task of `async-task`, with metadata, which is detached when this is dropped. `None` once it
/// has been taken out.
pub(crate) struct StepTask<T, M = ()>(Option<FallibleTask<Outcome<T>, M>>);

impl<T, M> StepTask<T, M> {
    #[inline]
    pub(crate) fn new(task: async_task::Task<Outcome<T>, M>) -> StepTask<T, M> {
        // Fallible: a task whose executor is gone has been cancelled, and has not panicked.
        StepTask(Some(task.fallible()))
    }

    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        let outcome = match &mut self.0 {
            Some(task) => ready!(Pin::new(task).poll(cx)),
            None => None,
        };
        Poll::Ready(claim(outcome))
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(FallibleTask::is_finished)
    }
}

impl<T, M> Drop for StepTask<T, M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.detach();
        }
    }
}

impl<T: Send + 'static> RunnableJoin<T> {
    #[inline]
    pub(crate) fn new(task: async_task::Task<Outcome<T>>) -> RunnableJoin<T> {
        RunnableJoin {
            task: StepTask::new(task),
            cancel: |mut task| {
                let task = task.0.take();
                let cancel = async move { task?.cancel().await };
                Box::pin(async move { claim(cancel.await) })
            },
        }
    }
}

/// What a handle gives for this. `None` is that of a task that was cancelled.
#[inline]
fn claim<T>(outcome: Option<Outcome<T>>) -> Joined<T> {
    outcome.map_or_else(|| Err(JoinError::cancelled()), Outcome::claim)
}

impl<T: 'static> JoinTask<T> for RunnableJoin<T> {
    #[inline]
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        self.task.poll(cx)
    }

    fn is_finished(&self) -> Option<bool> {
        Some(self.task.is_finished())
    }

    fn cancel(self) -> Cancel<T> {
        (self.cancel)(self.task)
    }
}
