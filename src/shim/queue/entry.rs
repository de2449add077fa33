//! [`Entry`]: what waits in a queue.

use crate::catch::catch;
use crate::shim::callback::Call;
use crate::shim::task_list::{ListedId, Step};

/// One turn of something in the queue.
pub(crate) enum Entry {
    Call(Call),
    /// A call for this shared context, which was entered elsewhere when the call's turn came.
    Parked(usize),
    /// A step of a task of the event loop, or its abort.
    Step(async_task::Runnable<Step>),
    Abort(ListedId),
    /// A runnable that the event loop was handed.
    Runnable(async_task::Runnable),
    /// The event loop's main future.
    Main,
}

impl Entry {
    /// Drops the work that it stands for. A handle may stay.
    pub(super) fn discard(self) {
        match self {
            Entry::Call(call) => call.abandon(),
            entry => catch(|| drop(entry)),
        }
    }
}
