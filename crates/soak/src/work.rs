//! The random programs: what a task does, step by step.

use std::future;
use std::time::Duration;

use aiocontextvars::shim;
use fastrand::Rng;
use futures::future::BoxFuture;

use crate::output::{Child, Leash, Output};
use crate::units::{Kind, Unit};
use crate::{across, ambient, calls, contexts, groups, threads};

/// True in `of` cases of 256.
pub(crate) fn chance(rng: &mut Rng, of: u8) -> bool {
    rng.u8(..) < of
}

/// The body of a task: a few steps, among them other units of work as deep as `depth`. Some panic,
/// some leave something behind whose destructor does.
pub(crate) fn body(unit: Unit, mut rng: Rng, depth: u32) -> BoxFuture<'static, Output> {
    Box::pin(async move {
        unit.start();
        let bomb = chance(&mut rng, 3).then(|| unit.bomb());
        for _ in 0..rng.u32(1..=3) {
            step(&unit, &mut rng, depth).await;
            unit.check("after a step");
        }
        unit.at("ends");
        let dangerous = chance(&mut rng, 3);
        unit.finish();
        drop(bomb);
        Output::new(&unit, dangerous)
    })
}

/// The body of a task without others.
pub(crate) fn leaf(unit: Unit, mut rng: Rng) -> BoxFuture<'static, Output> {
    Box::pin(async move {
        unit.start();
        rest(&unit, &mut rng).await;
        unit.finish();
        Output::new(&unit, false)
    })
}

/// The body of a task that waits until it is aborted.
pub(crate) fn parked(unit: Unit, mut rng: Rng) -> BoxFuture<'static, Output> {
    Box::pin(async move {
        unit.start();
        let _bomb = chance(&mut rng, 16).then(|| unit.bomb());
        park(&unit, &mut rng).await;
        Output::new(&unit, false)
    })
}

/// Never ends, and waits in one of several ways.
pub(crate) async fn park(unit: &Unit, rng: &mut Rng) {
    const LONG: Duration = Duration::from_secs(60 * 60);
    unit.at("is parked");
    match rng.u8(0..3) {
        0 => future::pending().await,
        1 => shim::sleep(LONG).await,
        _ => drop(shim::timeout(LONG, future::pending::<()>()).await),
    }
}

/// Lets others run for a moment.
pub(crate) async fn rest(unit: &Unit, rng: &mut Rng) {
    unit.at("rests");
    if rng.bool() {
        for _ in 0..rng.u32(0..=3) {
            shim::yield_now().await;
            unit.check("after a yield");
        }
    } else {
        shim::sleep(Duration::from_micros(rng.u64(0..2_000))).await;
        unit.check("after a sleep");
    }
}

async fn step(unit: &Unit, rng: &mut Rng, depth: u32) {
    if chance(rng, 5) {
        unit.panic();
    }
    // The last ones have children.
    let steps = if depth == 0 { 10 } else { 24 };
    match rng.u8(0..steps) {
        0 => rest(unit, rng).await,
        1 => calls::soon(unit, rng, depth).await,
        2 => calls::later(unit, rng, depth).await,
        3 => calls::cancelled_later(unit, rng).await,
        4 => contexts::run(unit, rng),
        5 => contexts::guards(unit, rng, depth).await,
        6 => contexts::scope(unit, rng).await,
        7 => contexts::nested_block_on(unit, rng),
        8 => threads::witness(unit),
        9 => timeout(unit, rng).await,
        10 | 11 => spawn(unit, rng, depth).join(unit, rng).await,
        12 => drop(spawn(unit, rng, depth)),
        13 | 14 => aborted(unit, rng).await,
        15 => calls::blocking(unit, rng, depth).await,
        16 => threads::thread(unit, rng, depth).await,
        17 => contexts::shared(unit, rng).await,
        18 => groups::group(unit, rng, depth).await,
        19 => groups::join_set(unit, rng, depth).await,
        _ => across::step(unit, rng, depth).await,
    }
}

/// Spawns a task like this one.
fn spawn(unit: &Unit, rng: &mut Rng, depth: u32) -> Child {
    spawn_with(unit, rng, |task, rng| {
        body(task, rng, depth.saturating_sub(1))
    })
}

/// Spawns a task on the current executor, or on the local one where there is one.
pub(crate) fn spawn_with(
    unit: &Unit,
    rng: &mut Rng,
    future: impl FnOnce(Unit, Rng) -> BoxFuture<'static, Output>,
) -> Child {
    match chance(rng, 64) {
        true => ambient::around(|| spawn_here(unit, rng, future)),
        false => spawn_here(unit, rng, future),
    }
}

fn spawn_here(
    unit: &Unit,
    rng: &mut Rng,
    future: impl FnOnce(Unit, Rng) -> BoxFuture<'static, Output>,
) -> Child {
    let task = unit.child(Kind::Task);
    let facts = task.facts.clone();
    let future = future(task, rng.fork());
    let handle = if unit.is_local() && rng.bool() {
        facts.set_local();
        shim::spawn_local(future)
    } else {
        shim::spawn(future)
    };
    Child { handle, facts }
}

impl Child {
    /// Waits for the task; sometimes with a callback at its end.
    async fn join(self, unit: &Unit, rng: &mut Rng) {
        calls::at_end(unit, &self, rng);
        unit.at("joins a task");
        Child::settle(self).await;
    }
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
