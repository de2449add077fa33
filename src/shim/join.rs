//! [`JoinHandle`]: one handle for the tasks of every runtime.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, Waker};

use super::local::LocalJoin;
use super::task::{Outcome, StepTask};

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
    /// that aborts itself and returns gives either. A blocking job that has started cannot be aborted.
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

    /// Whether the task has ended, and its destructors have run.
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

/// A task did not give an output: it panicked or was cancelled.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// # std::panic::set_hook(Box::new(|_| {}));
/// let error = shim::block_on(async { shim::spawn(async { panic!("no") }).await }).unwrap_err();
/// assert!(error.is_panic());
/// assert_eq!(error.into_panic().downcast_ref(), Some(&"no"));
/// ```
pub struct JoinError {
    cause: Cause,
}

enum Cause {
    Cancelled,
    // In a mutex only to be `Sync`, as errors are expected to be.
    Panicked(Mutex<Box<dyn Any + Send>>),
}

impl JoinError {
    pub(crate) fn cancelled() -> JoinError {
        JoinError {
            cause: Cause::Cancelled,
        }
    }

    pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> JoinError {
        JoinError {
            cause: Cause::Panicked(Mutex::new(payload)),
        }
    }

    #[cfg(feature = "tokio")]
    fn from_tokio(error: ::tokio::task::JoinError) -> JoinError {
        match error.try_into_panic() {
            Ok(payload) => JoinError::panicked(payload),
            Err(_cancelled) => JoinError::cancelled(),
        }
    }

    /// Whether the task was aborted, or dropped by an executor that shut down.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.cause, Cause::Cancelled)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.cause, Cause::Panicked(_))
    }

    /// The payload of the task's panic, for [`std::panic::resume_unwind`].
    ///
    /// # Panics
    ///
    /// If the task did not panic. For a form that does not, see
    /// [`try_into_panic`](Self::try_into_panic).
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.try_into_panic() {
            Ok(payload) => payload,
            Err(_) => panic!("`JoinError::into_panic` was called on a task that was cancelled"),
        }
    }

    /// The payload of the task's panic.
    ///
    /// # Errors
    ///
    /// Gives the error back if the task did not panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        match self.cause {
            Cause::Panicked(payload) => {
                Ok(payload.into_inner().unwrap_or_else(PoisonError::into_inner))
            }
            Cause::Cancelled => Err(JoinError::cancelled()),
        }
    }
}

/// The text of a panic, if it has one.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    if let Some(message) = payload.downcast_ref::<&'static str>() {
        message
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message
    } else {
        "a panic without a message"
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Cancelled => f.write_str("the task was cancelled"),
            Cause::Panicked(payload) => {
                let payload = payload.lock().unwrap_or_else(PoisonError::into_inner);
                write!(f, "the task panicked: {}", panic_message(&**payload))
            }
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Cancelled => f.write_str("JoinError::Cancelled"),
            Cause::Panicked(_) => write!(f, "JoinError::Panicked({:?})", self.to_string()),
        }
    }
}

impl Error for JoinError {}

/// A runtime's handle to a task, which is detached when dropped, and cancelled by being used up.
pub(crate) trait RawTask: Send + Sized + 'static {
    type Output: Send + 'static;

    /// The outcome; `None` for a task that was cancelled.
    fn poll(&mut self, cx: &mut task::Context<'_>) -> PollOutcome<Self::Output>;

    fn is_finished(&mut self) -> bool;

    /// Cancels the task at the first poll; completes when it has ended.
    fn cancel(self) -> BoxedCancel<Self::Output>;
}

type PollOutcome<T> = Poll<Option<Outcome<T>>>;

pub(crate) type BoxedCancel<T> = Pin<Box<dyn Future<Output = Option<Outcome<T>>> + Send>>;

fn join_result<T>(outcome: Option<Outcome<T>>) -> Result<T, JoinError> {
    match outcome {
        Some(Ok(output)) => Ok(output),
        Some(Err(payload)) => Err(JoinError::panicked(payload)),
        None => Err(JoinError::cancelled()),
    }
}

/// A [`RawTask`] that can be aborted through a shared reference, and from several places.
///
/// Nothing is allocated until somebody aborts or asks for an abort handle.
pub(crate) struct Shareable<R: JoinOutput> {
    phase: Mutex<Phase<R>>,
    operations: &'static Operations<R>,
}

/// The output of a raw task, also where it is not known to be [`RawTask`]: a [`JoinHandle`] of a local
/// task may have an output that is not `Send`.
pub(crate) trait JoinOutput: 'static {
    type Value;
}

impl<T: 'static> JoinOutput for StepTask<T> {
    type Value = T;
}

