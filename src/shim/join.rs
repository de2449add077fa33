//! [`JoinHandle`]: one handle for the tasks of every runtime.

pub(crate) mod abortable;
mod error;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

pub use self::error::JoinError;
pub(crate) use self::error::panic_message;

use self::abortable::Shareable;
use super::local::LocalJoin;
use super::task::StepTask;

/// Waits for a task, aborts it, or lets it go. Dropping the handle detaches the task: it runs on.
///
/// The same on every runtime: awaiting gives the output, or a [`JoinError`] if the task panicked or was
/// aborted. The output belongs to the awaiter: a value that nobody awaits is dropped by the runtime,
/// outside the task's context.
///
/// # Cancel safety
///
/// Awaiting by reference is cancel safe: no output is lost when the await is dropped.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// shim::block_on(async {
///     let task = shim::spawn(async { 1 + 1 });
///     assert_eq!(task.await.unwrap(), 2);
/// });
/// ```
#[must_use = "dropping the handle detaches the task; call `detach` to say so, or await it"]
pub struct JoinHandle<T: 'static> {
    inner: Inner<T>,
}

enum Inner<T: 'static> {
    Steps(Shareable<StepTask<T>>),
    Local(LocalJoin<T>),
    #[cfg(feature = "tokio")]
    Tokio(::tokio::task::JoinHandle<T>),
    #[cfg(feature = "async-std")]
    AsyncStd(Shareable<super::async_std::RawJoin<T>>),
}

impl<T> JoinHandle<T> {
    pub(crate) fn from_steps(task: StepTask<T>) -> JoinHandle<T>
    where
        T: Send + 'static,
    {
        JoinHandle {
            inner: Inner::Steps(Shareable::new(task)),
        }
    }

    pub(crate) fn from_local(join: LocalJoin<T>) -> JoinHandle<T> {
        JoinHandle {
            inner: Inner::Local(join),
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn from_tokio(join: ::tokio::task::JoinHandle<T>) -> JoinHandle<T> {
        JoinHandle {
            inner: Inner::Tokio(join),
        }
    }

    #[cfg(feature = "async-std")]
    pub(crate) fn from_async_std(join: super::async_std::RawJoin<T>) -> JoinHandle<T>
    where
        T: Send + 'static,
    {
        JoinHandle {
            inner: Inner::AsyncStd(Shareable::new(join)),
        }
    }

    /// Starts to abort the task: it is dropped inside its context, soon, unless it completes first.
    ///
    /// Awaiting the handle waits until the task's destructors have run. It then gives an error whose
    /// [`is_cancelled`](JoinError::is_cancelled) holds; a task that had finished gives its output. A task
    /// that aborts itself and returns gives either, and so does one whose destructor panics: that is an error of
    /// either kind. A blocking job that has started cannot be aborted.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim;
    ///
    /// shim::block_on(async {
    ///     let task = shim::spawn(std::future::pending::<()>());
    ///     task.abort();
    ///     assert!(task.await.unwrap_err().is_cancelled());
    /// });
    /// ```
    pub fn abort(&self) {
        match &self.inner {
            Inner::Steps(task) => task.abort(),
            Inner::Local(task) => task.abort(),
            #[cfg(feature = "tokio")]
            Inner::Tokio(task) => task.abort(),
            #[cfg(feature = "async-std")]
            Inner::AsyncStd(task) => task.abort(),
        }
    }

    /// A handle that can abort the task, and does not wait for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim;
    ///
    /// shim::block_on(async {
    ///     let task = shim::spawn(std::future::pending::<()>());
    ///     let abort = task.abort_handle();
    ///     abort.abort();
    ///     assert!(task.await.is_err());
    ///     assert!(abort.is_finished());
    /// });
    /// ```
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle {
            task: match &self.inner {
                Inner::Steps(task) => task.share(),
                Inner::Local(task) => task.share(),
                #[cfg(feature = "tokio")]
                Inner::Tokio(task) => Arc::new(task.abort_handle()),
                #[cfg(feature = "async-std")]
                Inner::AsyncStd(task) => task.share(),
            },
        }
    }

    /// Whether the task has ended, and its destructors have run. (They may still run if an executor of one's own
    /// drops the task, instead of running it.)
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim;
    ///
    /// shim::block_on(async {
    ///     let task = shim::spawn(async {});
    ///     while !task.is_finished() {
    ///         shim::yield_now().await;
    ///     }
    /// });
    /// ```
    pub fn is_finished(&self) -> bool {
        match &self.inner {
            Inner::Steps(task) => task.is_finished(),
            Inner::Local(task) => task.is_finished(),
            #[cfg(feature = "tokio")]
            Inner::Tokio(task) => task.is_finished(),
            #[cfg(feature = "async-std")]
            Inner::AsyncStd(task) => task.is_finished(),
        }
    }

    /// Lets the task run on by itself. The same as dropping the handle, in so many words.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim;
    ///
    /// shim::block_on(async { shim::spawn(async {}).detach() });
    /// ```
    pub fn detach(self) {}
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    ///
    /// When polled again after it has given its result.
    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        match &mut self.inner {
            Inner::Steps(task) => task.poll(cx),
            Inner::Local(task) => task.poll(cx),
            #[cfg(feature = "tokio")]
            Inner::Tokio(task) => Pin::new(task).poll(cx).map_err(JoinError::from_tokio),
            #[cfg(feature = "async-std")]
            Inner::AsyncStd(task) => task.poll(cx),
        }
    }
}

// The output may be pinned to nothing: it is only ever moved out.
impl<T> Unpin for JoinHandle<T> {}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}

/// Aborts a task, from anywhere; made by [`JoinHandle::abort_handle`]. Dropping it does nothing.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// shim::block_on(async {
///     let task = shim::spawn(std::future::pending::<()>());
///     let abort = task.abort_handle();
///     shim::spawn(async move { abort.abort() }).detach();
///     assert!(task.await.unwrap_err().is_cancelled());
/// });
/// ```
#[derive(Clone)]
pub struct AbortHandle {
    task: Arc<dyn Abort>,
}

impl AbortHandle {
    /// As [`JoinHandle::abort`].
    pub fn abort(&self) {
        self.task.abort();
    }

    /// As [`JoinHandle::is_finished`].
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle").finish_non_exhaustive()
    }
}

/// What an [`AbortHandle`] points to.
pub(crate) trait Abort: Send + Sync {
    fn abort(&self);
    fn is_finished(&self) -> bool;
}

#[cfg(feature = "tokio")]
impl Abort for ::tokio::task::AbortHandle {
    fn abort(&self) {
        ::tokio::task::AbortHandle::abort(self);
    }

    fn is_finished(&self) -> bool {
        ::tokio::task::AbortHandle::is_finished(self)
    }
}
