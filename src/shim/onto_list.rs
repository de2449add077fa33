//! Spawning futures in contexts onto the list of an event loop.

use std::future::Future;
use std::sync::Arc;

use super::join::JoinHandle;
use super::listed;
use super::task::TaskFuture;
use super::task_list::{ListEntry, TaskList};
use crate::task_context::TaskContext;

/// Spawns `future` in `context`, in the list's scope.
#[inline]
#[track_caller]
pub(crate) fn spawn<C, F>(list: Arc<TaskList>, context: C, future: F) -> JoinHandle<F::Output>
where
    C: TaskContext,
    F: Future<Output: Send> + Send + 'static,
{
    let make = |scope| TaskFuture::to_spawn(context, scope, future);
    JoinHandle::listed(listed::spawn(ListEntry::new(list), make))
}

/// The same for a task that stays on this thread, which is the list's.
#[inline]
#[track_caller]
pub(crate) fn spawn_local<C, F>(list: Arc<TaskList>, context: C, future: F) -> JoinHandle<F::Output>
where
    C: TaskContext,
    F: Future<Output: 'static> + 'static,
{
    let make = |scope| TaskFuture::to_spawn(context, scope, future);
    JoinHandle::listed(listed::spawn_local(ListEntry::new(list), make))
}
