//! What units of work return or leave behind; some of it panics when it is dropped.

use std::panic;
use std::thread;

use crate::ledger::Provoked;

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
    /// With `dangerous`, it panics when it is dropped by somebody who has not read it.
    pub(crate) fn new(number: u64, dangerous: bool) -> Output {
        Output {
            number,
            bomb: Bomb(dangerous.then_some(number)),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn defuse(&mut self) {
        self.bomb.0 = None;
    }
}
