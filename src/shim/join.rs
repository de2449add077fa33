//! [`JoinHandle`]: one handle for the tasks of every runtime.

pub(crate) mod abortable;
pub(crate) mod completed;
pub(crate) mod done;
mod error;

use std::fmt;
use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

pub use self::done::DoneCallbackId;
pub use self::error::JoinError;
pub(crate) use self::error::panic_message;

use self::abortable::{Joined, Shareable};
use self::completed::Completed;
use self::done::Notice;
use super::callback::Call;
use super::entered::{self, FrameExecutor};
use super::event_loop::LoopTasks;
#[cfg(feature = "tokio")]
use super::executor::Executor;
use super::local::LocalJoin;
use super::native::Target;
use super::search::{self, NoRuntime, Place};
use super::task::StepTask;
use crate::context::Context;
use crate::task_context::TaskContext;

/// Waits for a task, aborts it, or lets it go. Dropping the handle detaches the task: it runs on.
///
/// The same on every runtime: awaiting gives the output, or a [`JoinError`] if the task panicked or was
/// aborted. The output belongs to the awaiter: a value that nobody awaits is dropped by the runtime,
/// outside the task's context. With it goes the context that the task has ended in, which
/// [`join_context`](Self::join_context) gives; a handle that is neither awaited nor dropped keeps both. To be able to abort
/// a task later, and nothing else, keep an [`AbortHandle`].
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
    runs_on: RunsOn,
}

/// What the handle knows of the task's executor, for done-callbacks.
#[derive(Clone)]
pub(crate) enum RunsOn {
    Frame(FrameExecutor),
    Loop(Arc<LoopTasks>),
    /// For handles to runtimes, which keep nobody alive.
    #[cfg(feature = "tokio")]
    Handle(Arc<dyn Executor>),
}

impl RunsOn {
    /// The executor, if it is known; otherwise the current one. `None` if it is gone.
    fn place(&self) -> Result<Option<Place>, NoRuntime> {
        let executor = match self {
            RunsOn::Frame(frame) => Target::of_frame(frame),
            RunsOn::Loop(tasks) => Target::of_frame(&tasks.frame),
            #[cfg(feature = "tokio")]
            RunsOn::Handle(executor) => Some(Target::Value(Arc::clone(executor))),
        };
        match executor {
            Some(executor) => Ok(Some(Place::Anywhere(executor.unfixed()))),
            None => match self {
                RunsOn::Frame(FrameExecutor::Weak(_)) | RunsOn::Loop(_) => Ok(None),
                _ => search::place().map(Some),
            },
        }
    }
}

enum Inner<T: 'static> {
    Steps(Shareable<StepTask<Completed<T>>>),
    Local(LocalJoin<Completed<T>>),
    #[cfg(feature = "tokio")]
    Tokio(Shareable<super::tokio::RawJoin<Completed<T>>>),
    #[cfg(feature = "async-std")]
    AsyncStd(Shareable<super::async_std::RawJoin<Completed<T>>>),
}

/// The same for whatever kind of task it is.
macro_rules! each {
    ($inner:expr, $task:ident => $do:expr) => {
        match $inner {
            Inner::Steps($task) => $do,
            Inner::Local($task) => $do,
            #[cfg(feature = "tokio")]
            Inner::Tokio($task) => $do,
            #[cfg(feature = "async-std")]
            Inner::AsyncStd($task) => $do,
        }
    };
}

impl<T> JoinHandle<T> {
    #[inline]
    pub(crate) fn from_steps(task: StepTask<Completed<T>>, runs_on: RunsOn) -> JoinHandle<T>
    where
        T: Send + 'static,
    {
        JoinHandle {
            inner: Inner::Steps(Shareable::new(task)),
            runs_on,
        }
    }

    pub(crate) fn from_local(join: LocalJoin<Completed<T>>, runs_on: RunsOn) -> JoinHandle<T> {
        JoinHandle {
            inner: Inner::Local(join),
            runs_on,
        }
    }

    #[cfg(feature = "tokio")]
    #[inline]
    pub(crate) fn from_tokio(
        join: super::tokio::RawJoin<Completed<T>>,
        runs_on: RunsOn,
    ) -> JoinHandle<T>
    where
        T: Send + 'static,
    {
        JoinHandle {
            inner: Inner::Tokio(Shareable::new(join)),
            runs_on,
        }
    }

