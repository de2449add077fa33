//! The work of a round: requests on a new runtime, or on a global one, to one of several ends.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use aiocontextvars::inherit_context;
use aiocontextvars::shim::{self, Executor};
use fastrand::Rng;

use crate::across;
use crate::ambient;
use crate::handles::Child;
use crate::ledger::LEDGER;
use crate::programs;
use crate::round::{Local, Round, Witness};
use crate::runtime::Runtime;
use crate::tasks::chance;
use crate::truth::Truth;
use crate::units::{Kind, Unit};

/// Requests in one round, at most.
const REQUESTS: u32 = 48;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    /// All work comes to its end.
    Drain,
    /// The requests are aborted, and what they have detached comes to its end.
    Abort,
    /// The runtime is dropped in the middle of all.
    Drop,
}

/// The work of one round.
pub(crate) struct Play {
    round: Arc<Round>,
    rng: RefCell<Rng>,
    ending: Ending,
    /// Tasks of others hold their executor weakly.
    published: RefCell<Option<Arc<dyn Executor>>>,
}

impl Play {
    pub(crate) fn new(
        runtime: Runtime,
        rng: &mut Rng,
        local: Local,
        witness: Option<Witness>,
    ) -> Play {
        let ending = match rng.u8(0..4) {
            0 => Ending::Drain,
            1 => Ending::Abort,
            _ => Ending::Drop,
        };
        Play {
            round: Round::new(runtime, local, witness),
            rng: RefCell::new(rng.fork()),
            ending,
            published: RefCell::default(),
        }
    }

    /// Without a drop in the middle: the runtime is global, or does not drop its tasks when it is
    /// dropped.
    pub(crate) fn until_it_is_idle(mut self) -> Play {
        if self.ending == Ending::Drop {
            self.ending = Ending::Drain;
        }
        self
    }

    /// The tasks of other runtimes may have work done on this one.
    pub(crate) fn publish(&self, executor: Arc<dyn Executor>) {
        across::publish(Arc::clone(&executor), &self.round);
        self.published.replace(Some(executor));
    }

    /// The main future of the round.
    pub(crate) async fn run(&self) {
        let rng = &mut self.rng.borrow_mut().fork();
        let at = |step| LEDGER.at(self.round.runtime, step);
        at("spawns requests");
        let mut requests = Vec::new();
        for _ in 0..rng.u32(1..=REQUESTS) {
            requests.push(ambient::around(|| self.request(rng)));
            if rng.bool() {
                shim::yield_now().await;
            }
        }
        let moment = Duration::from_micros(rng.u64(0..10_000));
        match self.ending {
            Ending::Drain => {}
            Ending::Abort => {
                at("sleeps before it aborts its requests");
                shim::sleep(moment).await;
                for request in &requests {
                    request.facts.excuse();
                    request.handle.abort();
                }
            }
            Ending::Drop => {
                at("sleeps before its runtime is dropped");
                shim::sleep(moment).await;
                across::retract(&self.round);
                self.round.end();
                return;
            }
        }
        at("waits for its requests");
        for request in requests {
            request.settle().await;
        }
        across::retract(&self.round);
        at("waits until it is idle");
        while !self.round.is_idle() {
            shim::sleep(Duration::from_millis(1)).await;
        }
        // Whatever comes now comes from callbacks at the end of tasks that others hold.
        self.round.end();
    }

    fn request(&self, rng: &mut Rng) -> Child {
        let truth = Truth::new();
        let unit = Unit::new(&self.round, Kind::Task, truth);
        let facts = Arc::clone(&unit.facts);
        let future = programs::request(unit, rng.fork());
        let mut context = truth.context();
        let handle = if self.round.has_local() && rng.bool() {
            facts.set_local();
            context.run(|| shim::spawn_local(future))
        } else if chance(rng, 128) {
            context.run(|| shim::spawn(future))
        } else {
            shim::spawn_in(context.run(inherit_context), future)
        };
        Child { handle, facts }
    }

    /// Drops the runtime.
    pub(crate) fn end(self, drop_runtime: impl FnOnce()) {
        LEDGER.at(self.round.runtime, "drops its runtime");
        drop_runtime();
        drop(self.published);
    }
}
