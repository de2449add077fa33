//! Units of work that share a context.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aiocontextvars::{SharedContext, context_var, shim};
use fastrand::Rng;
use futures::channel::oneshot;

use crate::handles::Child;
use crate::ledger::LEDGER;
use crate::output::Output;
use crate::tasks::{chance, rest};
use crate::threads::Permit;
use crate::truth::{Truth, UNIT};
use crate::units::{Kind, Unit};

context_var! {
    /// How often the units that share a context have been at work in it.
    static TURNS: u64 = 0;
}

/// Tasks, callbacks, jobs and threads that share one context, one at a time.
pub(crate) async fn shared(unit: &Unit, rng: &mut Rng) {
    let truth = Truth::new().shared();
    let shared = truth.context().share();
    let turns = Arc::new(AtomicU64::new(0));
    let mut children = Vec::new();
    let mut waits = Vec::new();
    for _ in 0..rng.u32(2..=5) {
        let turn = Turn {
            turns: Arc::clone(&turns),
        };
        let kind = rng.u8(0..8);
        let new = |kind| unit.child_of(kind, truth);
        match kind {
            0..=3 => {
                let task = new(Kind::Task);
                let facts = task.facts.clone();
                let handle = shim::spawn_in(&shared, sharing(task, turn, rng.fork()));
                children.push(Child { handle, facts });
            }
            4 | 5 => {
                let callback = new(Kind::Callback);
                let (done, wait) = oneshot::channel::<()>();
                shim::call_soon_in(&shared, move || {
                    let _done = done;
                    callback.start();
                    turn.take();
                    callback.finish();
                });
                waits.push(wait);
            }
            6 => {
                let job = new(Kind::Blocking);
                let facts = job.facts.clone();
                let handle = shim::spawn_blocking_in(&shared, move || {
                    job.start();
                    turn.take();
                    job.finish();
                    job.output(false)
                });
                children.push(Child { handle, facts });
            }
            _ => {
                let Some(permit) = Permit::take() else {
                    continue;
                };
                let thread = new(Kind::Thread);
                let (done, wait) = oneshot::channel::<()>();
                let body = move || {
                    let _done = (done, permit);
                    thread.start();
                    turn.take();
                    thread.finish();
                };
                drop(shim::thread::Builder::new().spawn_in(&shared, body));
                waits.push(wait);
            }
        }
    }
    look_in(unit, &shared, truth);
    unit.at("waits for units that share a context");
    for child in children {
        child.settle().await;
    }
    for wait in waits {
        // Whether sent or dropped.
        let _done = wait.await;
    }
    let (seen, taken) = (
        shared.get(&TURNS).unwrap_or_default(),
        turns.load(Ordering::SeqCst),
    );
    if seen != taken {
        LEDGER.fault(|| {
            let who = unit.facts.describe();
            format!("{who}: {taken} turns in a shared context, of which {seen} are left")
        });
    }
}

/// A unit's writes in a context that others write to.
struct Turn {
    turns: Arc<AtomicU64>,
}

impl Turn {
    fn take(&self) {
        let before = TURNS.get();
        TURNS.set(before + 1);
        self.turns.fetch_add(1, Ordering::SeqCst);
    }
}

async fn sharing(unit: Unit, turn: Turn, mut rng: Rng) -> Output {
    unit.start();
    for _ in 0..rng.u32(1..=3) {
        turn.take();
        rest(&unit, &mut rng).await;
    }
    if chance(&mut rng, 8) {
        unit.panic();
    }
    unit.finish();
    unit.output(false)
}

/// The context from outside, while it may be entered elsewhere.
fn look_in(unit: &Unit, shared: &SharedContext, truth: Truth) {
    let part = unit.child_of(Kind::Part, truth);
    shared.copy().run(|| {
        part.start();
        drop(part);
    });
    let part = unit.child_of(Kind::Part, truth);
    let part = &part;
    if shared.run(|| part.check("in a shared context")).is_ok() && shared.contains(&UNIT) {
        LEDGER.fault(|| {
            format!(
                "{}: somebody else's unit is in a shared context",
                unit.facts.describe()
            )
        });
    }
    // Dropped out here.
    part.set_truth(unit.truth());
    unit.check("after it has looked into a shared context");
}
