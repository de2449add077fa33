//! Spawning on the executor that the search finds: tasks, and jobs on threads that may block.

use std::future::Future;
use std::sync::Arc;

use futures_core::future::BoxFuture;

use super::destination;
use super::join::JoinHandle;
use super::join::boxed::{BoxedHandle, BoxedOutput, BoxingFuture};
use super::local;
use super::onto_list;
use super::search::{self, First, NoRuntime};
use super::task::Outlined;
use crate::current;
use crate::task_context::{AnyContext, TaskContext};

/// Spawns a task on the current executor, in a copy of the current context, taken now.
///
/// The task keeps running when the handle is dropped. Only the task and its children see what it
/// sets.
///
/// # Panics
///
/// If there is no executor; see [`shim`](super) for the search. For a form that does not panic,
/// see [`try_spawn`].
///
/// # Examples
///
/// ```
/// use aiocontextvars::{context_var, shim};
///
/// context_var! { static LEVEL: u8; }
///
/// shim::block_on(async {
///     LEVEL.set(1);
///     let task = shim::spawn(async { LEVEL.get() });
///     LEVEL.set(2);
///     assert_eq!(task.await.unwrap(), Some(1));
/// });
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let future = Outlined::new(future);
    if let Some((First { name, scope }, context)) = search::first_inheriting() {
        return destination::spawn_by_name(name, scope, context, future);
    }
    if const { !search::FIRST_HAS_NAME } {
        if let Some(list) = search::list() {
            return onto_list::spawn(list, current::inherit(), future);
        }
    }
    spawn_boxed(Box::pin(future))
}

/// As [`spawn`].
///
/// # Errors
///
/// [`NoRuntime`] if there is no executor; the future is dropped then.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// shim::block_on(async {
///     assert_eq!(shim::try_spawn(async { 1 }).unwrap().await.unwrap(), 1);
/// });
/// ```
#[track_caller]
pub fn try_spawn<F>(future: F) -> Result<JoinHandle<F::Output>, NoRuntime>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let future = Outlined::new(future);
    if let Some((First { name, scope }, context)) = search::first_inheriting() {
        return Ok(destination::spawn_by_name(name, scope, context, future));
    }
    if const { !search::FIRST_HAS_NAME } {
        if let Some(list) = search::list() {
            return Ok(onto_list::spawn(list, current::inherit(), future));
        }
    }
    try_spawn_boxed(Box::pin(future))
}

/// Spawns a task on the current executor, in `context`: a [`Context`](crate::Context), moved in, or
/// a [`SharedContext`](crate::SharedContext). `Context::new()` inherits nothing.
///
/// # Panics
///
/// If there is no executor.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{Context, context_var, shim};
///
/// context_var! { static LEVEL: u8; }
///
/// shim::block_on(async {
///     LEVEL.set(1);
///     let task = shim::spawn_in(Context::new(), async { LEVEL.get() });
///     assert_eq!(task.await.unwrap(), None);
/// });
/// ```
#[track_caller]
pub fn spawn_in<C: TaskContext, F>(context: C, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let future = Outlined::new(future);
    if let Some(First { name, scope }) = search::first() {
        return destination::spawn_by_name(name, scope, context, future);
    }
    if const { !search::FIRST_HAS_NAME } {
        if let Some(list) = search::list() {
            return onto_list::spawn(list, context, future);
        }
    }
    spawn_boxed_in(context.into_any(), Box::pin(future))
}

/// Spawns where the first runtime is not found by its name. The future is boxed for that, so that
/// there is nothing more to compile for it; and its output, except on the event loop, so that there
/// is little to compile for a type of output.
#[cold]
#[inline(never)]
#[track_caller]
fn spawn_boxed<T: Send + 'static>(future: BoxFuture<'static, T>) -> JoinHandle<T> {
    match try_spawn_boxed(future) {
        Ok(task) => task,
        Err(error) => search::no_runtime(error),
    }
}

