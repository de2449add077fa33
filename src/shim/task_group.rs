//! [`TaskGroup`]: tasks that end together, as asyncio's.

mod error;

use std::fmt;
use std::future::{self, Future};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError};
use std::task::{self, Poll};

use pin_project_lite::pin_project;
use slab::Slab;

pub use self::error::{TaskFailure, TaskGroupError};

use super::join::done::Notice;
use super::join::{AbortHandle, JoinHandle, TaskId};
use super::outcome::{CatchPanic, drop_unclaimed};
use super::spawning;
use crate::sync::{Mutex, MutexGuard, WakerCell};
use crate::task_context::TaskContext;

/// Tasks that end together: when one of them fails, the others are aborted, and whoever waits for
/// the group goes on when all have ended. asyncio's `TaskGroup`.
///
/// A task fails by returning an error or by panicking; one that is aborted on its own does not.
/// Each task starts in a copy of the context that is current where [`spawn`](Self::spawn) is
/// called, not where the group was made.
///
/// A task whose handle is dropped, or detached to say so, stays in the group.
///
/// Clones are the same group, so that its tasks can spawn others in it. Dropping the last clone
/// aborts the tasks, without waiting.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{context_var, shim::{self, TaskGroup}};
///
/// context_var! { static REQUEST_ID: u64; }
///
/// let sum = shim::block_on(TaskGroup::scope(|group| async move {
///     REQUEST_ID.set(7);
///     let one = group.spawn(async { Ok::<_, String>(REQUEST_ID.get().unwrap()) });
///     let two = group.spawn(async { Ok(1) });
///     // `None` would mean that the task has failed; then this is not reached.
///     Ok(one.output().await.unwrap() + two.output().await.unwrap())
/// }));
/// assert_eq!(sum.unwrap(), 8);
/// ```
///
/// The first failure ends the others:
///
/// ```
/// use std::future;
/// use aiocontextvars::shim::{self, TaskGroup};
///
/// let error = shim::block_on(TaskGroup::scope(|group| async move {
///     group.spawn(future::pending::<Result<(), _>>()).detach();
///     group.spawn(async { Err::<(), _>("out of paper") }).detach();
///     Ok(())
/// }));
/// assert!(error.unwrap_err().to_string().contains("out of paper"));
/// ```
#[must_use = "dropping the group aborts its tasks"]
pub struct TaskGroup<E> {
    shared: Arc<Shared<E>>,
}

struct Shared<E> {
    state: Mutex<State<E>>,
    /// Who waits for the tasks, or for the first failure.
    waiter: WakerCell,
}

struct State<E> {
    /// The tasks that have not ended.
    tasks: Slab<MemberState>,
    aborting: bool,
    failures: Vec<TaskFailure<E>>,
    /// How many [`TaskGroup`]s there are of it.
    handles: usize,
}

/// A task that has not ended.
#[derive(Default)]
struct MemberState {
    /// `None` while it is being spawned.
    abort: Option<AbortHandle>,
    /// It is not aborted, so that its handle says how it ended. It may have got so far before its
    /// spawn has returned.
    has_failed: bool,
}

