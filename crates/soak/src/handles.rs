//! Handles of units of work, with what is known of those.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use aiocontextvars::shim::{AbortHandle, CallHandle, JoinHandle, TimerHandle};

use crate::ledger::{LEDGER, is_provoked};
use crate::output::Output;
use crate::units::Facts;

/// A task or job, and what is known of it.
pub(crate) struct Child {
    pub(crate) handle: JoinHandle<Output>,
    pub(crate) facts: Arc<Facts>,
}

impl Child {
    /// Waits for it, and checks what its handle gives.
    pub(crate) async fn settle(self) {
        let result = self.handle.await;
        self.facts.settle(result);
    }
}

/// Aborts a task when its owner goes.
pub(crate) struct Leash(pub(crate) AbortHandle);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) trait Cancel {
    fn cancel(&self);
    fn is_cancelled(&self) -> bool;
}

impl Cancel for CallHandle {
    fn cancel(&self) {
        CallHandle::cancel(self);
    }

    fn is_cancelled(&self) -> bool {
        CallHandle::is_cancelled(self)
    }
}

impl Cancel for TimerHandle {
    fn cancel(&self) {
        TimerHandle::cancel(self);
    }

    fn is_cancelled(&self) -> bool {
        TimerHandle::is_cancelled(self)
    }
}

/// Cancels a callback, also if the task that has scheduled it is dropped.
pub(crate) struct CancelOnDrop<H: Cancel> {
    pub(crate) handle: H,
    pub(crate) facts: Arc<Facts>,
}

impl<H: Cancel> Drop for CancelOnDrop<H> {
    fn drop(&mut self) {
        self.facts.excuse();
        // What the closure's destructor panics with comes out of `cancel`.
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| self.handle.cancel()));
        if outcome.is_err_and(|payload| !is_provoked(&*payload)) {
            LEDGER.fault(|| format!("cancelling {} panicked", self.facts.describe()));
        }
        if self.handle.is_cancelled() {
            self.facts.must_be_gone("by its cancellation");
        }
    }
}
