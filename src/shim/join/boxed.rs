//! Tasks whose output is boxed, so that what spawns and joins them is compiled once, in this crate,
//! and not for each type of output in the crates that use it.

use std::any::Any;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use pin_project_lite::pin_project;

use super::TaskId;
use super::done::{DoneCallbackId, Notice};
use super::shareable::Shareable;
use crate::shim::join_task::Abort;
use crate::shim::outcome::Joined;

/// An output, in a box.
pub(crate) type BoxedOutput = Box<dyn Any + Send>;

pin_project! {
    /// A future with its output in a box.
    pub(crate) struct BoxOutput<F> {
        #[pin]
        future: F,
    }
}

impl<F> BoxOutput<F> {
    #[inline]
    pub(crate) fn new(future: F) -> BoxOutput<F> {
        BoxOutput { future }
    }
}

impl<F> Future for BoxOutput<F>
where
    F: Future<Output: Send + 'static>,
{
    type Output = BoxedOutput;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<BoxedOutput> {
        into_box(self.project().future.poll(cx))
    }
}

fn into_box<T: Send + 'static>(output: Poll<T>) -> Poll<BoxedOutput> {
    output.map(|output| Box::new(output) as BoxedOutput)
}

/// [`Shareable`], for outputs in boxes.
pub(super) trait BoxedTask: Send + Sync + UnwindSafe + RefUnwindSafe {
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<BoxedOutput>>;
    fn is_finished(&self) -> bool;
    fn abort(&self);
    fn abort_handle(&self) -> Arc<dyn Abort>;
    fn add_notice(&self, notice: Notice) -> DoneCallbackId;
    fn remove_notice(&self, id: DoneCallbackId) -> bool;
    fn id(&self) -> TaskId;
}

impl BoxedTask for Shareable<BoxedOutput> {
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<BoxedOutput>> {
        self.poll(cx)
    }

    fn is_finished(&self) -> bool {
        self.is_finished()
    }

    fn abort(&self) {
        self.abort();
    }

    fn abort_handle(&self) -> Arc<dyn Abort> {
        self.abort_handle()
    }

    fn add_notice(&self, notice: Notice) -> DoneCallbackId {
        self.add_notice(notice)
    }

    fn remove_notice(&self, id: DoneCallbackId) -> bool {
        self.remove_notice(id)
    }

    fn id(&self) -> TaskId {
        self.id()
    }
}

/// Polls a task whose output is a `T` in a box, for the owner of the only handle.
pub(super) fn poll<T: 'static>(
    task: &mut Arc<dyn BoxedTask>,
    cx: &mut task::Context<'_>,
) -> Poll<Joined<T>> {
    let Some(task) = Arc::get_mut(task) else {
        unreachable!("it is shared within calls by reference, which the poll excludes");
    };
    task.poll(cx).map_ok(|output| match output.downcast() {
        Ok(output) => *output,
        Err(_) => unreachable!("the task has boxed an output of this type"),
    })
}