    #[cfg(feature = "async-std")]
    #[inline]
    pub(crate) fn from_async_std(
        join: super::async_std::RawJoin<Completed<T>>,
        runs_on: RunsOn,
    ) -> JoinHandle<T>
    where
        T: Send + 'static,
    {
        JoinHandle {
            inner: Inner::AsyncStd(Shareable::new(join)),
            runs_on,
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
        each!(&self.inner, task => task.abort())
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
            task: each!(&self.inner, task => task.share()),
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
        each!(&self.inner, task => task.is_finished())
    }

    /// Has `f` called when the task has ended, whichever way, in a copy of the current context, taken now (FU-01).
    ///
    /// The callback takes its place in the queue of the task's executor when the task has ended, as if
    /// [`call_soon`](super::call_soon) was called then, and at once if it has ended already. It is called too if
    /// the handle is dropped. Whose context the end comes in makes no difference. When the task has ended, nothing
    /// is kept of the callbacks (FU-05); if the executor goes before, they are dropped, each inside its context.
    ///
    /// For the task's output, await the handle.
    ///
    /// Some handles do not tell their executor: those of tasks that stay on a thread (but for the event loop's), and
    /// those of tasks that [`shim::spawn`](super::spawn) has spawned on tokio when the call is made outside of any
    /// runtime. There the callback goes to the [current executor](super#which-executor).
    ///
    /// # Panics
    ///
    /// If the handle does not tell its executor, and there is no current one.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{context_var, shim};
    ///
    /// context_var! { static REQUEST_ID: u64; }
    ///
    /// shim::block_on(async {
    ///     let (done, wait) = futures::channel::oneshot::channel();
    ///     REQUEST_ID.set(7);
    ///     let task = shim::spawn(async { REQUEST_ID.set(8); });
    ///     task.add_done_callback(|| done.send(REQUEST_ID.get()).unwrap());
    ///     REQUEST_ID.set(9);
    ///     assert_eq!(wait.await, Ok(Some(7)));
    /// });
    /// ```
    #[track_caller]
    pub fn add_done_callback(&self, f: impl FnOnce() + Send + 'static) -> DoneCallbackId {
        let fixed = entered::peek(|frame| frame.fixed().cloned());
        self.add_call(Call::new(entered::new_context(fixed.as_ref()), fixed, f))
    }

    /// As [`add_done_callback`](Self::add_done_callback), in `context` (FU-02).
    ///
    /// # Panics
    ///
    /// As [`add_done_callback`](Self::add_done_callback).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{SharedContext, context_var, shim};
    ///
    /// context_var! { static OUTCOME: String; }
    ///
    /// let shared = SharedContext::new();
    /// shim::block_on(async {
    ///     let task = shim::spawn(async {});
    ///     task.add_done_callback_in(&shared, || { OUTCOME.set("done".to_owned()); });
    ///     while shared.is_empty() {
    ///         shim::yield_now().await;
    ///     }
    /// });
    /// assert_eq!(shared.get(&OUTCOME).as_deref(), Some("done"));
    /// ```
    #[track_caller]
    pub fn add_done_callback_in<C: TaskContext>(
        &self,
        context: C,
        f: impl FnOnce() + Send + 'static,
    ) -> DoneCallbackId {
        let fixed = entered::peek(|frame| frame.fixed().cloned());
        self.add_call(Call::new(context, fixed, f))
    }

    #[track_caller]
    fn add_call(&self, call: Call) -> DoneCallbackId {
        match self.runs_on.place() {
            Ok(Some(place)) => self.add_notice(Notice::Call(call, place.reserve())),
            Ok(None) => {
                call.abandon();
                DoneCallbackId::next()
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Drops a callback that was added by [`add_done_callback`](Self::add_done_callback), with its context. Returns
    /// whether it was there: not if it was removed before or the task has ended (FU-03).
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
        each!(&self.inner, task => task.remove_notice(id))
    }

    /// Has `notice` given when the task has ended.
    pub(crate) fn add_notice(&self, notice: Notice) -> DoneCallbackId {
        each!(&self.inner, task => task.add_notice(notice))
    }

    #[inline]
    fn poll_completed(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<Completed<T>>> {
        each!(&mut self.inner, task => task.poll(cx))
    }

    /// Waits for the task, and gives its output with the context it ended in: what the task had inherited, and what it
    /// has set.
    ///
    /// This is how values come back from a task: explicitly (TH-07). Read them with [`Context::get`], make the context
    /// current for a while with [`Context::run`], or go on in it with [`spawn_in`](super::spawn_in). The context of the
    /// caller is left as it is. From a task in a [`SharedContext`](crate::SharedContext) this is a copy, taken when the
    /// task had completed; see there for the other way to bring values back, which works while the task runs, and when it
    /// fails.
    ///
    /// So that this can be asked for at any time, a task that has completed keeps its context, as it keeps its output,
    /// until the handle is awaited or dropped. That of a task that panics or is aborted is released at once.
    ///
    /// # Errors
    ///
    /// As awaiting the handle: if the task panicked or was aborted.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the handle goes with the future, which detaches the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{context_var, shim};
    ///
    /// context_var! { static ROWS: usize; }
    ///
    /// shim::block_on(async {
    ///     let task = shim::spawn(async {
    ///         ROWS.set(3);
    ///         "report"
    ///     });
    ///     let (output, context) = task.join_context().await.unwrap();
    ///     assert_eq!((output, context.get(&ROWS)), ("report", Some(&3)));
    ///     assert_eq!(ROWS.get(), None);
    /// });
    /// ```
    pub async fn join_context(mut self) -> Result<(T, Context), JoinError> {
        let completed = future::poll_fn(|cx| self.poll_completed(cx)).await?;
        Ok(completed.into_parts())
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
        self.poll_completed(cx).map(|joined| joined?.into_output())
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