impl<E: Send + 'static> TaskGroup<E> {
    /// A group without tasks. Where the group's end belongs to a place in the code, as it does with
    /// asyncio's `async with`, use [`scope`](Self::scope).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim::{self, TaskGroup};
    ///
    /// shim::block_on(async {
    ///     let group = TaskGroup::new();
    ///     group.spawn(async { Err::<(), _>("no") }).detach();
    ///     assert_eq!(group.join().await.unwrap_err().failures().len(), 1);
    /// });
    /// ```
    pub fn new() -> TaskGroup<E> {
        TaskGroup {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    tasks: Slab::new(),
                    aborting: false,
                    failures: Vec::new(),
                    handles: 1,
                }),
                waiter: WakerCell::default(),
            }),
        }
    }

    /// Runs `body`, and then waits until all tasks of the group that it was given have ended.
    ///
    /// The body is no task: it shares the caller's context. When a task fails, the body is dropped
    /// where it awaits, and the other tasks are aborted. When the body fails, the tasks are
    /// aborted; if it panics, its panic goes on when they have ended.
    ///
    /// # Errors
    ///
    /// All failures, the first one first, if there was any.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the body and aborts the tasks.
    ///
    /// # Examples
    ///
    /// See [`TaskGroup`].
    pub async fn scope<R, F>(body: impl FnOnce(TaskGroup<E>) -> F) -> Result<R, TaskGroupError<E>>
    where
        F: Future<Output = Result<R, E>>,
    {
        let scope = AbortOnDrop(TaskGroup::new());
        let group = &scope.0;
        let outcome = {
            let mut body = pin!(body(group.clone()));
            future::poll_fn(|cx| {
                // Registered first: a task may fail on another thread while the body is polled.
                group.shared.waiter.register(cx.waker());
                if group.has_failed() {
                    return Poll::Ready(None);
                }
                // Nothing of it is used after a panic.
                match panic::catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(cx))) {
                    Ok(poll) => poll.map(|outcome| Some(Ok(outcome))),
                    Err(payload) => Poll::Ready(Some(Err(payload))),
                }
            })
            .await
        };
        let value = match outcome {
            Some(Ok(Ok(value))) => Some(value),
            Some(Ok(Err(error))) => {
                group.shared.fail(None, TaskFailure::Error(error));
                None
            }
            Some(Err(payload)) => {
                group.abort();
                // The panic comes before what the tasks have to tell.
                if let Err(failures) = group.shared.ended().await {
                    drop_unclaimed(failures);
                }
                panic::resume_unwind(payload);
            }
            None => None,
        };
        group.shared.ended().await?;
        match value {
            Some(value) => Ok(value),
            None => unreachable!("whoever failed has left a failure"),
        }
    }

    /// Spawns a task on the current executor, in a copy of the current context, taken now.
    ///
    /// The handle gives `None` if the task has failed, and what it failed with is in the group's
    /// error. The handle may be dropped. In a group that is being aborted, the task is dropped
    /// before its first poll. (If the future has ended well, and then a value of its context panics
    /// when it is dropped, that is no failure of the group: the handle alone gives the error.)
    ///
    /// # Panics
    ///
    /// If there is no executor.
    ///
    /// # Examples
    ///
    /// See [`TaskGroup`].
    #[track_caller]
    pub fn spawn<T, F>(&self, future: F) -> JoinHandle<Option<T>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        self.add(future, |member| spawning::spawn(member))
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
    /// use aiocontextvars::{SharedContext, context_var, shim::{self, TaskGroup}};
    ///
    /// context_var! { static COUNT: u64 = 0; }
    ///
    /// let shared = SharedContext::new();
    /// let done = shim::block_on(TaskGroup::scope(async |group| {
    ///     for _ in 0..2 {
    ///         group.spawn_in(&shared, async {
    ///             COUNT.set(COUNT.get() + 1);
    ///             Ok::<_, String>(())
    ///         }).detach();
    ///     }
    ///     Ok(())
    /// }));
    /// done.unwrap();
    /// assert_eq!(shared.get(&COUNT), Some(2));
    /// ```
    #[track_caller]
    pub fn spawn_in<C: TaskContext, T, F>(&self, context: C, future: F) -> JoinHandle<Option<T>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        self.add(future, |member| spawning::spawn_in(context, member))
    }

    /// Spawns a task that stays on this thread, in a copy of the current context, taken now.
    ///
    /// # Panics
    ///
    /// If no local executor is entered.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use aiocontextvars::{event_loop::EventLoop, shim::TaskGroup};
    ///
    /// let one = EventLoop::new().run_until_complete(TaskGroup::scope(|group| async move {
    ///     let one = group.spawn_local(async { Ok::<_, String>(Rc::new(1)) });
    ///     Ok(one.await.unwrap().unwrap())
    /// }));
    /// assert_eq!(*one.unwrap(), 1);
    /// ```
    #[track_caller]
    pub fn spawn_local<T, F>(&self, future: F) -> JoinHandle<Option<T>>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
    {
        self.add(future, |member| spawning::spawn_local(member))
    }

    #[track_caller]
    fn add<T, F>(
        &self,
        future: F,
        spawn: impl FnOnce(Member<F, E>) -> JoinHandle<Option<T>>,
    ) -> JoinHandle<Option<T>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let entry = Membership {
            key: self.shared.lock().tasks.insert(MemberState::default()),
            shared: Arc::clone(&self.shared),
        };
        let key = entry.key;
        let task = spawn(Member {
            future: CatchPanic::new(future),
            key,
            shared: Arc::clone(&self.shared),
            started: false,
        });
        let abort = {
            let mut state = self.shared.lock();
            state.tasks[key].abort = Some(task.abort_handle_as(TaskId::next()));
            state.aborting && !state.tasks[key].has_failed
        };
        if abort {
            task.abort();
        }
        // When the task's destructors have run.
        task.add_notice(Notice::Hook(Box::new(move || drop(entry))));
        task
    }

    /// Starts to abort all tasks of the group, also those that are spawned from now on.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future;
    /// use aiocontextvars::shim::{self, TaskGroup};
    ///
    /// shim::block_on(async {
    ///     let group = TaskGroup::<String>::new();
    ///     group.spawn(future::pending::<Result<(), _>>()).detach();
    ///     group.abort();
    ///     // To be aborted is no failure.
    ///     assert!(group.join().await.is_ok());
    /// });
    /// ```
    pub fn abort(&self) {
        self.shared.abort();
    }

    fn has_failed(&self) -> bool {
        !self.shared.lock().failures.is_empty()
    }

    /// Waits until all tasks of the group have ended, destructors included. For one waiter at a
    /// time.
    ///
    /// # Errors
    ///
    /// All failures, the first one first, if there was any.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops this handle to the group.
    ///
    /// # Examples
    ///
    /// See [`new`](Self::new).
    pub async fn join(self) -> Result<(), TaskGroupError<E>> {
        self.shared.ended().await
    }
}

