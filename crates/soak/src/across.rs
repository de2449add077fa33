//! Work that one runtime's tasks have done on another.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aiocontextvars::shim::{ContextAwareExecutor, Executor};
use fastrand::Rng;
use futures::task::SpawnExt;

use crate::calls;
use crate::handles::{CancelOnDrop, Child, Leash};
use crate::lock::lock;
use crate::round::Round;
use crate::tasks::{Nested, leaf, parked, rest};
use crate::truth::Truth;
use crate::units::{Kind, Unit};

pub(crate) type AnyExecutor = ContextAwareExecutor<Arc<dyn Executor>>;

/// The executors that can be reached now.
static BOARD: Mutex<Vec<(AnyExecutor, Arc<Round>)>> = Mutex::new(Vec::new());

fn board() -> MutexGuard<'static, Vec<(AnyExecutor, Arc<Round>)>> {
    lock(&BOARD)
}

/// Others may have work done on `executor`.
pub(crate) fn publish(executor: Arc<dyn Executor>, round: &Arc<Round>) {
    board().push((ContextAwareExecutor::new(executor), Arc::clone(round)));
}

/// Nobody finds the round's executor any more. What was found before is alive in the round.
pub(crate) fn retract(round: &Arc<Round>) {
    let retracted = {
        let mut board = board();
        let index = board
            .iter()
            .position(|(_, other)| Arc::ptr_eq(other, round));
        index.map(|index| board.swap_remove(index))
    };
    // Perhaps the last reference to the executor.
    drop(retracted);
}

/// A random executor, and a new unit of work for it.
fn pick(rng: &mut Rng, kind: Kind, truth: Truth) -> Option<(AnyExecutor, Unit)> {
    let board = board();
    let index = rng.usize(..board.len().max(1));
    let (executor, round) = board.get(index)?;
    Some((executor.clone(), Unit::new(round, kind, truth)))
}

pub(crate) async fn step(unit: &Unit, rng: &mut Rng, nested: Nested) {
    let choice = rng.u8(0..9);
    let kind = match choice {
        0..=5 => Kind::Task,
        6 => Kind::Callback,
        7 => Kind::Timer,
        _ => Kind::Blocking,
    };
    let truth = if choice == 5 {
        Truth::new()
    } else {
        unit.truth()
    };
    let Some((executor, work)) = pick(rng, kind, truth) else {
        return;
    };
    unit.at("has work done on another runtime");
    let facts = Arc::clone(&work.facts);
    let inner = rng.fork();
    // The executor may be dropped here, in the middle of its work, if this is the last reference.
    match choice {
        0 | 1 => {
            let handle = executor.spawn(nested.body(work, inner));
            drop(executor);
            let child = Child { handle, facts };
            calls::at_end(unit, &child, rng);
            unit.at("waits for a task on another runtime");
            child.settle().await;
        }
        2 => {
            // As `futures` spawns.
            facts.excuse();
            drop(executor.spawn_with_handle(leaf(work, inner)));
        }
        3 | 4 => {
            facts.excuse();
            let handle = executor.spawn(parked(work, inner));
            drop(executor);
            let leash = Leash(handle.abort_handle());
            let child = Child { handle, facts };
            calls::at_end(unit, &child, rng);
            rest(unit, rng).await;
            drop(leash);
            unit.at("waits for a task that it has aborted on another runtime");
            child.settle().await;
        }
        5 => {
            let fixed = ContextAwareExecutor::fixed(executor.into_inner(), truth.context());
            let handle = fixed.spawn(leaf(work, inner));
            drop(fixed);
            unit.at("waits for a task in a fixed context on another runtime");
            Child { handle, facts }.settle().await;
        }
        6 => {
            let handle = executor.call_soon(calls::call(work, inner, None));
            drop(executor);
            if rng.bool() {
                rest(unit, rng).await;
                drop(CancelOnDrop { handle, facts });
            }
        }
        7 => {
            let delay = Duration::from_micros(rng.u64(0..3_000));
            let handle = executor.call_later(delay, calls::call(work, inner, None));
            drop(executor);
            if rng.bool() {
                rest(unit, rng).await;
                drop(CancelOnDrop { handle, facts });
            }
        }
        _ => {
            let handle =
                executor.spawn_blocking(calls::blocking_job(work, inner, nested.last_level()));
            drop(executor);
            unit.at("waits for a blocking job on another runtime");
            Child { handle, facts }.settle().await;
        }
    }
}
