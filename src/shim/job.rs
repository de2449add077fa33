//! Blocking jobs, as tasks whose only step is run on a thread that may block.

use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

use super::join::JoinHandle;
use super::outcome::CatchPanic;
use super::runnable::Job;
use super::runnable_join::RunnableJoin;
use super::scope::ExecutorScope;
use super::task::TaskFuture;
use crate::catch::catch;
use crate::current;
use crate::task_context::TaskContext;

/// Runs `f` in `context`, in this scope, on the blocking threads that `submit` hands it to.
///
/// A task like others, so that its outcome, its cancellation before the start and its wait for a
/// shared context are the same on every executor.
pub(crate) fn spawn<C: TaskContext, T: Send + 'static>(
    submit: impl Fn(Job) + Send + Sync + 'static,
    scope: ExecutorScope,
    context: C,
    f: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let job = TaskFuture::to_spawn(context, scope, Once(Some(f)));
    let schedule = move |runnable| catch(|| submit(Job(runnable)));
    let (runnable, task) = async_task::spawn(CatchPanic::new(job), schedule);
    runnable.schedule();
    JoinHandle::runnable(RunnableJoin::new(task))
}

/// A closure as a future: ready at the first poll.
struct Once<F>(Option<F>);

// The closure is only ever moved out.
impl<F> Unpin for Once<F> {}

impl<T, F: FnOnce() -> T> Future for Once<F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<T> {
        let f = self
            .0
            .take()
            .expect("a blocking job was polled after it had completed");
        // What the job runs is not a task's own: a runtime, for example, whose tasks may not write
        // to its context.
        Poll::Ready(current::enter_call(f))
    }
}