/// As [`spawn_boxed`].
#[cold]
#[inline(never)]
#[track_caller]
fn try_spawn_boxed<T: Send + 'static>(
    future: BoxFuture<'static, T>,
) -> Result<JoinHandle<T>, NoRuntime> {
    match search::list() {
        Some(list) => Ok(onto_list::spawn(list, current::inherit(), future)),
        None => spawn_any(Box::pin(BoxingFuture::new(future))).map(JoinHandle::boxed),
    }
}

/// As [`spawn_boxed`], in `context`. Outputs are boxed on the event loop too.
#[cold]
#[inline(never)]
#[track_caller]
fn spawn_boxed_in<T: Send + 'static>(
    context: AnyContext,
    future: BoxFuture<'static, T>,
) -> JoinHandle<T> {
    match spawn_any_in(context, Box::pin(BoxingFuture::new(future))) {
        Ok(task) => JoinHandle::boxed(task),
        Err(error) => search::no_runtime(error),
    }
}

/// Spawns on any executor that is found.
#[track_caller]
fn spawn_any(future: BoxFuture<'static, BoxedOutput>) -> Result<BoxedHandle, NoRuntime> {
    let destination = search::destination()?;
    let context = destination.new_context();
    Ok(Arc::new(destination.spawn(context, future)))
}

/// The same in `context`. Separate from [`spawn_any`], so that a program which gives no context to
/// its tasks is without this.
#[track_caller]
fn spawn_any_in(
    context: AnyContext,
    future: BoxFuture<'static, BoxedOutput>,
) -> Result<BoxedHandle, NoRuntime> {
    let destination = search::destination()?;
    Ok(Arc::new(match context {
        AnyContext::Own(context) => destination.spawn(context, future),
        AnyContext::Shared(context) => destination.spawn(context, future),
    }))
}

/// Spawns a task that stays on this thread, on the local executor that is entered, in a copy of the
/// current context, taken now. Neither the future nor its output need be `Send`.
///
/// # Panics
///
/// If no local executor is entered:
/// [`enter_local`](super::ContextAwareExecutor::enter_local), the tasks of such an executor, and a
/// running event loop enter one.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use aiocontextvars::{event_loop::EventLoop, shim};
///
/// EventLoop::new().run_until_complete(async {
///     let one = Rc::new(1);
///     assert_eq!(*shim::spawn_local(async move { one }).await.unwrap(), 1);
/// });
/// ```
#[track_caller]
pub fn spawn_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    if let Some(list) = search::list().filter(|list| list.is_here()) {
        return onto_list::spawn_local(list, current::inherit(), future);
    }
    let local = search::expect_local();
    let context = local.scope.new_context();
    local::spawn(local, context, future)
}

/// Runs `f` on a thread that may block, in a copy of the current context, taken now. The
/// thread keeps nothing of it. A job that has started cannot be aborted.
///
/// How many run at once is the runtime's matter, as `max_blocking_threads` of tokio. Where it has no
/// threads for jobs, as on the event loop, those of the process serve, at most 500. More jobs than
/// that must not wait for each other.
///
/// # Panics
///
/// If there is no executor.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{context_var, shim};
///
/// context_var! { static LEVEL: u8; }
///
/// shim::block_on(async {
///     LEVEL.set(1);
///     assert_eq!(shim::spawn_blocking(|| LEVEL.get()).await.unwrap(), Some(1));
/// });
/// ```
#[track_caller]
pub fn spawn_blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let destination = search::expect_destination();
    let context = destination.new_context();
    destination.spawn_blocking(context, f)
}

/// Runs `f` on a thread that may block, in `context`. In a [`SharedContext`](crate::SharedContext)
/// that is entered elsewhere, the job steps aside and is resubmitted when it is free.
///
/// # Panics
///
/// If there is no executor.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{SharedContext, context_var, shim};
///
/// context_var! { static LEVEL: u8; }
///
/// let shared = SharedContext::new();
/// shim::block_on(async {
///     shim::spawn_blocking_in(&shared, || { LEVEL.set(1); }).await.unwrap();
/// });
/// assert_eq!(shared.get(&LEVEL), Some(1));
/// ```
#[track_caller]
pub fn spawn_blocking_in<C: TaskContext, T: Send + 'static>(
    context: C,
    f: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    search::expect_destination().spawn_blocking(context, f)
}
