//! [`JoinTask`]: what the handle of a task owes the shim, whoever runs the task.

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use super::outcome::Joined;

/// A handle of a task, which is detached when the handle is dropped.
pub(crate) trait JoinTask<T>: Sized {
    /// Polls for the end of the task.
    ///
    /// A poll that is not ready must not have woken its waker: whoever looks at the task on being
    /// woken would look again without end, and so would an executor that polls until nobody is
    /// awake.
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>>;

    /// Whether the task has ended. `None` if only a poll can tell.
    fn is_finished(&self) -> Option<bool>;

    /// What aborts the task from anywhere and without the handle, if the runtime has that.
    fn abort_handle(&self) -> Option<Arc<dyn Abort>> {
        None
    }

    /// Turns the handle into a future that cancels the task, from the first poll on, and completes
    /// when it has ended. Only asked of those without an [`abort_handle`](Self::abort_handle).
    fn cancel(self) -> Cancel<T>;
}

/// That of a runtime that has none of its own.
pub(crate) struct NoJoin<T>(Infallible, PhantomData<T>);

impl<T: 'static> JoinTask<T> for NoJoin<T> {
    fn poll(&mut self, _: &mut task::Context<'_>) -> Poll<Joined<T>> {
        match self.0 {}
    }

    fn is_finished(&self) -> Option<bool> {
        match self.0 {}
    }

    fn cancel(self) -> Cancel<T> {
        match self.0 {}
    }
}

/// The cancellation of a task.
pub(crate) type Cancel<T> = Pin<Box<dyn Future<Output = Joined<T>> + Send>>;

/// Aborts a task from anywhere.
pub(crate) trait Abort: Send + Sync {
    fn abort(&self);
    fn is_finished(&self) -> bool;
}
