//! [`TaskFuture`]: what the shim makes of a future that it spawns.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

use pin_project_lite::pin_project;

use crate::current::{self, Entering, Owner};
use crate::raw::{Around, Inside, Undropped};
use crate::task_context::{EnterContext, TaskContext};

/// The scope that a task's frame has: its executor's.
pub(crate) trait TaskScope: 'static {
    /// As [`Runtime::POLLS_BY_OUTPUT`](super::runtime::Runtime::POLLS_BY_OUTPUT).
    const POLLS_BY_OUTPUT: bool = false;

    /// While the task is polled, which its executor does.
    fn polled(&self) -> Option<&dyn Any>;

    /// While it is dropped, which anybody may do.
    fn dropped(&self) -> Option<&dyn Any> {
        self.polled()
    }
}

/// A future that is polled and dropped in a context and in an executor's scope, in one frame.
///
/// It is two words larger than the future, where the scope needs no room.
pub(crate) type TaskFuture<F, P, S, const BLOCKS: bool = false> =
    Inside<F, TaskFrame<P, S, BLOCKS>>;

/// How the frame of a [`TaskFuture`] is entered: that of a task, to which all that runs in its polls
/// belongs, or, if it `BLOCKS`, that of a `block_on`. Tasks that others run inside that can neither
/// read nor write its context.
pub(crate) struct TaskFrame<P, S, const BLOCKS: bool> {
    context: P,
    scope: S,
}

impl<P: EnterContext, S> TaskFrame<P, S, false> {
    /// Of a task: nothing is current in it that was not captured. Without `#[inline]`, which would
    /// copy it into what is compiled for each future.
    fn apart(context: impl TaskContext<Place = P>, scope: S) -> Self {
        let context = context.into_place().apart();
        TaskFrame { context, scope }
    }
}

impl<F, P: EnterContext, S: TaskScope> TaskFuture<F, P, S> {
    /// A task, or a job.
    #[inline]
    pub(crate) fn to_spawn(context: impl TaskContext<Place = P>, scope: S, future: F) -> Self {
        Inside::new(TaskFrame::apart(context, scope), future)
    }
}

impl<F, P: EnterContext, S: TaskScope> TaskFuture<F, P, S, true> {
    /// The future of a `block_on`.
    pub(crate) fn to_block_on(context: impl TaskContext<Place = P>, scope: S, future: F) -> Self {
        // What its caller has stays current, in a runner's context for example.
        let context = context.into_place();
        Inside::new(TaskFrame { context, scope }, future)
    }
}

impl<F, P, S, const BLOCKS: bool> Future for TaskFuture<F, P, S, BLOCKS>
where
    F: Future,
    P: EnterContext,
    S: TaskScope,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let (entry, future) = self.project();
        if const { S::POLLS_BY_OUTPUT } {
            return entry.poll(future, cx);
        }
        match entry.context.alone() {
            Some(context) => {
                let entering =
                    Entering::new(TaskFrame::<P, S, BLOCKS>::OWNER, entry.scope.polled());
                current::enter_alone(context, entering, || future.poll(cx))
            }
            None => entry.poll_any(future, cx),
        }
    }
}

impl<P: EnterContext, S: TaskScope, const BLOCKS: bool> TaskFrame<P, S, BLOCKS> {
    const OWNER: Owner = match BLOCKS {
        true => Owner::BlockOn,
        false => Owner::Task,
    };

    /// Polls the future in the frame. The future is a trait object, so that this is compiled once for
    /// each output, kind of context and scope, and not for each future.
    #[inline(never)]
    fn poll<T>(
        &mut self,
        future: Pin<&mut dyn Future<Output = T>>,
        cx: &mut task::Context<'_>,
    ) -> Poll<T> {
        match self.context.alone() {
            Some(context) => {
                let entering = Entering::new(Self::OWNER, self.scope.polled());
                current::enter_alone(context, entering, || future.poll(cx))
            }
            None => self.poll_any(future, cx),
        }
    }

    /// The same, whatever there is to be done to enter the context.
    #[inline(never)]
    fn poll_any<T>(
        &mut self,
        future: Pin<&mut dyn Future<Output = T>>,
        cx: &mut task::Context<'_>,
    ) -> Poll<T> {
        let entering = Entering::new(Self::OWNER, self.scope.polled());
        self.context.poll_in(entering, cx, |cx| future.poll(cx))
    }
}

pin_project! {
    /// A future that is polled by one function, wherever it is polled from: as it is by the task of
    /// a runtime, boxed on other executors, with companions and without. In each of these places it
    /// would be compiled anew.
    pub(crate) struct Outlined<F> {
        #[pin]
        future: F,
    }
}

impl<F> Outlined<F> {
    #[inline]
    pub(crate) fn new(future: F) -> Self {
        Outlined { future }
    }
}

impl<F: Future> Future for Outlined<F> {
    type Output = F::Output;

    #[inline(never)]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

impl<P: EnterContext, S: TaskScope, const BLOCKS: bool> Around for TaskFrame<P, S, BLOCKS> {
    #[inline]
    fn around(&mut self, value: Undropped<'_>) {
        let entering = Entering::new(Self::OWNER, self.scope.dropped()).to_drop();
        self.context.run_last(entering, || drop(value));
    }

    #[inline]
    fn release(self) {
        self.context.release();
    }
}
