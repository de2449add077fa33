//! What a task leaves when it completes: its output, and its context for whoever asks for it.

use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::task::{self, Poll, ready};

use pin_project_lite::pin_project;

use super::JoinError;
use super::abortable::Joined;
use crate::contain::contain;
use crate::context::Context;
use crate::current;
use crate::task_context::{EnterContext, TaskContext};
use crate::with_context::WithContext;

/// A task's output and its last context.
pub(crate) struct Completed<T> {
    output: T,
    context: LastContext,
}

impl<T> Completed<T> {
    /// The output. The context is let go of, and what a destructor of its values panics with is the task's outcome.
    #[inline]
    pub(crate) fn into_output(self) -> Joined<T> {
        let Completed { output, context } = self;
        match context.release() {
            Ok(()) => Ok(output),
            Err(error) => {
                contain(|| drop(output));
                Err(error)
            }
        }
    }

    pub(crate) fn into_parts(self) -> (T, Context) {
        (self.output, self.context.into_context())
    }
}

/// The context of a task that nobody may come for.
struct LastContext(Context);

impl LastContext {
    #[inline]
    fn release(mut self) -> Joined<()> {
        let context = mem::take(&mut self.0);
        panic::catch_unwind(AssertUnwindSafe(|| current::drop_values(context)))
            .map_err(JoinError::panicked)
    }

    fn into_context(mut self) -> Context {
        mem::take(&mut self.0)
    }
}

impl Drop for LastContext {
    #[inline]
    fn drop(&mut self) {
        let context = mem::take(&mut self.0);
        // Whoever drops an output that nobody reads is not to hear of a panic.
        contain(|| current::drop_values(context));
    }
}

pin_project! {
    /// A task that leaves its context.
    pub(crate) struct Completing<F, C: TaskContext> {
        #[pin]
        task: WithContext<F, C>,
    }
}

impl<F, C: TaskContext> Completing<F, C> {
    pub(crate) fn new(task: WithContext<F, C>) -> Completing<F, C> {
        Completing { task }
    }
}

impl<F: Future, C: TaskContext> Future for Completing<F, C> {
    type Output = Completed<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut task = self.project().task;
        let output = ready!(task.as_mut().poll(cx));
        // The task keeps it as well: what is left of the future is dropped inside.
        let context = LastContext(task.place().to_context());
        Poll::Ready(Completed { output, context })
    }
}
