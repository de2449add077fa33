//! Tasks whose output is boxed, so that what spawns and joins them is compiled once, in this crate,
//! and not for each type of output in the crates that use it.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use futures_core::future::BoxFuture;

use super::JoinHandle;
use crate::shim::outcome::Joined;

/// An output, in a box.
pub(crate) type BoxedOutput = Box<dyn Any + Send>;

/// A future that puts its output into a box.
pub(crate) struct BoxingFuture<T>(BoxFuture<'static, T>);

impl<T> BoxingFuture<T> {
    pub(crate) fn new(future: BoxFuture<'static, T>) -> BoxingFuture<T> {
        BoxingFuture(future)
    }
}

impl<T: Send + 'static> Future for BoxingFuture<T> {
    type Output = BoxedOutput;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<BoxedOutput> {
        let output = self.0.as_mut().poll(cx);
        output.map(|output| Box::new(output) as BoxedOutput)
    }
}

/// The handle of such a task.
pub(crate) type BoxedHandle = Arc<JoinHandle<BoxedOutput>>;

/// Polls a task whose output is a `T` in a box, for the owner of the only handle.
pub(super) fn poll<T: 'static>(
    task: &mut BoxedHandle,
    cx: &mut task::Context<'_>,
) -> Poll<Joined<T>> {
    let Some(task) = Arc::get_mut(task) else {
        unreachable!("it is shared within calls by reference, which the poll excludes");
    };
    poll_boxed(task, cx).map_ok(|output| match output.downcast() {
        Ok(output) => *output,
        Err(_) => unreachable!("the task has boxed an output of this type"),
    })
}

/// Not generic, so that it is compiled here.
fn poll_boxed(
    task: &mut JoinHandle<BoxedOutput>,
    cx: &mut task::Context<'_>,
) -> Poll<Joined<BoxedOutput>> {
    Pin::new(task).poll(cx)
}
