//! [`JoinSet`]: tasks of one kind, awaited in the order in which they end.

mod woken;

use std::fmt;
use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker};

use slab::Slab;

use self::woken::{TaskWaker, Woken};
use super::context_aware::ContextAwareExecutor;
use super::executor::{Executor, LocalExecutor};
use super::join::{AbortHandle, JoinHandle, TaskId};
use super::join_error::JoinError;
use super::outcome::drop_unclaimed;
use super::spawning;
use crate::task_context::TaskContext;

/// Tasks with outputs of one type, awaited in the order in which they end: tokio's `JoinSet`, on
/// every executor.
///
/// Each task starts in a copy of the context that is current where `spawn` is called. Dropping the
/// set aborts the tasks that are left in it.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{context_var, shim};
///
/// context_var! { static REQUEST_ID: u64; }
///
/// shim::block_on(async {
///     let mut tasks = shim::JoinSet::new();
///     for id in 0..3 {
///         REQUEST_ID.set(id);
///         tasks.spawn(async { REQUEST_ID.get().unwrap() });
///     }
///     let mut seen = tasks.join_all().await;
///     seen.sort();
///     assert_eq!(seen, [0, 1, 2]);
/// });
/// ```
#[must_use = "dropping the set aborts its tasks"]
pub struct JoinSet<T: 'static> {
    tasks: Slab<Member<T>>,
    woken: Arc<Woken>,
}

/// A task whose result has not been taken out.
struct Member<T: 'static> {
    task: JoinHandle<T>,
    id: TaskId,
    waker: Arc<TaskWaker>,
}

