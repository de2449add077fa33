//! Handles of tasks that are cancelled by being used up, made abortable through a shared reference.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, Waker};

use super::{Abort, JoinError};
use crate::shim::task::{Outcome, StepTask};

/// A runtime's handle to a task, which is detached when dropped, and cancelled by being used up.
pub(crate) trait RawTask: Send + Sized + 'static {
    type Output: Send + 'static;

    /// The outcome; `None` for a task that was cancelled.
    fn poll(&mut self, cx: &mut task::Context<'_>) -> PollOutcome<Self::Output>;

    fn is_finished(&mut self) -> bool;

    /// Cancels the task at the first poll; completes when it has ended.
    fn cancel(self) -> BoxedCancel<Self::Output>;
}

pub(crate) type PollOutcome<T> = Poll<Option<Outcome<T>>>;

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
    pub(super) fn new(task: R) -> Shareable<R>
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

    pub(super) fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<R::Value, JoinError>> {
        let phase = self.phase.get_mut().unwrap_or_else(PoisonError::into_inner);
        match phase {
            Phase::Shared(shared) => poll_phase(&mut lock(&shared.phase), self.operations, cx),
            phase => poll_phase(phase, self.operations, cx),
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        match &mut *lock(&self.phase) {
            Phase::Shared(shared) => shared.is_finished_now(),
            phase => is_finished(phase, self.operations),
        }
    }

    pub(super) fn abort(&self) {
        let shared = match &*lock(&self.phase) {
            Phase::Shared(shared) => Some(Arc::clone(shared)),
            _ => None,
        };
        match shared {
            Some(shared) => abort(&shared.phase, self.operations),
            None => abort(&self.phase, self.operations),
        }
    }

    pub(super) fn share(&self) -> Arc<dyn Abort> {
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
