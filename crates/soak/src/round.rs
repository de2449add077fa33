//! A round: what all units of work on one runtime, from its start to its end, have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::runtime::Runtime;

/// The time of one runtime, from its start to its end, or a stretch of a global one's.
pub(crate) struct Round {
    pub(crate) runtime: Runtime,
    /// Which tasks find a local executor.
    local: Local,
    /// Runs a function in a task that the shim did not spawn.
    pub(crate) witness: Option<Witness>,
    alive: AtomicUsize,
    /// From here on, work may vanish.
    ended: AtomicBool,
}

/// Which tasks of a runtime find a local executor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(dead_code, reason = "one is for a runtime behind a feature only")]
pub(crate) enum Local {
    None,
    /// Those that `spawn_local` has spawned.
    Own,
    All,
}

pub(crate) type Witness = Box<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

impl Round {
    pub(crate) fn has_local(&self) -> bool {
        self.local != Local::None
    }

    pub(crate) fn new(runtime: Runtime, local: Local, witness: Option<Witness>) -> Arc<Round> {
        Arc::new(Round {
            runtime,
            local,
            witness,
            alive: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        })
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.alive.load(Ordering::SeqCst) == 0
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    pub(crate) fn local(&self) -> Local {
        self.local
    }

    pub(crate) fn enter(&self) {
        self.alive.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn leave(&self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}
