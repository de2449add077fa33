//! Spawning tasks that stay on their thread, on any [`LocalExecutor`](super::LocalExecutor).

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use futures_core::future::LocalBoxFuture;

use super::executor::{Adapter, LocalName};
use super::join::JoinHandle;
use super::join::local::local_task;
use super::listed::{self, Listed};
use super::onto_list;
use super::remote_wakes;
use super::runnable::LocalRunnable;
use super::scope::LocalScope;
use super::task::TaskFuture;
use super::task_list::ListEntry;
use crate::catch::catch;
use crate::task_context::TaskContext;

/// Spawns `future` in `context` on the executor that `scope` names. If that is gone, the task is
/// cancelled.
#[track_caller]
pub(crate) fn spawn<C, F>(scope: LocalScope, context: C, future: F) -> JoinHandle<F::Output>
where
    C: TaskContext,
    F: Future + 'static,
    F::Output: 'static,
{
    if let Some(executor) = scope.upgrade() {
        if let Some(list) = executor.hooks().adapter.and_then(Adapter::task_list) {
            let list = Arc::clone(list);
            if scope.scope.fixed.is_none() {
                return onto_list::spawn_local(list, context, future);
            }
            let task = TaskFuture::to_spawn(context, scope, future);
            let make = |entry| Listed::new(task, entry);
            return JoinHandle::listed(listed::spawn_local(ListEntry::new(list), make));
        }
    }
    let local = scope.local.clone();
    let task = TaskFuture::to_spawn(context, scope, future);
    let (task, join) = local_task(task);
    submit(local, Box::pin(task));
    JoinHandle::local(join)
}

fn submit(local: LocalName, task: LocalBoxFuture<'static, ()>) {
    // A dead executor drops the task, which cancels it.
    if let Some(executor) = local.upgrade() {
        if let Err(task) = executor.spawn_local(task) {
            let schedule = move |runnable| {
                // Without the executor, the runnable is dropped, which cancels its task. So does a
                // panic, which would come out of a wake-up.
                if let Some(executor) = local.upgrade() {
                    catch(|| executor.schedule_local(LocalRunnable::new(runnable)));
                }
            };
            remote_wakes::spawn(task, Rc::new(schedule));
        }
    }
}
