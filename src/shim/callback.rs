//! Callbacks: what is kept of a scheduled closure, and the handles that cancel it.
//!
//! A queue and a handle share each callback, so that a cancellation takes the closure and its context out at
//! once, from any thread and without the queue.

mod exception;
mod local;

use std::fmt;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Instant;

pub use self::exception::{CallError, set_exception_handler};
#[cfg(feature = "conformance")]
pub(crate) use self::exception::{Handler, replace};
pub(crate) use self::local::empty_trash;

use self::exception::report_panic;
use self::local::Ticket;
use super::entered;
use super::queue::Queue;
use crate::contain::contain;
use crate::context::Context;
use crate::current::{self, Frame, Kind};
use crate::shared::SharedContext;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::task_context::{EnterContext, TaskContext};
use crate::with_context::{ContextExt, WithContext};

/// A callback that waits for its turn: one of the references to it.
#[derive(Clone)]
pub(crate) enum Call {
    /// Any thread may run it.
    Anywhere(Arc<dyn Pending>),
    /// Its closure stays on the thread that scheduled it.
    Here(Arc<Ticket>),
}

/// What is left to do of a callback, until somebody takes it.
pub(crate) trait Pending: Send + Sync {
    fn run(&self) -> Ran;
    /// The same where nobody has a handle any more, which needs no lock.
    fn run_mut(&mut self) -> Ran;
    fn run_in(&self, frame: Option<Frame>) -> Ran;
    fn is_pending(&self) -> bool;
    /// Drops the closure, inside its context, and then the context. Returns whether they were there.
    fn discard(&self) -> bool;
}

/// What came of running a callback.
pub(crate) enum Ran {
    /// It was called. It had been scheduled there.
    Called(&'static Location<'static>),
    /// It had been cancelled.
    Cancelled,
    /// This context has to be entered first.
    Enter(SharedContext),
}

impl Call {
    /// A callback for an executor that has this fixed context, if any.
    #[track_caller]
    pub(crate) fn new<C, F>(context: C, fixed: Option<Arc<Context>>, f: F) -> Call
    where
        C: TaskContext,
        F: FnOnce() + Send + 'static,
    {
        let work = Work::new(context, fixed, f);
        Call::Anywhere(Arc::new(Slot(Mutex::new(Some(work)))))
    }

    /// As [`new`](Call::new), for a closure that stays on this thread.
    #[track_caller]
    pub(crate) fn new_local<C, F>(context: C, fixed: Option<Arc<Context>>, f: F) -> Call
    where
        C: TaskContext,
        F: FnOnce() + 'static,
    {
        Call::Here(Arc::new(Ticket::new(Work::new(context, fixed, f))))
    }

    /// Calls the closure in its context, unless it was cancelled or has to wait for a shared context.
    #[inline]
    pub(crate) fn run(&mut self) -> Ran {
        match self {
            Call::Anywhere(call) => match Arc::get_mut(call) {
                Some(call) => call.run_mut(),
                None => call.run(),
            },
            Call::Here(call) => call.run(),
        }
    }

    /// Calls the closure, unless it was cancelled, in this frame, which is its shared context's; `None` says that the
    /// thread's innermost is.
    pub(crate) fn run_in(&self, frame: Option<Frame>) -> Ran {
        match self {
            Call::Anywhere(call) => call.run_in(frame),
            Call::Here(call) => call.run_in(frame),
        }
    }

    /// Whether it has been neither called nor cancelled.
    pub(crate) fn is_pending(&self) -> bool {
        match self {
            Call::Anywhere(call) => call.is_pending(),
            Call::Here(call) => call.is_pending(),
        }
    }

    /// Drops the closure and its context, if they are there, and keeps their panics to itself.
    pub(crate) fn abandon(&self) {
        contain(|| {
            self.discard();
        });
    }

    /// Cancels the callback. Returns whether that came in time.
    pub(crate) fn discard(&self) -> bool {
        match self {
            Call::Anywhere(call) => call.discard(),
            Call::Here(call) => call.discard(),
        }
    }
}

/// A closure in its context. Dropped, called or not, inside it.
struct Work<F, C: TaskContext> {
    f: WithContext<F, C>,
    /// The context of the fixed executor that it was submitted to. Wrappers of one executor share a queue, whose
    /// driver has a frame of its own.
    fixed: Option<Arc<Context>>,
    location: &'static Location<'static>,
}

impl<F: FnOnce(), C: TaskContext> Work<F, C> {
    #[track_caller]
    fn new<D>(context: D, fixed: Option<Arc<Context>>, f: F) -> Work<F, C>
    where
        D: TaskContext<Owned = C>,
    {
        Work {
            f: f.in_context(context),
            fixed,
            location: Location::caller(),
        }
    }

    /// The shared context that has to be entered first.
    fn enter_first(&self) -> Option<SharedContext> {
        self.f.shared().cloned()
    }

    fn run(self) -> Ran {
        self.run_by(Free)
    }

    fn run_in(self, frame: Option<Frame>) -> Ran {
        self.run_by(Entered(frame))
    }

