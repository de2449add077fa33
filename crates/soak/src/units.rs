//! Units of work, and what is known of them.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use aiocontextvars::shim::JoinError;

use crate::ambient;
use crate::ledger::{Count, LEDGER, Place, Provoked};
use crate::output::{Bomb, Output};
use crate::round::{Local, Round};
use crate::truth::{Truth, UNIT, number};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Task,
    /// A future or a function inside another unit.
    Part,
    Callback,
    Timer,
    Blocking,
    Thread,
    ThreadExit,
}

/// What is known of a unit of work, also to others.
pub(crate) struct Facts {
    pub(crate) round: Arc<Round>,
    pub(crate) number: u64,
    kind: Kind,
    truth: Mutex<Truth>,
    /// What was current beside the context where it was made.
    ambient: Option<u64>,
    step: Mutex<&'static str>,
    started: AtomicBool,
    finished: AtomicBool,
    /// A panic may come of it.
    provoked: AtomicBool,
    /// Somebody has aborted or cancelled it, or may.
    excused: AtomicBool,
    gone: AtomicBool,
    local: AtomicBool,
}

impl Facts {
    /// It is going to be spawned on a local executor.
    pub(crate) fn set_local(&self) {
        self.local.store(true, Ordering::SeqCst);
    }

    pub(crate) fn excuse(&self) {
        self.excused.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_started(&self) -> bool {
        self.started.load(Ordering::SeqCst)
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    pub(crate) fn may_vanish(&self) -> bool {
        self.excused.load(Ordering::SeqCst) || self.round.has_ended()
    }

    pub(crate) fn describe(&self) -> String {
        let kind = self.kind;
        let request = self
            .truth
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .request;
        let step = *self.step.lock().unwrap_or_else(PoisonError::into_inner);
        format!(
            "{}: {kind:?} {} of request {request:?} ({step})",
            self.round.runtime.name(),
            self.number
        )
    }

    /// A unit of which nothing more is heard must be gone.
    pub(crate) fn must_be_gone(&self, when: &str) {
        if !self.is_gone() {
            LEDGER.fault(|| format!("{} has not been dropped {when}", self.describe()));
        }
    }

    /// Checks what its handle gave.
    pub(crate) fn settle(&self, result: Result<Output, JoinError>) {
        match result {
            Ok(mut output) => {
                output.defuse();
                if output.number() != self.number || !self.finished.load(Ordering::SeqCst) {
                    LEDGER.fault(|| {
                        format!("{} gave an output that it did not have", self.describe())
                    });
                }
            }
            Err(error) => self.settle_error(error),
        }
        self.must_be_gone("when its handle gives its result");
    }

    pub(crate) fn settle_error(&self, error: JoinError) {
        match error.try_into_panic() {
            Ok(payload) => match payload.downcast_ref() {
                Some(Provoked(number)) if *number == self.number => {}
                Some(Provoked(number)) => LEDGER.fault(|| {
                    format!(
                        "{} gave a panic that unit {number} has provoked",
                        self.describe()
                    )
                }),
                // Of which the hook has told.
                None => {}
            },
            Err(_) if self.may_vanish() => {}
            Err(_) => {
                LEDGER.count(self.round.runtime, Count::Lost);
                LEDGER.fault(|| format!("{} was cancelled by nobody", self.describe()));
            }
        }
    }
}

/// A unit of work. It checks its context wherever it is told to, and in its destructor.
pub(crate) struct Unit {
    pub(crate) facts: Arc<Facts>,
    place: Place,
}

impl Unit {
    pub(crate) fn new(round: &Arc<Round>, kind: Kind, truth: Truth) -> Unit {
        let number = number();
        let facts = Arc::new(Facts {
            round: Arc::clone(round),
            number,
            kind,
            truth: Mutex::new(truth),
            ambient: ambient::current(),
            step: Mutex::new("not started"),
            started: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            provoked: AtomicBool::new(false),
            excused: AtomicBool::new(matches!(kind, Kind::Part | Kind::ThreadExit)),
            gone: AtomicBool::new(false),
            local: AtomicBool::new(round.local() == Local::All),
        });
        round.enter();
        if kind == Kind::Task {
            LEDGER.count(round.runtime, Count::Spawned);
        }
        Unit {
            place: LEDGER.enter(number, Arc::clone(&facts)),
            facts,
        }
    }

    /// A unit that is made here, and so has to see what this one sees.
    pub(crate) fn child(&self, kind: Kind) -> Unit {
        self.child_of(kind, self.truth())
    }

    pub(crate) fn child_of(&self, kind: Kind, truth: Truth) -> Unit {
        Unit::new(self.round(), kind, truth)
    }

    pub(crate) fn round(&self) -> &Arc<Round> {
        &self.facts.round
    }

    /// Whether it finds a local executor.
    pub(crate) fn is_local(&self) -> bool {
        self.facts.local.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Truth> {
        self.facts
            .truth
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn truth(&self) -> Truth {
        *self.lock()
    }

    pub(crate) fn set_truth(&self, truth: Truth) {
        *self.lock() = truth;
    }

    /// Checks what it has inherited, and makes the context its own.
    pub(crate) fn start(&self) {
        self.check("at its start");
        self.facts.started.store(true, Ordering::SeqCst);
        self.at("started");
        let mut truth = self.lock();
        if truth.unit.is_some() {
            UNIT.set(self.facts.number);
            truth.unit = Some(Some(self.facts.number));
        }
        drop(truth);
        let count = match self.facts.kind {
            Kind::Callback => Count::Callbacks,
            Kind::Timer => Count::Timers,
            Kind::Blocking => Count::Blocking,
            Kind::Thread => Count::Threads,
            Kind::Task | Kind::Part | Kind::ThreadExit => return,
        };
        LEDGER.count(self.round().runtime, count);
    }

    pub(crate) fn check(&self, at: &str) {
        self.truth()
            .check(self.round().runtime, || self.facts.describe(), at);
        ambient::check(self.facts.ambient, || self.facts.describe(), at);
    }

    /// Notes what it is about to do, for the report of those that hang.
    pub(crate) fn at(&self, step: &'static str) {
        *self
            .facts
            .step
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = step;
    }

    pub(crate) fn finish(&self) {
        self.check("at its end");
        self.facts.finished.store(true, Ordering::SeqCst);
    }

    pub(crate) fn panic(&self) -> ! {
        self.facts.provoked.store(true, Ordering::SeqCst);
        panic::panic_any(Provoked(self.facts.number))
    }

    /// Something that panics when it is dropped.
    pub(crate) fn bomb(&self) -> Bomb {
        self.facts.provoked.store(true, Ordering::SeqCst);
        Bomb::new(self.facts.number)
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.check("in its destructor");
        let facts = &*self.facts;
        let runtime = facts.round.runtime;
        let finished = facts.finished.load(Ordering::SeqCst);
        let panicked = thread::panicking() || facts.provoked.load(Ordering::SeqCst) && !finished;
        let count = match facts.kind {
            Kind::Task if finished => Some(Count::Finished),
            _ if panicked && facts.has_started() => Some(Count::Panicked),
            Kind::Task => Some(Count::Aborted),
            Kind::Callback | Kind::Timer | Kind::Blocking if !facts.has_started() => {
                Some(Count::Cancelled)
            }
            _ => None,
        };
        if let Some(count) = count {
            LEDGER.count(runtime, count);
        }
        if !finished && !panicked && !facts.may_vanish() {
            LEDGER.count(runtime, Count::Lost);
            LEDGER.fault(|| {
                format!(
                    "{} was dropped, and nobody had asked for that",
                    facts.describe()
                )
            });
        }
        LEDGER.leave(&self.place);
        facts.gone.store(true, Ordering::SeqCst);
        facts.round.leave();
    }
}
