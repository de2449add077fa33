//! [`CallHandle`] and [`TimerHandle`]: what cancels a callback.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Weak};

use super::callback::Call;
use super::queue::Queue;
use crate::shim::platform::Instant;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Cancels a callback; made by [`call_soon`](super::call_soon) and its family. Dropping it does not
/// cancel.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim::{self, event_loop::EventLoop};
///
/// // Elsewhere another thread may have called it by then, and nothing is cancelled.
/// EventLoop::new().run_until_complete(async {
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

    /// Drops the closure and its context at once, so that it will not be called. Takes the same
    /// time however many callbacks wait.
    ///
    /// Nothing happens if it has been called, is being called (also from within), or its executor
    /// is gone. If the destructor of what the closure holds panics, that propagates from here, and
    /// the callback is cancelled. A closure that stays on its thread and is cancelled from another
    /// is dropped there, at the next turn of a queue.
    pub fn cancel(&self) {
        self.cancel_and(|| ());
    }

    /// Cancels the callback, and calls `then` if that came in time. It did so, too, if the
    /// closure's destructor panics.
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

    /// As [`CallHandle::cancel`]. The room that cancelled timers take in their queue is used again:
    /// one call in many goes through all of them.
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
