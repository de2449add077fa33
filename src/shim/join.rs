//! [`JoinHandle`]: one handle for the tasks of every runtime.

pub(crate) mod boxed;
pub(crate) mod done;
mod id;
pub(crate) mod listed;
pub(crate) mod local;
mod shared_task;
mod state;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

pub use self::done::DoneCallbackId;
pub use self::id::TaskId;

use self::done::Notice;
use self::listed::Ended;
use self::state::{HandleState, Notices};
use super::join_error::JoinError;
use super::join_task::{Abort, JoinTask};
use crate::sync::Mutex;

/// Waits for a task, aborts it, or detaches it. Dropping the handle detaches the task: it keeps
/// running.
///
/// The same on every runtime: awaiting gives the output, or a [`JoinError`] if the task panicked or
/// was aborted. The output belongs to the awaiter. One that nobody awaits is dropped by the runtime,
/// or with the handle if that goes later, in an empty context: its destructor finds nothing of
/// another request there, and leaves nothing. (The payload of a task's panic, on tokio, is dropped
/// in what is current there.) To be able to abort a task later, and nothing else, keep an
/// [`AbortHandle`].
///
/// Values that a task has set come back with its output, if it returns them: `spawn(async {
/// (work().await, copy_context()) })`. See [`Context::apply`](crate::Context::apply).
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
    state: Mutex<HandleState<T>>,
}

impl<T> JoinHandle<T> {
    /// Starts to abort the task: it is dropped inside its context, soon, unless it completes first.
    ///
    /// Awaiting the handle waits until the task's destructors have run. It then gives an error
    /// whose [`is_cancelled`](JoinError::is_cancelled) holds; a task that had finished gives its
    /// output. A task that aborts itself and returns gives either, and so does one whose destructor
    /// panics: that is an error of either kind. A blocking job that has started cannot be aborted.
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
        if let Some(task) = self.as_boxed() {
            return task.abort();
        }
        match self.native_abort() {
            Some(native) => native.abort(),
            None => self.shared().into_iter().for_each(|shared| shared.abort()),
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
        self.abort_handle_as(self.id())
    }

    /// The same, where the task is known by this id and nobody asks the handle for it: drawing one
    /// moves the task to where several reach it.
    pub(crate) fn abort_handle_as(&self, id: TaskId) -> AbortHandle {
        if let Some(task) = self.as_boxed() {
            return task.abort_handle_as(id);
        }
        let native = self.native_abort();
        let task = native.unwrap_or_else(|| match self.shared() {
            Some(shared) => shared.into_abort(),
            None => Arc::new(Ended),
        });
        AbortHandle { task, id }
    }

    /// Whether the task has ended, and its destructors have run. (They may still run if an executor
    /// of one's own drops the task, instead of running it.)
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
        if let Some(task) = self.as_boxed() {
            return task.is_finished();
        }
        let known = match &mut *self.lock() {
            HandleState::Own(own) => own.is_finished(),
            HandleState::Local(task) => Some(task.is_finished()),
            HandleState::Listed(task, _) => task.is_finished(),
            HandleState::Shared(_) | HandleState::Boxed(_) => None,
            HandleState::Done(_) => Some(true),
        };
        known.unwrap_or_else(|| self.shared().is_none_or(|shared| shared.is_finished()))
    }

    /// Tells the task from all others of the process. It is drawn when it is first asked for.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim;
    ///
    /// shim::block_on(async {
    ///     let (first, second) = (shim::spawn(async {}), shim::spawn(async {}));
    ///     assert_eq!(first.id(), first.id());
    ///     assert_ne!(first.id(), second.id());
    /// });
    /// ```
    pub fn id(&self) -> TaskId {
        if let Some(task) = self.as_boxed() {
            return task.id();
        }
        match &mut *self.lock() {
            HandleState::Done(id) => return *id.get_or_insert_with(TaskId::next),
            HandleState::Local(task) => return task.id(),
            HandleState::Listed(_, id) => return *id.get_or_insert_with(TaskId::next),
            HandleState::Own(_) | HandleState::Shared(_) | HandleState::Boxed(_) => {}
        }
        match self.shared() {
            Some(shared) => shared.id(),
            // Given out, while it was `Own`.
            None => self.id(),
        }
    }

    /// Drops a callback that was added by [`add_done_callback`](Self::add_done_callback), with its
    /// context. Returns whether it was there: not if it was removed before or the task has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim;
    ///
    /// shim::block_on(async {
    ///     let task = shim::spawn(std::future::pending::<()>());
    ///     let id = task.add_done_callback(|| unreachable!());
    ///     assert!(task.remove_done_callback(id));
    ///     task.abort();
    /// });
    /// ```
    pub fn remove_done_callback(&self, id: DoneCallbackId) -> bool {
        match self.notices() {
            Notices::Local(ending) => ending.done().remove(id),
            Notices::Listed(done) => done.is_some_and(|done| done.remove(id)),
            Notices::Boxed(task) => task.remove_done_callback(id),
            Notices::Watched => {
                let shared = match &*self.lock() {
                    HandleState::Shared(shared) => Arc::clone(shared),
                    _ => return false,
                };
                shared.remove_notice(id)
            }
        }
    }

    /// Has `notice` given when the task has ended.
    pub(crate) fn add_notice(&self, notice: Notice) -> DoneCallbackId {
        match self.notices() {
            Notices::Local(ending) => ending.done().add(notice),
            Notices::Listed(Some(done)) => done.add(notice),
            Notices::Listed(None) => done::at_once(notice),
            Notices::Boxed(task) => task.add_notice(notice),
            Notices::Watched => match self.shared() {
                Some(shared) => shared.add_notice(notice),
                None => done::at_once(notice),
            },
        }
    }

    /// Detaches the task: it keeps running in the background. Equivalent to dropping the handle.
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

impl<T> JoinHandle<Option<T>> {
    /// Waits for a task of a [`TaskGroup`](super::TaskGroup), which says itself how a task has
    /// failed: `None` if it has, or was aborted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future detaches the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim::{self, TaskGroup};
    ///
    /// let sum = shim::block_on(TaskGroup::<String>::scope(|group| async move {
    ///     let (one, two) = (group.spawn(async { Ok(1) }), group.spawn(async { Ok(2) }));
    ///     Ok(one.output().await.zip(two.output().await))
    /// }));
    /// assert_eq!(sum.unwrap(), Some((1, 2)));
    /// ```
    pub async fn output(self) -> Option<T> {
        self.await.ok().flatten()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let state = match self.state.get_mut() {
            Ok(state) => state,
            Err(poisoned) => poisoned.into_inner(),
        };
        match state {
            HandleState::Own(own) if !own.is_done() => own.poll(cx),
            HandleState::Listed(task, id) => {
                let joined = task.poll(cx);
                if joined.is_ready() {
                    *state = HandleState::Done(*id);
                }
                joined
            }
            _ => state.poll_others(cx),
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
    id: TaskId,
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

    /// As [`JoinHandle::id`].
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim;
    ///
    /// shim::block_on(async {
    ///     let task = shim::spawn(async {});
    ///     assert_eq!(task.abort_handle().id(), task.id());
    /// });
    /// ```
    pub fn id(&self) -> TaskId {
        self.id
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