    #[inline]
    fn run_by(self, by: impl Enter<C::Place>) -> Ran {
        let Work { f, fixed, location } = self;
        // The outer net is for what is dropped when the context and the frame are left.
        let net = panic::catch_unwind(AssertUnwindSafe(|| {
            let _frame = entered::enter_fixed(fixed);
            let (place, f) = f.take_apart();
            by.enter(place, || {
                report_panic(panic::catch_unwind(AssertUnwindSafe(f)), location)
            });
        }));
        if net.is_err() {
            // The context has gone, and what the handler sets must not stay in the one around.
            contain(|| current::enter_empty(|| report_panic(net, location)));
        }
        Ran::Called(location)
    }
}

/// How the context of a callback is entered.
trait Enter<P> {
    fn enter(self, place: P, f: impl FnOnce());
}

/// By the callback.
struct Free;

impl<P: EnterContext> Enter<P> for Free {
    #[inline]
    fn enter(self, mut place: P, f: impl FnOnce()) {
        place.run_last(&Kind::call(), f);
    }
}

/// By the queue, which gives the frame.
struct Entered(Option<Frame>);

impl<P> Enter<P> for Entered {
    fn enter(self, place: P, f: impl FnOnce()) {
        Frame::enter_any(self.0, || {
            // Goes first, as in `Place::run_last`.
            let _place = place;
            f();
        });
    }
}

struct Slot<F, C: TaskContext>(Mutex<Option<Work<F, C>>>);

impl<F, C: TaskContext> Slot<F, C> {
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
) -> Result<Work<F, C>, Ran> {
    match slot.as_ref().and_then(Work::enter_first) {
        Some(shared) => Err(Ran::Enter(shared)),
        None => slot.take().ok_or(Ran::Cancelled),
    }
}

impl<F, C> Pending for Slot<F, C>
where
    F: FnOnce() + Send + 'static,
    C: TaskContext,
{
    fn run(&self) -> Ran {
        let taken = take_to_run(&mut self.lock());
        taken.map_or_else(|ran| ran, Work::run)
    }

    fn run_mut(&mut self) -> Ran {
        let slot = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        take_to_run(slot).map_or_else(|ran| ran, Work::run)
    }

    fn run_in(&self, frame: Option<Frame>) -> Ran {
        let taken = self.take();
        taken.map_or(Ran::Cancelled, |work| work.run_in(frame))
    }

    fn is_pending(&self) -> bool {
        self.lock().is_some()
    }

    fn discard(&self) -> bool {
        self.take().is_some()
    }
}

/// Cancels a callback; made by [`call_soon`](super::call_soon) and its family. Dropping it does not
/// cancel.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// shim::block_on(async {
///     let handle = shim::call_soon(|| unreachable!());
///     handle.cancel();
///     assert!(handle.is_cancelled());
/// });
/// ```
pub struct CallHandle {
    call: Call,
    cancelled: AtomicBool,
}

impl CallHandle {
    pub(crate) fn new(call: Call) -> CallHandle {
        CallHandle {
            call,
            cancelled: AtomicBool::new(false),
        }
    }

    /// Drops the closure and its context at once, so that it will not be called (HD-02). Takes the same time
    /// however many callbacks wait.
    ///
    /// Nothing happens if it has been called, is being called (also by itself), or its executor is gone. If the
    /// destructor of what the closure holds panics, that comes out here, and the callback is cancelled. A closure
    /// that stays on its thread and is cancelled from another is dropped there, at the next turn of a queue.
    pub fn cancel(&self) {
        self.cancel_and(|| ());
    }

    /// Cancels the callback, and calls `then` if that came in time. It did so, too, if the closure's destructor panics.
    fn cancel_and(&self, then: impl FnOnce()) {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| self.call.discard()));
        if !matches!(outcome, Ok(false)) {
            self.cancelled.store(true, Ordering::Release);
            then();
        }
        if let Err(payload) = outcome {
            panic::resume_unwind(payload);
        }
    }

    /// Whether [`cancel`](Self::cancel) came in time.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

impl fmt::Debug for CallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallHandle")
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// Cancels a timer; made by [`call_later`](super::call_later) and its family. Dropping it does not
/// cancel.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aiocontextvars::shim;
///
/// shim::block_on(async {
///     let start = shim::now();
///     let timer = shim::call_later(Duration::from_secs(3600), || unreachable!());
///     assert!(timer.when() >= start + Duration::from_secs(3600));
///     timer.cancel();
/// });
/// ```
pub struct TimerHandle {
    call: CallHandle,
    when: Instant,
    /// Hears of cancellations, so that it can make room.
    queue: Weak<Queue>,
}

impl TimerHandle {
    pub(crate) fn new(call: Call, when: Instant, queue: &Arc<Queue>) -> TimerHandle {
        TimerHandle {
            call: CallHandle::new(call),
            when,
            queue: Arc::downgrade(queue),
        }
    }

    /// As [`CallHandle::cancel`] (HD-03). The room that cancelled timers take in their queue is used again.
    pub fn cancel(&self) {
        self.call.cancel_and(|| {
            if let Some(queue) = self.queue.upgrade() {
                queue.note_cancelled_timer();
            }
        });
    }

    /// As [`CallHandle::is_cancelled`].
    pub fn is_cancelled(&self) -> bool {
        self.call.is_cancelled()
    }

    /// When the callback is due, on the clock of its executor.
    pub fn when(&self) -> Instant {
        self.when
    }
}

impl fmt::Debug for TimerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerHandle")
            .field("when", &self.when)
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
