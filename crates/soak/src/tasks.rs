//! Tasks without others in them, how a task is spawned, and what one with others is handed.

use std::future;
use std::time::Duration;

use aiocontextvars::shim;
use fastrand::Rng;
use futures::future::BoxFuture;

use crate::ambient;
use crate::handles::Child;
use crate::output::Output;
use crate::units::{Kind, Unit};

/// What a task is spawned with.
pub(crate) type Body = BoxFuture<'static, Output>;

/// The programs of the tasks inside a unit of work. They are handed down, so that what spawns tasks
/// need not know them.
#[derive(Clone, Copy)]
pub(crate) struct Nested {
    body: fn(Unit, Rng, Option<Nested>) -> Body,
    /// How many tasks may be inside one another: at least one.
    depth: u32,
}

impl Nested {
    pub(crate) fn new(body: fn(Unit, Rng, Option<Nested>) -> Body, depth: u32) -> Nested {
        Nested { body, depth }
    }

    /// The body of a task, which has others inside unless this is the last level.
    pub(crate) fn body(self, unit: Unit, rng: Rng) -> Body {
        let depth = self.depth - 1;
        (self.body)(unit, rng, (depth > 0).then_some(Nested { depth, ..self }))
    }

    /// For tasks with no others inside.
    pub(crate) fn last_level(self) -> Nested {
        Nested { depth: 1, ..self }
    }
}

/// True in `of` cases of 256.
pub(crate) fn chance(rng: &mut Rng, of: u8) -> bool {
    rng.u8(..) < of
}

/// The body of a task without others.
pub(crate) fn leaf(unit: Unit, mut rng: Rng) -> Body {
    Box::pin(async move {
        unit.start();
        rest(&unit, &mut rng).await;
        unit.finish();
        unit.output(false)
    })
}

/// The body of a task that waits until it is aborted.
pub(crate) fn parked(unit: Unit, mut rng: Rng) -> Body {
    Box::pin(async move {
        unit.start();
        let _bomb = chance(&mut rng, 16).then(|| unit.bomb());
        park(&unit, &mut rng).await;
        unit.output(false)
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

/// Spawns a task on the current executor, or on the local one where there is one.
pub(crate) fn spawn_with(
    unit: &Unit,
    rng: &mut Rng,
    body: impl FnOnce(Unit, Rng) -> Body,
) -> Child {
    let in_new_ambient = chance(rng, 64);
    let spawn = || {
        let task = unit.child(Kind::Task);
        let facts = task.facts.clone();
        let future = body(task, rng.fork());
        let handle = if unit.is_local() && rng.bool() {
            facts.set_local();
            shim::spawn_local(future)
        } else {
            shim::spawn(future)
        };
        Child { handle, facts }
    };
    if in_new_ambient {
        ambient::around(spawn)
    } else {
        spawn()
    }
}
