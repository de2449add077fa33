//! Units of work, and what is known of them.

use std::fmt::Display;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use aiocontextvars::shim::JoinError;
use slab::Slab;

use crate::ambient::Expected;
use crate::ledger::{Count, LEDGER, Provoked};
use crate::lock::lock;
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
    ambient: Expected,
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

    fn has_started(&self) -> bool {
        self.started.load(Ordering::SeqCst)
    }

    pub(crate) fn may_vanish(&self) -> bool {
        self.excused.load(Ordering::SeqCst) || self.round.has_ended()
    }

    pub(crate) fn describe(&self) -> String {
        let kind = self.kind;
        let request = lock(&self.truth).request;
        let step = *lock(&self.step);
        format!(
            "{}: {kind:?} {} of request {request:?} ({step})",
            self.round.runtime.name(),
            self.number
        )
    }

    pub(crate) fn fault(&self, what: impl Display) {
        LEDGER.fault(|| format!("{} {what}", self.describe()));
    }

    /// A unit of which nothing more is heard must be gone.
    pub(crate) fn must_be_gone(&self, when: &str) {
        if !self.gone.load(Ordering::SeqCst) {
            self.fault(format_args!("has not been dropped {when}"));
        }
    }

    /// Checks what its handle gave.
    pub(crate) fn settle(&self, result: Result<Output, JoinError>) {
        match result.map_err(JoinError::try_into_panic) {
            Ok(mut output) => {
                output.defuse();
                if output.number() != self.number || !self.finished.load(Ordering::SeqCst) {
                    self.fault("gave an output that it did not have");
                }
            }
            Err(Ok(payload)) => match payload.downcast_ref() {
                Some(Provoked(number)) if *number != self.number => {
                    self.fault(format_args!("gave a panic that unit {number} has provoked"));
                }
                // Its own, or one of which the hook has told.
                _ => {}
            },
            Err(Err(_)) if self.may_vanish() => {}
            Err(Err(_)) => {
                LEDGER.count(self.round.runtime, Count::Lost);
                self.fault("was cancelled by nobody");
            }
        }
        self.must_be_gone("when its handle gives its result");
    }
}

/// The units of work that are alive, in shards so that threads seldom wait for one another.
static ALIVE: [Mutex<Slab<Arc<Facts>>>; 16] = [const { Mutex::new(Slab::new()) }; 16];

fn shard(number: u64) -> MutexGuard<'static, Slab<Arc<Facts>>> {
    lock(&ALIVE[number as usize % ALIVE.len()])
}

pub(crate) fn alive() -> Vec<Arc<Facts>> {
    let mut alive = Vec::new();
    for shard in &ALIVE {
        alive.extend(lock(shard).iter().map(|(_, facts)| Arc::clone(facts)));
    }
    alive
}

/// Whether none is alive.
pub(crate) fn are_gone() -> bool {
    ALIVE.iter().all(|shard| lock(shard).is_empty())
}

/// A unit of work. It checks its context wherever it is told to, and in its destructor.
pub(crate) struct Unit {
    pub(crate) facts: Arc<Facts>,
    /// In its shard of those that are alive.
    key: usize,
}

impl Unit {
    /// One that sees at most what is current here beside the context.
    pub(crate) fn new(round: &Arc<Round>, kind: Kind, truth: Truth) -> Unit {
        Unit::with(round, kind, truth, Expected::or_none())
    }

    fn with(round: &Arc<Round>, kind: Kind, truth: Truth, ambient: Expected) -> Unit {
        let number = number();
        let facts = Arc::new(Facts {
            round: Arc::clone(round),
            number,
            kind,
            truth: Mutex::new(truth),
            ambient,
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
        let key = shard(number).insert(Arc::clone(&facts));
        Unit { facts, key }
    }

    /// A unit that is made here, and so has to see what this one sees.
    pub(crate) fn child(&self, kind: Kind) -> Unit {
        Unit::with(self.round(), kind, self.truth(), Expected::here())
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

    pub(crate) fn truth(&self) -> Truth {
        *lock(&self.facts.truth)
    }

    pub(crate) fn set_truth(&self, truth: Truth) {
        *lock(&self.facts.truth) = truth;
    }

    /// Checks what it has inherited, and makes the context its own.
    pub(crate) fn start(&self) {
        self.check("at its start");
        self.facts.started.store(true, Ordering::SeqCst);
        self.at("started");
        let mut truth = lock(&self.facts.truth);
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
        self.facts.ambient.check(|| self.facts.describe(), at);
    }

    /// Notes what it is about to do, for the report of those that hang.
    pub(crate) fn at(&self, step: &'static str) {
        *lock(&self.facts.step) = step;
    }

    pub(crate) fn finish(&self) {
        self.check("at its end");
        self.facts.finished.store(true, Ordering::SeqCst);
    }

    pub(crate) fn panic(&self) -> ! {
        self.facts.provoked.store(true, Ordering::SeqCst);
        panic::panic_any(Provoked(self.facts.number))
    }

    /// What it returns. That of a unit which may be aborted is not dangerous: `JoinSet::shutdown`,
    /// for example, drops the outputs of tasks that have finished in time.
    pub(crate) fn output(&self, dangerous: bool) -> Output {
        Output::new(self.facts.number, dangerous && !self.facts.may_vanish())
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
            facts.fault("was dropped, and nobody had asked for that");
        }
        shard(facts.number).try_remove(self.key);
        facts.gone.store(true, Ordering::SeqCst);
        facts.round.leave();
    }
}