/// A group whose tasks end with the scope, whoever else has clones of it.
struct AbortOnDrop<E>(TaskGroup<E>);

impl<E> Drop for AbortOnDrop<E> {
    fn drop(&mut self) {
        self.0.shared.abort();
    }
}

/// The same group.
impl<E> Clone for TaskGroup<E> {
    fn clone(&self) -> TaskGroup<E> {
        self.shared.lock().handles += 1;
        TaskGroup {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<E: Send + 'static> Default for TaskGroup<E> {
    fn default() -> TaskGroup<E> {
        TaskGroup::new()
    }
}

impl<E> Drop for TaskGroup<E> {
    fn drop(&mut self) {
        let is_last = {
            let mut state = self.shared.lock();
            state.handles -= 1;
            state.handles == 0
        };
        if is_last {
            self.shared.abort();
        }
    }
}

impl<E> fmt::Debug for TaskGroup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Copied out: what is written to may use this very group.
        let (tasks, failures) = {
            let state = self.shared.lock();
            (state.tasks.len(), state.failures.len())
        };
        f.debug_struct("TaskGroup")
            .field("tasks", &tasks)
            .field("failures", &failures)
            .finish_non_exhaustive()
    }
}

impl<E> Shared<E> {
    fn lock(&self) -> MutexGuard<'_, State<E>> {
        // No user code runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all tasks have ended.
    async fn ended(&self) -> Result<(), TaskGroupError<E>> {
        let failures = future::poll_fn(|cx| {
            self.waiter.register(cx.waker());
            let mut state = self.lock();
            if state.tasks.is_empty() {
                Poll::Ready(mem::take(&mut state.failures))
            } else {
                Poll::Pending
            }
        })
        .await;
        if failures.is_empty() {
            Ok(())
        } else {
            Err(TaskGroupError::new(failures))
        }
    }

    /// Aborts all tasks but those that have failed.
    fn abort(&self) {
        let tasks: Vec<_> = {
            let mut state = self.lock();
            if mem::replace(&mut state.aborting, true) {
                return;
            }
            let others = state.tasks.iter().filter(|(_, task)| !task.has_failed);
            others.filter_map(|(_, task)| task.abort.clone()).collect()
        };
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Keeps a failure, of this task or of the body, and aborts the others.
    fn fail(&self, task: Option<usize>, failure: TaskFailure<E>) {
        {
            let mut state = self.lock();
            state.failures.push(failure);
            if let Some(task) = task.and_then(|key| state.tasks.get_mut(key)) {
                task.has_failed = true;
            }
        }
        self.abort();
        self.waiter.wake();
    }
}

impl<E> Drop for Shared<E> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let failures = mem::take(&mut state.failures);
        if !failures.is_empty() {
            drop_unclaimed(failures);
        }
    }
}

/// A task's place in its group, until it has ended.
struct Membership<E> {
    key: usize,
    shared: Arc<Shared<E>>,
}

impl<E> Drop for Membership<E> {
    fn drop(&mut self) {
        let (task, is_last) = {
            let mut state = self.shared.lock();
            (state.tasks.try_remove(self.key), state.tasks.is_empty())
        };
        drop(task);
        if is_last {
            self.shared.waiter.wake();
        }
    }
}

pin_project! {
    /// A task of a group.
    struct Member<F, E> {
        #[pin]
        future: CatchPanic<F>,
        key: usize,
        shared: Arc<Shared<E>>,
        started: bool,
    }
}

impl<T, E, F: Future<Output = Result<T, E>>> Future for Member<F, E> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<T>> {
        let this = self.project();
        if !mem::replace(this.started, true) && this.shared.lock().aborting {
            // Whoever aborts the group aborts this task too, in a moment.
            return Poll::Pending;
        }
        let failure = match task::ready!(this.future.poll(cx)).claim() {
            Ok(Ok(output)) => return Poll::Ready(Some(output)),
            Ok(Err(error)) => TaskFailure::Error(error),
            Err(panic) => TaskFailure::Panic(panic),
        };
        this.shared.fail(Some(*this.key), failure);
        Poll::Ready(None)
    }
}
