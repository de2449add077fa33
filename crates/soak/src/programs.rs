//! The random programs: what a task does, step by step.

use std::time::Duration;

use aiocontextvars::shim;
use fastrand::Rng;

use crate::handles::{Child, Leash};
use crate::tasks::{Body, Nested, chance, leaf, park, parked, rest, spawn_with};
use crate::units::{Kind, Unit};
use crate::{across, calls, contexts, groups, shared, threads};

/// How deep the tasks of a request nest.
const DEPTH: u32 = 3;

/// The body of a request.
pub(crate) fn request(unit: Unit, rng: Rng) -> Body {
    body(unit, rng, Some(Nested::new(body, DEPTH)))
}

/// The body of a task: a few steps, on some of which there are other tasks inside where it has
/// those. Some panic, some leave something behind whose destructor does.
fn body(unit: Unit, mut rng: Rng, nested: Option<Nested>) -> Body {
    Box::pin(async move {
        unit.start();
        let bomb = chance(&mut rng, 3).then(|| unit.bomb());
        for _ in 0..rng.u32(1..=3) {
            step(&unit, &mut rng, nested).await;
            unit.check("after a step");
        }
        unit.at("ends");
        let dangerous = chance(&mut rng, 3);
        unit.finish();
        drop(bomb);
        unit.output(dangerous)
    })
}

async fn step(unit: &Unit, rng: &mut Rng, nested: Option<Nested>) {
    if chance(rng, 5) {
        unit.panic();
    }
    let steps = if nested.is_some() { 24 } else { 10 };
    match (rng.u8(0..steps), nested) {
        (0, _) => rest(unit, rng).await,
        (1, _) => calls::soon(unit, rng, nested).await,
        (2, _) => calls::later(unit, rng, nested).await,
        (3, _) => calls::cancelled_later(unit, rng).await,
        (4, _) => contexts::run(unit, rng),
        (5, _) => contexts::guards(unit, rng, nested).await,
        (6, _) => contexts::scope(unit, rng).await,
        (7, _) => contexts::nested_block_on(unit, rng),
        (8, _) => threads::witness(unit),
        (9, _) | (_, None) => timeout(unit, rng).await,
        // These have other tasks inside.
        (10 | 11, Some(nested)) => join(spawn(unit, rng, nested), unit, rng).await,
        (12, Some(nested)) => drop(spawn(unit, rng, nested)),
        (13 | 14, _) => aborted(unit, rng).await,
        (15, Some(nested)) => calls::blocking(unit, rng, nested).await,
        (16, Some(nested)) => threads::thread(unit, rng, nested).await,
        (17, _) => shared::shared(unit, rng).await,
        (18, Some(nested)) => groups::group(unit, rng, nested).await,
        (19, Some(nested)) => groups::join_set(unit, rng, nested).await,
        (_, Some(nested)) => across::step(unit, rng, nested).await,
    }
}

/// Spawns a task like this one.
fn spawn(unit: &Unit, rng: &mut Rng, nested: Nested) -> Child {
    spawn_with(unit, rng, |task, rng| nested.body(task, rng))
}

/// Waits for a task; sometimes with a callback at its end.
async fn join(task: Child, unit: &Unit, rng: &mut Rng) {
    calls::at_end(unit, &task, rng);
    unit.at("joins a task");
    task.settle().await;
}

/// A task that is aborted: before it starts, or while it waits.
async fn aborted(unit: &Unit, rng: &mut Rng) {
    let child = spawn_with(unit, rng, |task, mut rng| {
        task.facts.excuse();
        if chance(&mut rng, 64) {
            leaf(task, rng)
        } else {
            parked(task, rng)
        }
    });
    let leash = Leash(child.handle.abort_handle());
    calls::at_end(unit, &child, rng);
    if rng.bool() {
        rest(unit, rng).await;
    }
    match rng.u8(0..3) {
        0 => child.handle.abort(),
        1 => drop(leash),
        // By a callback, which may well run on another thread.
        _ => drop(shim::call_soon(move || drop(leash))),
    }
    unit.at("waits for a task that it has aborted");
    child.settle().await;
}

/// A future that is dropped in the middle, inside its context.
async fn timeout(unit: &Unit, rng: &mut Rng) {
    let part = unit.child(Kind::Part);
    let mut inner = rng.fork();
    let limit = Duration::from_micros(rng.u64(0..1_000));
    let future = async move {
        // Not a context of its own.
        part.check("in a future with a time limit");
        if chance(&mut inner, 64) {
            return;
        }
        park(&part, &mut inner).await;
    };
    unit.at("waits for a time limit");
    let _elapsed = shim::timeout(limit, future).await;
}