/// What needs `R: RawTask`, found when the task is made.
struct Operations<R: JoinOutput> {
    poll: fn(&mut R, &mut task::Context<'_>) -> PollOutcome<R::Value>,
    is_finished: fn(&mut R) -> bool,
    cancel: fn(R) -> BoxedCancel<R::Value>,
    erase: fn(Arc<SharedTask<R>>) -> Arc<dyn Abort>,
}

enum Phase<R: JoinOutput> {
    Running(R),
    /// Somebody is about to store [`Phase::Cancelling`]. The waker is whoever awaits meanwhile.
    Aborting(Option<Waker>),
    Cancelling(Box<Cancelling<R::Value>>),
    /// Moved to where abort handles see it too. Never inside one of these.
    Shared(Arc<SharedTask<R>>),
    /// The result has been given out.
    Done,
}

struct Cancelling<T> {
    future: BoxedCancel<T>,
    /// Whoever awaits the outcome.
    waker: Option<Waker>,
    outcome: Option<Option<Outcome<T>>>,
}

pub(crate) struct SharedTask<R: JoinOutput> {
    phase: Mutex<Phase<R>>,
    operations: &'static Operations<R>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Cancelling<T> {
    fn is_finished(&mut self) -> bool {
        if self.outcome.is_none() {
            // Polled with the awaiter's own waker, so that its wake-up is not lost.
            let waker = self.waker.as_ref().unwrap_or(Waker::noop());
            let mut cx = task::Context::from_waker(waker);
            if let Poll::Ready(outcome) = self.future.as_mut().poll(&mut cx) {
                self.outcome = Some(outcome);
            }
        }
        self.outcome.is_some()
    }
}

impl<R: JoinOutput> Shareable<R> {
    fn new(task: R) -> Shareable<R>
    where
        R: RawTask<Output = R::Value>,
    {
        Shareable {
            phase: Mutex::new(Phase::Running(task)),
            operations: const {
                &Operations {
                    poll: R::poll,
                    is_finished: R::is_finished,
                    cancel: R::cancel,
                    erase: |shared| shared,
                }
            },
        }
    }

    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<R::Value, JoinError>> {
        let phase = self.phase.get_mut().unwrap_or_else(PoisonError::into_inner);
        match phase {
            Phase::Shared(shared) => poll_phase(&mut lock(&shared.phase), self.operations, cx),
            phase => poll_phase(phase, self.operations, cx),
        }
    }

    fn is_finished(&self) -> bool {
        match &mut *lock(&self.phase) {
            Phase::Shared(shared) => shared.is_finished_now(),
            phase => is_finished(phase, self.operations),
        }
    }

    fn abort(&self) {
        let shared = match &*lock(&self.phase) {
            Phase::Shared(shared) => Some(Arc::clone(shared)),
            _ => None,
        };
        match shared {
            Some(shared) => abort(&shared.phase, self.operations),
            None => abort(&self.phase, self.operations),
        }
    }

    fn share(&self) -> Arc<dyn Abort> {
        let mut phase = lock(&self.phase);
        let shared = match &*phase {
            Phase::Shared(shared) => Arc::clone(shared),
            _ => {
                let shared = Arc::new(SharedTask {
                    phase: Mutex::new(mem::replace(&mut *phase, Phase::Done)),
                    operations: self.operations,
                });
                *phase = Phase::Shared(Arc::clone(&shared));
                shared
            }
        };
        (self.operations.erase)(shared)
    }
}

impl<R: JoinOutput> SharedTask<R> {
    fn is_finished_now(&self) -> bool {
        is_finished(&mut lock(&self.phase), self.operations)
    }
}

impl<R: RawTask + JoinOutput<Value = <R as RawTask>::Output>> Abort for SharedTask<R> {
    fn abort(&self) {
        abort(&self.phase, self.operations);
    }

    fn is_finished(&self) -> bool {
        self.is_finished_now()
    }
}

fn poll_phase<R: JoinOutput>(
    phase: &mut Phase<R>,
    operations: &Operations<R>,
    cx: &mut task::Context<'_>,
) -> Poll<Result<R::Value, JoinError>> {
    let outcome = match phase {
        Phase::Running(task) => (operations.poll)(task, cx),
        Phase::Aborting(waker) => {
            *waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Phase::Cancelling(cancelling) => match cancelling.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                cancelling.waker = Some(cx.waker().clone());
                cancelling.future.as_mut().poll(cx)
            }
        },
        Phase::Shared(_) => unreachable!("a shared phase holds no other shared one"),
        Phase::Done => panic!("`JoinHandle` polled after it gave its result"),
    };
    outcome.map(|outcome| {
        *phase = Phase::Done;
        join_result(outcome)
    })
}

fn is_finished<R: JoinOutput>(phase: &mut Phase<R>, operations: &Operations<R>) -> bool {
    match phase {
        Phase::Running(task) => (operations.is_finished)(task),
        Phase::Aborting(_) => false,
        Phase::Cancelling(cancelling) => cancelling.is_finished(),
        Phase::Shared(_) => unreachable!("a shared phase holds no other shared one"),
        Phase::Done => true,
    }
}

fn abort<R: JoinOutput>(phase: &Mutex<Phase<R>>, operations: &Operations<R>) {
    // The cancellation schedules the task, which may run its destructors here and now, and these may use
    // this very handle: no lock is held meanwhile.
    let task = {
        let mut phase = lock(phase);
        match mem::replace(&mut *phase, Phase::Aborting(None)) {
            Phase::Running(task) => task,
            other => {
                *phase = other;
                return;
            }
        }
    };
    let mut cancelling = Box::new(Cancelling {
        future: (operations.cancel)(task),
        waker: None,
        outcome: None,
    });
    // The first poll is what starts it.
    cancelling.is_finished();
    let mut phase = lock(phase);
    let waiting = mem::replace(&mut *phase, Phase::Cancelling(cancelling));
    drop(phase);
    if let Phase::Aborting(Some(waker)) = waiting {
        waker.wake();
    }
}