impl<T: 'static> JoinSet<T> {
    /// An empty set.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(aiocontextvars::shim::JoinSet::<()>::new().is_empty());
    /// ```
    pub fn new() -> JoinSet<T> {
        JoinSet {
            tasks: Slab::new(),
            woken: Arc::default(),
        }
    }

    /// How many tasks are in the set: those whose result has not been taken out.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    fn insert(&mut self, task: JoinHandle<T>) -> AbortHandle {
        let id = TaskId::next();
        let abort = task.abort_handle_as(id);
        let place = self.tasks.vacant_entry();
        let waker = self.woken.insert(place.key());
        place.insert(Member { task, id, waker });
        abort
    }

    /// Spawns a task on the current executor, in a copy of the current context, taken now. See
    /// [`shim::spawn`](super::spawn).
    ///
    /// # Panics
    ///
    /// If there is no executor.
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
        self.insert(spawning::spawn(future))
    }

    /// Spawns a task on the current executor, in `context`.
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
    ///     let mut tasks = shim::JoinSet::new();
    ///     tasks.spawn_in(Context::new(), async { LEVEL.get() });
    ///     assert_eq!(tasks.join_next().await.unwrap().unwrap(), None);
    /// });
    /// ```
    #[track_caller]
    pub fn spawn_in<C: TaskContext, F>(&mut self, context: C, future: F) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        self.insert(spawning::spawn_in(context, future))
    }

    /// Spawns a task on `executor`, in a copy of the current context, taken now.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// use aiocontextvars::shim::{ContextAwareExecutor, JoinSet};
    /// use futures::executor::ThreadPool;
    ///
    /// let pool = ContextAwareExecutor::new(ThreadPool::new().unwrap());
    /// let mut tasks = JoinSet::new();
    /// tasks.spawn_on(&pool, async { 1 });
    /// assert_eq!(pool.block_on(tasks.join_all()), [1]);
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_on<E: Executor, F>(
        &mut self,
        executor: &ContextAwareExecutor<E>,
        future: F,
    ) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        self.insert(executor.spawn(future))
    }

    /// Spawns a task that stays on this thread, in a copy of the current context, taken now. See
    /// [`shim::spawn_local`](super::spawn_local).
    ///
    /// # Panics
    ///
    /// If no local executor is entered.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use aiocontextvars::{event_loop::EventLoop, shim};
    ///
    /// EventLoop::new().run_until_complete(async {
    ///     let mut tasks = shim::JoinSet::new();
    ///     tasks.spawn_local(async { Rc::new(1) });
    ///     assert_eq!(tasks.join_all().await, [Rc::new(1)]);
    /// });
    /// ```
    #[track_caller]
    pub fn spawn_local<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + 'static,
    {
        self.insert(spawning::spawn_local(future))
    }

    /// Runs `f` on a thread that may block, in a copy of the current context, taken now. See
    /// [`shim::spawn_blocking`](super::spawn_blocking).
    ///
    /// # Panics
    ///
    /// If there is no executor.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim;
    ///
    /// shim::block_on(async {
    ///     let mut tasks = shim::JoinSet::new();
    ///     tasks.spawn_blocking(|| 1);
    ///     assert_eq!(tasks.join_all().await, [1]);
    /// });
    /// ```
    #[track_caller]
    pub fn spawn_blocking(&mut self, f: impl FnOnce() -> T + Send + 'static) -> AbortHandle
    where
        T: Send,
    {
        self.insert(spawning::spawn_blocking(f))
    }

    /// Spawns a task that stays on this thread, on `executor`, in a copy of the current context,
    /// taken now.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// use std::rc::Rc;
    /// use aiocontextvars::shim::{ContextAwareExecutor, JoinSet};
    /// use futures::executor::LocalPool;
    ///
    /// let mut pool = LocalPool::new();
    /// let executor = ContextAwareExecutor::new(pool.spawner());
    /// let mut tasks = JoinSet::new();
    /// tasks.spawn_local_on(&executor, async { Rc::new(1) });
    /// assert_eq!(pool.run_until(tasks.join_all()), [Rc::new(1)]);
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_local_on<E: LocalExecutor, F>(
        &mut self,
        executor: &ContextAwareExecutor<E>,
        future: F,
    ) -> AbortHandle
    where
        F: Future<Output = T> + 'static,
    {
        self.insert(executor.spawn_local(future))
    }

    /// Runs `f` on a thread of `executor` that may block, in a copy of the current context, taken
    /// now.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// use aiocontextvars::shim::{ContextAwareExecutor, JoinSet};
    /// use futures::executor::ThreadPool;
    ///
    /// let pool = ContextAwareExecutor::new(ThreadPool::new().unwrap());
    /// let mut tasks = JoinSet::new();
    /// tasks.spawn_blocking_on(&pool, || 1);
    /// assert_eq!(pool.block_on(tasks.join_all()), [1]);
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_blocking_on<E: Executor>(
        &mut self,
        executor: &ContextAwareExecutor<E>,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> AbortHandle
    where
        T: Send,
    {
        self.insert(executor.spawn_blocking(f))
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
    /// ```
    /// use aiocontextvars::shim;
    ///
    /// shim::block_on(async {
    ///     let mut tasks = shim::JoinSet::new();
    ///     tasks.spawn(async { 1 });
    ///     while let Some(result) = tasks.join_next().await {
    ///         assert_eq!(result.unwrap(), 1);
    ///     }
    /// });
    /// ```
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        future::poll_fn(|cx| self.poll_join_next(cx)).await
    }

    /// As [`join_next`](Self::join_next), with the task's id, which the [`AbortHandle`] has that
    /// its spawn returned. It comes with an error as well.
    ///
    /// # Cancel safety
    ///
    /// No result is lost when the future is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use aiocontextvars::shim;
    ///
    /// shim::block_on(async {
    ///     let mut tasks = shim::JoinSet::new();
    ///     let mut names = HashMap::new();
    ///     for name in ["a", "b"] {
    ///         names.insert(tasks.spawn(async { name.len() }).id(), name);
    ///     }
    ///     while let Some((id, length)) = tasks.join_next_with_id().await {
    ///         assert_eq!(names.remove(&id).unwrap().len(), length.unwrap());
    ///     }
    /// });
    /// ```
    pub async fn join_next_with_id(&mut self) -> Option<(TaskId, Result<T, JoinError>)> {
        future::poll_fn(|cx| self.poll_join_next_with_id(cx)).await
    }

    /// Polls for the result of one of the tasks; ready with `None` if the set is empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future;
    /// use aiocontextvars::shim;
    ///
    /// shim::block_on(async {
    ///     let mut tasks = shim::JoinSet::new();
    ///     tasks.spawn(async { 1 });
    ///     let result = future::poll_fn(|cx| tasks.poll_join_next(cx)).await;
    ///     assert_eq!(result.unwrap().unwrap(), 1);
    /// });
    /// ```
    pub fn poll_join_next(
        &mut self,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<T, JoinError>>> {
        self.poll_join_next_with_id(cx)
            .map(|ended| ended.map(|(_, result)| result))
    }

    /// As [`poll_join_next`](Self::poll_join_next), with the task's id.
    ///
    /// # Examples
    ///
    /// See [`join_next_with_id`](Self::join_next_with_id).
    pub fn poll_join_next_with_id(
        &mut self,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<(TaskId, Result<T, JoinError>)>> {
        if self.tasks.is_empty() {
            return Poll::Ready(None);
        }
        // First: a task may end while the others are asked.
        self.woken.waiter.register(cx.waker());
        if let Some(ended) = self.ask_woken() {
            return Poll::Ready(Some(ended));
        }
        // Each had its turn. A task that is woken over and over must not keep the thread.
        if self.woken.any() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Asks the tasks that were woken, each at most once, until one has ended.
    fn ask_woken(&mut self) -> Option<(TaskId, Result<T, JoinError>)> {
        for _ in 0..self.tasks.len() {
            let key = self.woken.next()?;
            // It may have been taken out since.
            let Some(member) = self.tasks.get_mut(key) else {
                continue;
            };
            let waker = Waker::from(Arc::clone(&member.waker));
            member.waker.is_asked();
            let mut cx = task::Context::from_waker(&waker);
            if let Poll::Ready(result) = Pin::new(&mut member.task).poll(&mut cx) {
                let id = self.tasks.remove(key).id;
                return Some((id, result));
            }
        }
        None
    }

    /// The result of a task that has ended. `None` if there is no such task.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim;
    ///
    /// shim::block_on(async {
    ///     let mut tasks = shim::JoinSet::new();
    ///     tasks.spawn(async { 1 });
    ///     let result = loop {
    ///         match tasks.try_join_next() {
    ///             Some(result) => break result,
    ///             None => shim::yield_now().await,
    ///         }
    ///     };
    ///     assert_eq!(result.unwrap(), 1);
    /// });
    /// ```
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.try_join_next_with_id().map(|(_, result)| result)
    }

    /// As [`try_join_next`](Self::try_join_next), with the task's id.
    ///
    /// # Examples
    ///
    /// See [`join_next_with_id`](Self::join_next_with_id).
    pub fn try_join_next_with_id(&mut self) -> Option<(TaskId, Result<T, JoinError>)> {
        // Whoever waits for the next task keeps waiting, and may be told of what is left.
        let ended = self.ask_woken();
        if self.woken.any() {
            self.woken.waiter.wake();
        }
        ended
    }

    /// Waits for all tasks. The outputs are in the order in which the tasks have ended.
    ///
    /// # Panics
    ///
    /// If a task panicked, with its panic; if one was aborted, with a message. The other tasks are
    /// aborted then, and the outputs so far dropped, in an empty context. For a form that does not
    /// panic and keeps them, call [`join_next`](Self::join_next) until it gives `None`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future aborts the tasks, and drops the outputs so far where it is dropped.
    ///
    /// # Examples
    ///
    /// See [`JoinSet`].
    pub async fn join_all(mut self) -> Vec<T> {
        let mut outputs = Vec::with_capacity(self.len());
        while let Some(result) = self.join_next().await {
            match result {
                Ok(output) => outputs.push(output),
                Err(error) => {
                    // Not while this unwinds: one whose destructor panics would end the process.
                    drop_unclaimed(outputs);
                    match error.try_into_panic() {
                        Ok(payload) => std::panic::resume_unwind(payload),
                        Err(error) => panic!("`JoinSet::join_all`: {error}"),
                    }
                }
            }
        }
        outputs
    }

    /// Aborts all tasks, and waits until their destructors have run. Their results are dropped.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the tasks have been aborted and stay in the set.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim;
    ///
    /// shim::block_on(async {
    ///     let mut tasks = shim::JoinSet::new();
    ///     tasks.spawn(std::future::pending::<()>());
    ///     tasks.shutdown().await;
    ///     assert!(tasks.is_empty());
    /// });
    /// ```
    pub async fn shutdown(&mut self) {
        self.abort_all();
        while let Some(result) = self.join_next().await {
            drop_unclaimed(result);
        }
    }

    /// Starts to abort all tasks. They stay in the set, and their results can be awaited.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim;
    ///
    /// shim::block_on(async {
    ///     let mut tasks = shim::JoinSet::new();
    ///     tasks.spawn(std::future::pending::<()>());
    ///     tasks.abort_all();
    ///     assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
    /// });
    /// ```
    pub fn abort_all(&mut self) {
        self.tasks
            .iter()
            .for_each(|(_, member)| member.task.abort());
    }

    /// Detaches all tasks: they keep running in the background. The set is empty afterwards.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim;
    ///
    /// shim::block_on(async {
    ///     let mut tasks = shim::JoinSet::new();
    ///     tasks.spawn(async {});
    ///     tasks.detach_all();
    ///     assert!(tasks.is_empty());
    /// });
    /// ```
    pub fn detach_all(&mut self) {
        self.tasks.clear();
    }
}

impl<T: 'static> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.abort_all();
    }
}

impl<T: 'static> Default for JoinSet<T> {
    fn default() -> JoinSet<T> {
        JoinSet::new()
    }
}

impl<T: 'static> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet")
            .field("len", &self.len())
            .finish_non_exhaustive()
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
