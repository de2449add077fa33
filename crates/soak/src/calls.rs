//! Callbacks, timers and blocking jobs.

use std::sync::Arc;
use std::time::Duration;

use aiocontextvars::shim;
use fastrand::Rng;

use crate::contexts;
use crate::handles::{Cancel, CancelOnDrop, Child};
use crate::output::Output;
use crate::tasks::{Nested, chance, rest};
use crate::units::{Facts, Kind, Unit};

/// What a callback or timer does.
pub(crate) fn call(
    unit: Unit,
    mut rng: Rng,
    nested: Option<Nested>,
) -> impl FnOnce() + Send + 'static {
    let bomb = chance(&mut rng, 3).then(|| unit.bomb());
    move || {
        unit.start();
        if chance(&mut rng, 5) {
            unit.panic();
        }
        contexts::run(&unit, &mut rng);
        if let Some(nested) = nested {
            let new = |kind| unit.child(kind);
            match rng.u8(0..4) {
                0 => drop(shim::call_soon(call(new(Kind::Callback), rng.fork(), None))),
                1 => drop(shim::spawn(
                    nested.last_level().body(new(Kind::Task), rng.fork()),
                )),
                _ => {}
            }
        }
        unit.finish();
        drop(bomb);
    }
}

/// Callbacks: some run, some are cancelled, some go with a handle that is dropped in the middle.
pub(crate) async fn soon(unit: &Unit, rng: &mut Rng, nested: Option<Nested>) {
    unit.at("schedules callbacks");
    for _ in 0..rng.u32(1..=3) {
        let callback = unit.child(Kind::Callback);
        let facts = callback.facts.clone();
        let f = call(callback, rng.fork(), nested);
        let handle = if unit.is_local() && rng.bool() {
            shim::call_soon_local(f)
        } else {
            shim::call_soon(f)
        };
        maybe_cancel(unit, rng, handle, &facts).await;
    }
}

/// Timers that are soon due.
pub(crate) async fn later(unit: &Unit, rng: &mut Rng, nested: Option<Nested>) {
    unit.at("schedules a timer");
    let timer = unit.child(Kind::Timer);
    let facts = timer.facts.clone();
    let delay = Duration::from_micros(rng.u64(0..3_000));
    let f = call(timer, rng.fork(), nested);
    let handle = if rng.bool() {
        shim::call_later(delay, f)
    } else {
        shim::call_at(shim::now() + delay, f)
    };
    maybe_cancel(unit, rng, handle, &facts).await;
}

/// A timer that would take very long.
pub(crate) async fn cancelled_later(unit: &Unit, rng: &mut Rng) {
    unit.at("schedules a long timer");
    let timer = unit.child(Kind::Timer);
    let facts = timer.facts.clone();
    let delay = Duration::from_secs(rng.u64(60..60 * 60));
    let handle = shim::call_later(delay, call(timer, rng.fork(), None));
    let cancel = CancelOnDrop { handle, facts };
    rest(unit, rng).await;
    drop(cancel);
}

async fn maybe_cancel(unit: &Unit, rng: &mut Rng, handle: impl Cancel, facts: &Arc<Facts>) {
    if chance(rng, 96) {
        let facts = Arc::clone(facts);
        let cancel = CancelOnDrop { handle, facts };
        if rng.bool() {
            rest(unit, rng).await;
        }
        drop(cancel);
    }
}

/// A callback at the end of a task; some are removed again.
pub(crate) fn at_end(unit: &Unit, child: &Child, rng: &mut Rng) {
    if !chance(rng, 64) {
        return;
    }
    // It runs where it is added, whose executor stays until it has run.
    let callback = unit.child(Kind::Callback);
    let facts = callback.facts.clone();
    let id = child
        .handle
        .add_done_callback(call(callback, rng.fork(), None));
    if chance(rng, 64) {
        facts.excuse();
        if child.handle.remove_done_callback(id) {
            facts.must_be_gone("by its removal");
        }
    }
}

/// A job on a thread that may block: awaited, detached or aborted.
pub(crate) async fn blocking(unit: &Unit, rng: &mut Rng, nested: Nested) {
    let job = unit.child(Kind::Blocking);
    let facts = job.facts.clone();
    let handle = shim::spawn_blocking(blocking_job(job, rng.fork(), nested));
    let child = Child { handle, facts };
    at_end(unit, &child, rng);
    match rng.u8(0..4) {
        0 => return,
        1 => {
            child.facts.excuse();
            child.handle.abort();
        }
        _ => {}
    }
    unit.at("waits for a blocking job");
    child.settle().await;
}

pub(crate) fn blocking_job(
    unit: Unit,
    mut rng: Rng,
    nested: Nested,
) -> impl FnOnce() -> Output + Send + 'static {
    move || {
        unit.start();
        let bomb = chance(&mut rng, 3).then(|| unit.bomb());
        contexts::run(&unit, &mut rng);
        if chance(&mut rng, 8) {
            unit.panic();
        }
        match rng.u8(0..4) {
            0 => {
                let task = unit.child(Kind::Task);
                let facts = task.facts.clone();
                if !unit.round().runtime.is_found_by_jobs() {
                    facts.excuse();
                }
                // The future is dropped where there is no executor.
                match shim::try_spawn(nested.body(task, rng.fork())) {
                    Ok(task) => task.detach(),
                    Err(_) => facts.must_be_gone("without a runtime"),
                }
            }
            1 => {
                shim::bind(|| unit.check("in a bound function"))();
            }
            _ => contexts::nested_block_on(&unit, &mut rng),
        }
        unit.finish();
        drop(bomb);
        unit.output(chance(&mut rng, 8))
    }
}
