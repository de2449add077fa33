//! [`JoinSet`]: tokio's, whose tasks inherit.

use std::fmt;
use std::future::Future;
use std::task::{self, Poll};

use ::tokio::runtime::Handle;
use ::tokio::task::{self as native, AbortHandle, Id, JoinError};

use super::LocalSet;
use crate::shim::adapters::tokio::Runtime;
use crate::shim::facade;

/// `tokio::task::JoinSet`, whose tasks and jobs each start in a copy of the context that is current
/// where they are spawned.
///
/// Its methods are tokio's, and so is what they return. The one that works on every executor is
/// [`shim::JoinSet`](crate::shim::JoinSet).
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim::tokio::task::JoinSet;
/// use aiocontextvars::task_local;
///
/// task_local! { static REQUEST_ID: u64; }
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let mut tasks = JoinSet::new();
/// for id in 0..3 {
///     REQUEST_ID.sync_scope(id, || tasks.spawn(async { REQUEST_ID.get() }));
/// }
/// let mut seen = tasks.join_all().await;
/// seen.sort();
/// assert_eq!(seen, [0, 1, 2]);
/// # });
/// ```
#[must_use = "dropping the set aborts its tasks"]
pub struct JoinSet<T> {
    set: native::JoinSet<T>,
}

impl<T> JoinSet<T> {
    /// An empty set.
    pub fn new() -> JoinSet<T> {
        JoinSet {
            set: native::JoinSet::new(),
        }
    }

    /// How many tasks are in the set: those whose result has not been taken out.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

impl<T: 'static> JoinSet<T> {
    /// Spawns a task on the runtime of this thread, in a copy of the current context, taken now.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// # Examples
    ///
    /// See [`JoinSet`].
    #[track_caller]
    pub fn spawn<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        self.set.spawn(facade::task::<Runtime, _>(future))
    }

    /// Spawns a task on the runtime of `handle`, in a copy of the current context, taken now.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim::tokio::task::JoinSet;
    ///
    /// let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// let mut tasks = JoinSet::new();
    /// tasks.spawn_on(async { 1 }, runtime.handle());
    /// assert_eq!(runtime.block_on(tasks.join_all()), [1]);
    /// ```
    #[track_caller]
    pub fn spawn_on<F>(&mut self, future: F, handle: &Handle) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        self.set
            .spawn_on(facade::task::<Runtime, _>(future), handle)
    }

    /// Spawns a task on the `LocalSet` or local runtime that this thread is in, in a copy of the
    /// current context, taken now.
    ///
    /// # Panics
    ///
    /// Outside of these.
    ///
    /// # Examples
    ///
    /// As [`spawn_local_on`](Self::spawn_local_on), inside of [`LocalSet::run_until`].
    #[track_caller]
    pub fn spawn_local<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + 'static,
    {
        self.set
            .spawn_local(facade::local_task::<Runtime, _>(future))
    }

    /// Spawns a task on `local_set`, in a copy of the current context, taken now.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim::tokio::task::{JoinSet, LocalSet};
    ///
    /// let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// let local = LocalSet::new();
    /// let mut tasks = JoinSet::new();
    /// tasks.spawn_local_on(async { 1 }, &local);
    /// assert_eq!(local.block_on(&runtime, tasks.join_all()), [1]);
    /// ```
    #[track_caller]
    pub fn spawn_local_on<F>(&mut self, future: F, local_set: &LocalSet) -> AbortHandle
    where
        F: Future<Output = T> + 'static,
    {
        let task = facade::local_task::<Runtime, _>(future);
        self.set.spawn_local_on(task, local_set.native())
    }

    /// Runs `f` on a thread that may block, in a copy of the current context, taken now.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// # Examples
    ///
    /// As [`spawn_blocking_on`](Self::spawn_blocking_on), inside of a runtime.
    #[track_caller]
    pub fn spawn_blocking<F>(&mut self, f: F) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send,
    {
        self.set.spawn_blocking(facade::job(f))
    }

    /// The same on the blocking threads of the runtime of `handle`.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim::tokio::task::JoinSet;
    ///
    /// let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// let mut jobs = JoinSet::new();
    /// jobs.spawn_blocking_on(|| 1, runtime.handle());
    /// assert_eq!(runtime.block_on(jobs.join_all()), [1]);
    /// ```
    #[track_caller]
    pub fn spawn_blocking_on<F>(&mut self, f: F, handle: &Handle) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send,
    {
        self.set.spawn_blocking_on(facade::job(f), handle)
    }

    /// Waits until one of the tasks has ended, and takes its result out. `None` if the set is
    /// empty.
    ///
    /// # Cancel safety
    ///
    /// No result is lost when the future is dropped.
    ///
    /// # Examples
    ///
    /// See [`JoinSet`].
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.set.join_next().await
    }

    /// The same, with the task's id. An error has the id too.
    ///
    /// # Cancel safety
    ///
    /// No result is lost when the future is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim::tokio::task::{self, JoinSet};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let mut tasks = JoinSet::new();
    /// let id = tasks.spawn(async { task::id() }).id();
    /// assert_eq!(tasks.join_next_with_id().await.unwrap().unwrap(), (id, id));
    /// # });
    /// ```
    pub async fn join_next_with_id(&mut self) -> Option<Result<(Id, T), JoinError>> {
        self.set.join_next_with_id().await
    }

    /// The result of a task that has ended. `None` if there is no such task.
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.set.try_join_next()
    }

    /// The same, with the task's id.
    pub fn try_join_next_with_id(&mut self) -> Option<Result<(Id, T), JoinError>> {
        self.set.try_join_next_with_id()
    }

    /// Polls for the result of one of the tasks; ready with `None` if the set is empty.
    pub fn poll_join_next(
        &mut self,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<T, JoinError>>> {
        self.set.poll_join_next(cx)
    }

    /// The same, with the task's id.
    pub fn poll_join_next_with_id(
        &mut self,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<(Id, T), JoinError>>> {
        self.set.poll_join_next_with_id(cx)
    }

    /// Waits for all tasks. The outputs are in the order in which the tasks have ended.
    ///
    /// # Panics
    ///
    /// If a task panicked or was aborted. The other tasks are aborted then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future aborts the tasks.
    ///
    /// # Examples
    ///
    /// See [`JoinSet`].
    pub async fn join_all(self) -> Vec<T> {
        self.set.join_all().await
    }

    /// Aborts all tasks, and waits until they have ended. Their results are dropped.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the tasks have been aborted and stay in the set.
    pub async fn shutdown(&mut self) {
        self.set.shutdown().await;
    }

    /// Starts to abort all tasks. They stay in the set.
    pub fn abort_all(&mut self) {
        self.set.abort_all();
    }

    /// Detaches all tasks from the set: they keep running.
    pub fn detach_all(&mut self) {
        self.set.detach_all();
    }
}

impl<T> Default for JoinSet<T> {
    fn default() -> JoinSet<T> {
        JoinSet::new()
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.set.fmt(f)
    }
}

/// Spawns each future, as [`JoinSet::spawn`] does.
impl<F, T> FromIterator<F> for JoinSet<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    fn from_iter<I: IntoIterator<Item = F>>(futures: I) -> JoinSet<T> {
        let mut tasks = JoinSet::new();
        tasks.extend(futures);
        tasks
    }
}

/// Spawns each future, as [`JoinSet::spawn`] does.
impl<F, T> Extend<F> for JoinSet<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    fn extend<I: IntoIterator<Item = F>>(&mut self, futures: I) {
        for future in futures {
            self.spawn(future);
        }
    }
}
