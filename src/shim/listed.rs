//! Spawning the tasks of an event loop, by both ways in.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use async_task::{Builder, Runnable};
use pin_project_lite::pin_project;

use super::join::listed::ListedJoin;
use super::outcome::CatchPanic;
use super::queue;
use super::task_list::{ListEntry, Step};

/// Enqueues a step on its loop.
#[inline]
fn schedule(step: Runnable<Step>) {
    let queue = step.metadata().list.queue;
    if let Err(step) = queue::push_step(queue, step) {
        let list = Arc::clone(&step.metadata().list);
        list.push(step);
    }
}

/// Spawns the task that `make` makes of its scope.
#[inline]
#[track_caller]
pub(crate) fn spawn<F>(scope: ListEntry, make: impl FnOnce(ListEntry) -> F) -> ListedJoin<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let list = Arc::clone(scope.list());
    let (step, task, id) = list.add(Location::caller(), |step, key| {
        let task = CatchPanic::new(make(scope.at(key)));
        Builder::new().metadata(step).spawn(|_| task, schedule)
    });
    schedule(step);
    ListedJoin::new(task, list, id)
}

/// The same for a task that stays on this thread.
#[inline]
#[track_caller]
pub(crate) fn spawn_local<F>(
    scope: ListEntry,
    make: impl FnOnce(ListEntry) -> F,
) -> ListedJoin<F::Output>
where
    F: Future<Output: 'static> + 'static,
{
    let list = Arc::clone(scope.list());
    let (step, task, id) = list.add(Location::caller(), |step, key| {
        let task = CatchPanic::new(make(scope.at(key)));
        Builder::new()
            .metadata(step)
            .spawn_local(|_| task, schedule)
    });
    schedule(step);
    ListedJoin::new(task, list, id)
}

pin_project! {
    /// A task on a list that has a scope of its own.
    pub(crate) struct Listed<F> {
        #[pin]
        task: F,
        // Dropped after the task.
        entry: ListEntry,
    }
}

impl<F> Listed<F> {
    pub(crate) fn new(task: F, entry: ListEntry) -> Listed<F> {
        Listed { task, entry }
    }
}

impl<F: Future> Future for Listed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        self.project().task.poll(cx)
    }
}
