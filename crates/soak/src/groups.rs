//! Tasks that are awaited together.

use std::sync::Arc;

use aiocontextvars::shim::{JoinSet, TaskFailure, TaskGroup};
use fastrand::Rng;

use crate::ledger::LEDGER;
use crate::output::Output;
use crate::tasks::{Nested, chance, leaf, rest};
use crate::units::{Facts, Kind, Unit};

/// Why a task of a group fails, on purpose.
struct Failed;

/// A member: aborted whenever another one fails.
fn member(unit: &Unit, members: &mut Vec<Arc<Facts>>) -> Unit {
    let member = unit.child(Kind::Task);
    member.facts.excuse();
    members.push(Arc::clone(&member.facts));
    member
}

/// Whether a member is to be spawned on the local executor.
fn stays(unit: &Unit, member: &Unit, rng: &mut Rng) -> bool {
    let stays = unit.is_local() && rng.bool();
    if stays {
        member.facts.set_local();
    }
    stays
}

pub(crate) async fn group(unit: &Unit, rng: &mut Rng, nested: Nested) {
    let mut members = Vec::new();
    let (inner, known) = (&mut *rng, &mut members);
    unit.at("waits for a group");
    let outcome = TaskGroup::scope(|group| async move {
        for _ in 0..inner.u32(1..=4) {
            let task = member(unit, known);
            let is_local = stays(unit, &task, inner);
            let task = nested.body(task, inner.fork());
            let fails = chance(inner, 32);
            let task = async move {
                let output = task.await;
                if fails { Err(Failed) } else { Ok(output) }
            };
            if is_local {
                drop(group.spawn_local(task));
            } else {
                drop(group.spawn(task));
            }
        }
        rest(unit, inner).await;
        if chance(inner, 32) {
            Err(Failed)
        } else {
            Ok(())
        }
    });
    if let Err(error) = outcome.await {
        for failure in error.into_failures() {
            if matches!(&failure, TaskFailure::Panic(error) if !error.is_panic()) {
                LEDGER.fault(|| format!("{}: a group's failure is none", unit.facts.describe()));
            }
        }
    }
    members
        .iter()
        .for_each(|member| member.must_be_gone("when its group is left"));
}

pub(crate) async fn join_set(unit: &Unit, rng: &mut Rng, nested: Nested) {
    let mut members = Vec::new();
    let mut set = JoinSet::new();
    for _ in 0..rng.u32(1..=4) {
        let task = member(unit, &mut members);
        let is_local = stays(unit, &task, rng);
        let task = if rng.bool() {
            leaf(task, rng.fork())
        } else {
            nested.body(task, rng.fork())
        };
        if is_local {
            set.spawn_local(task);
        } else {
            set.spawn(task);
        }
    }
    unit.at("works with a join set");
    rest(unit, rng).await;
    match rng.u8(0..4) {
        0 => drop(set),
        1 => set.detach_all(),
        2 => {
            join_next(&members, &mut set).await;
            set.shutdown().await;
            members
                .iter()
                .for_each(|member| member.must_be_gone("when its set is shut down"));
        }
        _ => {
            while join_next(&members, &mut set).await {}
            members
                .iter()
                .for_each(|member| member.must_be_gone("when its set is empty"));
        }
    }
}

async fn join_next(members: &[Arc<Facts>], set: &mut JoinSet<Output>) -> bool {
    let Some(result) = set.join_next().await else {
        return false;
    };
    // An error does not say whose it is.
    let member = match &result {
        Ok(output) => members
            .iter()
            .find(|member| member.number == output.number()),
        Err(_) => None,
    };
    match (member, result) {
        (Some(member), result) => member.settle(result),
        (None, Ok(mut output)) => {
            output.defuse();
            LEDGER.fault(|| "a join set gave an output of somebody else".to_owned());
        }
        // A panic that nobody has provoked has been told by the hook.
        (None, Err(_)) => {}
    }
    true
}
