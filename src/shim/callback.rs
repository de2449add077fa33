//! [`Call`]: what is kept of a scheduled closure.
//!
//! A queue and a handle share each callback, so that a cancellation takes the closure and its
//! context out at once, from any thread and without the queue.

mod exception;
mod local;
mod work;

use std::sync::{Arc, PoisonError};

pub use self::exception::{CallError, ExceptionHandler, set_exception_handler};
pub(crate) use self::local::drop_remote_cancelled;
pub(crate) use self::work::RunOutcome;

use self::local::Ticket;
use self::work::{Pending, Work};
use crate::catch::catch;
use crate::context::Context;
use crate::current::Frame;
use crate::sync::{Mutex, MutexGuard};
use crate::task_context::TaskContext;

/// A callback that waits for its turn: one of the references to it.
#[derive(Clone)]
pub(crate) struct Call(Arc<dyn Pending>);

impl Call {
    /// A callback for an executor that has this fixed context, if any.
    #[track_caller]
    pub(crate) fn new<C, F>(context: C, fixed: Option<Arc<Context>>, f: F) -> Call
    where
        C: TaskContext,
        F: FnOnce() + Send + 'static,
    {
        let work = Work::new(context, fixed, f);
        Call(Arc::new(PendingWork(Mutex::new(Some(work)))))
    }

    /// As [`new`](Call::new), for a closure that stays on this thread.
    #[track_caller]
    pub(crate) fn new_local<C, F>(context: C, fixed: Option<Arc<Context>>, f: F) -> Call
    where
        C: TaskContext,
        F: FnOnce() + 'static,
    {
        Call(Arc::new(Ticket::new(Work::new(context, fixed, f))))
    }

    /// Calls the closure in its context, unless it was cancelled or has to wait for a shared
    /// context.
    #[inline]
    pub(crate) fn run(&mut self) -> RunOutcome {
        match Arc::get_mut(&mut self.0) {
            Some(call) => call.run_mut(),
            None => self.0.run(),
        }
    }

    /// Calls the closure, unless it was cancelled, in this frame, which is its shared context's;
    /// `None` says that the thread's innermost is.
    pub(crate) fn run_in(&self, frame: Option<Frame>) -> RunOutcome {
        self.0.run_in(frame)
    }

    /// Whether it has been neither called nor cancelled.
    pub(crate) fn is_pending(&self) -> bool {
        self.0.is_pending()
    }

    /// Drops the closure and its context, if they are there, and keeps their panics to itself.
    pub(crate) fn abandon(&self) {
        catch(|| {
            self.discard();
        });
    }

    /// Cancels the callback. Returns whether that came in time.
    pub(crate) fn discard(&self) -> bool {
        self.0.discard()
    }
}

/// A closure that any thread may call.
struct PendingWork<F, C: TaskContext>(Mutex<Option<Work<F, C>>>);

impl<F, C: TaskContext> PendingWork<F, C> {
    fn lock(&self) -> MutexGuard<'_, Option<Work<F, C>>> {
        // No user code runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Work<F, C>> {
        self.lock().take()
    }
}

/// Takes a callback out to be run, unless it was cancelled or has to wait.
#[inline]
fn take_to_run<F: FnOnce(), C: TaskContext>(
    slot: &mut Option<Work<F, C>>,
) -> Result<Work<F, C>, RunOutcome> {
    match slot.as_ref().and_then(Work::enter_first) {
        Some(shared) => Err(RunOutcome::Enter(shared)),
        None => slot.take().ok_or(RunOutcome::Cancelled),
    }
}

impl<F, C> Pending for PendingWork<F, C>
where
    F: FnOnce() + Send + 'static,
    C: TaskContext,
{
    fn run(&self) -> RunOutcome {
        let taken = take_to_run(&mut self.lock());
        taken.map_or_else(|ran| ran, Work::run)
    }

    fn run_mut(&mut self) -> RunOutcome {
        let slot = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        take_to_run(slot).map_or_else(|ran| ran, Work::run)
    }

    fn run_in(&self, frame: Option<Frame>) -> RunOutcome {
        let taken = self.take();
        taken.map_or(RunOutcome::Cancelled, |work| work.run_in(frame))
    }

    fn is_pending(&self) -> bool {
        self.lock().is_some()
    }

    fn discard(&self) -> bool {
        self.take().is_some()
    }
}
