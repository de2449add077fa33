//! What units of work return, and their handles.

use std::panic;
use std::sync::Arc;
use std::thread;

use aiocontextvars::shim::{AbortHandle, JoinHandle};

use crate::ledger::Provoked;
use crate::units::{Facts, Unit};

/// Panics when it is dropped, unless it is defused.
pub(crate) struct Bomb(Option<u64>);

impl Bomb {
    pub(crate) fn new(number: u64) -> Bomb {
        Bomb(Some(number))
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        // A second panic would end the process, in any program.
        if let (Some(number), false) = (self.0, thread::panicking()) {
            panic::panic_any(Provoked(number));
        }
    }
}

/// What a unit of work returns.
pub(crate) struct Output {
    number: u64,
    bomb: Bomb,
}

impl Output {
    /// With `dangerous`, it panics when it is dropped by somebody who has not read it. Not that of
    /// a unit which may be aborted: `JoinSet::shutdown`, for example, drops the outputs of tasks
    /// that have finished in time.
    pub(crate) fn new(unit: &Unit, dangerous: bool) -> Output {
        let dangerous = dangerous && !unit.facts.may_vanish();
        Output {
            number: unit.facts.number,
            bomb: Bomb(dangerous.then_some(unit.facts.number)),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn defuse(&mut self) {
        self.bomb.0 = None;
    }
}

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
