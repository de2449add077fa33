//! Tasks, on executors of many threads and of one.

use std::pin::Pin;
use std::task::{Context, Poll};

use aiocontextvars::shim::{self, AbortHandle, JoinError};
use futures::channel::oneshot;
use futures::future::BoxFuture;

use super::probes::{
    CAPTURED, Ended, Exit, Gate, OUTSIDE, PANICS, Panics, Probe, Seen, elsewhere, leak,
};
use super::{probes, run};
use crate::executor::{On, Task};
use crate::fixtures::{HeldElsewhere, ID, until};
use crate::harness::boxed;

/// A task in a copy of a context whose value goes with it.
fn start(on: On, probe: &Probe, exit: Exit) -> (Task<Ended>, Gate) {
    let (future, gate) = probes::future(probe, exit, on.stays);
    (probe.captured(|| on.spawn(future)), gate)
}

/// Waits until the task has made its first step, which is all that has happened then.
async fn first_step(probe: &Probe, gate: Gate) -> (Seen, oneshot::Sender<()>) {
    gate.stepped.await.unwrap();
    let seen = Seen {
        body: vec![CAPTURED],
        ..Seen::default()
    };
    probe.check("after the first step", &seen, OUTSIDE);
    (seen, gate.go)
}

fn is_cancelled(outcome: &Result<Ended, JoinError>) -> bool {
    outcome.as_ref().is_err_and(JoinError::is_cancelled)
}

async fn ends(on: On, exit: Exit) {
    let probe = Probe::new();
    let (task, gate) = start(on, &probe, exit);
    if exit == Exit::PanicsFirst {
        gate.stepped.await.unwrap_err();
    } else {
        let (_, go) = first_step(&probe, gate).await;
        go.send(()).unwrap();
    }
    let ended = task.await;
    let mut seen = exit.seen();
    if exit == Exit::PanicsFirst && probe.began_while_made() {
        // It ended there, too, before this context had parted with the value.
        seen.values = vec![Ok(CAPTURED)];
    }
    probe.check("ended", &seen, OUTSIDE);
    exit.check(ended.map_err(JoinError::into_panic));
    seen.outputs += usize::from(exit == Exit::Returns);
    probe.check("its output is dropped", &seen, OUTSIDE);
}

pub(crate) fn exit_a_task_that_returns(on: On) {
    run(on, ends(on, Exit::Returns));
}

pub(crate) fn exit_a_task_that_returns_early(on: On) {
    run(on, ends(on, Exit::ReturnsEarly));
}

pub(crate) fn exit_a_task_that_panics_on_its_first_poll(on: On) {
    run(on, ends(on, Exit::PanicsFirst));
}

pub(crate) fn exit_a_task_that_panics_on_its_second_poll(on: On) {
    run(on, ends(on, Exit::PanicsSecond));
}

/// Aborted before its first poll, which a context that is held elsewhere keeps from coming.
async fn never_polled(on: On) {
    let probe = Probe::new();
    let shared = probe.context().share();
    let held = HeldElsewhere::enter(&shared, || ());
    let (future, gate) = probes::future(&probe, Exit::Returns, on.stays);
    let task = on.spawn_in(&shared, future);
    ID.set(OUTSIDE.unwrap());
    shim::yield_now().await;
    let mut seen = Seen::default();
    probe.check("it waits", &seen, OUTSIDE);
    task.abort();
    assert!(is_cancelled(&task.await));
    seen.dropped.push(CAPTURED);
    probe.check("aborted", &seen, OUTSIDE);
    gate.stepped.await.unwrap_err();
    held.release();
    probe.check("the context is still ours", &seen, OUTSIDE);
    drop(shared);
    // Dropped by hand, in the context of who does it.
    seen.values.push(Ok(OUTSIDE));
    probe.check("the context is dropped", &seen, OUTSIDE);
}

pub(crate) fn exit_a_task_that_is_never_polled(on: On) {
    run(on, never_polled(on));
}

async fn aborted(on: On, abort: fn(AbortHandle)) {
    let probe = Probe::new();
    let (task, gate) = start(on, &probe, Exit::Waits);
    let _ = first_step(&probe, gate).await;
    abort(task.abort_handle());
    assert!(is_cancelled(&task.await));
    let seen = Exit::Waits.seen();
    probe.check("aborted", &seen, OUTSIDE);
}

pub(crate) fn exit_a_task_aborted_while_pending(on: On) {
    run(on, aborted(on, |handle| handle.abort()));
}

pub(crate) fn exit_a_task_aborted_from_another_thread(on: On) {
    run(on, aborted(on, |handle| elsewhere(move || handle.abort())));
}

/// Its last poll may win or lose, but nothing is dropped twice or not at all.
async fn aborts_itself(on: On) {
    let probe = Probe::new();
    let (future, gate) = probes::future(&probe, Exit::Returns, on.stays);
    let (give, own) = oneshot::channel::<AbortHandle>();
    let aborting = boxed(async move {
        let handle = own.await.unwrap();
        let ended = future.await;
        handle.abort();
        ended
    });
    let task = probe.captured(|| on.spawn(aborting));
    give.send(task.abort_handle()).unwrap();
    let (_, go) = first_step(&probe, gate).await;
    go.send(()).unwrap();
    let outcome = task.await;
    assert!(outcome.is_ok() || is_cancelled(&outcome));
    let mut seen = Exit::Returns.seen();
    seen.outputs += usize::from(outcome.is_err());
    // What nobody comes for may go after the handle's answer.
    probe.comes_to(&seen).await;
    probe.check("ended", &seen, OUTSIDE);
    drop(outcome);
    seen.outputs = 1;
    probe.check("its output is dropped", &seen, OUTSIDE);
}

pub(crate) fn exit_a_task_that_aborts_itself(on: On) {
    run(on, aborts_itself(on));
}

async fn finished_first(on: On) {
    let probe = Probe::new();
    let (task, gate) = start(on, &probe, Exit::Returns);
    let (_, go) = first_step(&probe, gate).await;
    go.send(()).unwrap();
    until(|| task.is_finished()).await;
    let mut seen = Exit::Returns.seen();
    probe.check("finished", &seen, OUTSIDE);
    task.abort();
    probe.check("an abort comes too late", &seen, OUTSIDE);
    drop(task);
    seen = Seen {
        outputs: 1,
        ..Exit::Returns.seen()
    };
    probe.check("nobody comes for the output", &seen, OUTSIDE);
}

pub(crate) fn exit_a_task_aborted_when_it_has_finished(on: On) {
    run(on, finished_first(on));
}

async fn handle_goes(on: On, part_with: fn(Task<Ended>), seen: Seen) {
    let probe = Probe::new();
    let (task, gate) = start(on, &probe, Exit::Returns);
    let (_, go) = first_step(&probe, gate).await;
    part_with(task);
    go.send(()).unwrap();
    probe.comes_to(&seen).await;
    probe.check("ended", &seen, OUTSIDE);
}

pub(crate) fn exit_a_task_whose_handle_is_dropped(on: On) {
    let unread = Seen {
        outputs: 1,
        ..Exit::Returns.seen()
    };
    run(on, handle_goes(on, drop, unread.clone()));
}

/// It keeps the output and the context, as anything forgotten keeps what it has, and nothing else.
pub(crate) fn exit_a_task_whose_handle_is_forgotten(on: On) {
    run(on, handle_goes(on, leak, Exit::Returns.seen()));
}

/// For executors that end with their harness: one task waits, and one was never polled.
pub(crate) fn exit_tasks_with_their_executor(on: On) {
    let (pending, fresh) = (Probe::new(), Probe::new());
    let shared = fresh.context().share();
    let held = HeldElsewhere::enter(&shared, || ());
    let harness = on.start();
    ID.set(3);
    let tasks = harness.block_on(async {
        let (task, gate) = start(on, &pending, Exit::Waits);
        let _ = first_step(&pending, gate).await;
        let (future, _) = probes::future(&fresh, Exit::Returns, on.stays);
        [task, on.spawn_in(&shared, future)]
    });
    let mut seen = Seen::default();
    fresh.check("not polled", &seen, Some(3));
    drop(harness);
    seen.dropped.push(CAPTURED);
    fresh.check("the executor has ended", &seen, Some(3));
    pending.check("the executor has ended", &Exit::Waits.seen(), Some(3));
    for task in tasks {
        assert!(is_cancelled(&futures::executor::block_on(task)));
    }
    held.release();
    drop(shared);
    seen.values.push(Ok(Some(3)));
    fresh.check("the context is dropped", &seen, Some(3));
    pending.check("nothing more", &Exit::Waits.seen(), Some(3));
}

/// A future whose own destructor panics.
struct PanicsOnDrop {
    future: BoxFuture<'static, Ended>,
    _panics: Panics,
}

impl Future for PanicsOnDrop {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        self.future.as_mut().poll(cx)
    }
}

/// The other destructors are not skipped.
async fn destructor_panics(on: On, exit: Exit, value: bool) {
    let probe = Probe::new();
    let (future, gate) = probes::future(&probe, exit, on.stays);
    let task = probe.captured(|| {
        if value {
            PANICS.set(Panics);
            let task = on.spawn(future);
            PANICS.unset();
            return task;
        }
        let _panics = Panics;
        on.spawn(PanicsOnDrop { future, _panics })
    });
    let (_, go) = first_step(&probe, gate).await;
    if exit == Exit::Waits {
        task.abort();
    } else {
        go.send(()).unwrap();
    }
    assert!(task.await.is_err());
    let seen = Seen {
        // What has been returned goes with the panic.
        outputs: usize::from(exit == Exit::Returns),
        ..exit.seen()
    };
    probe.check("ended", &seen, OUTSIDE);
    let next: Task<Ended> = on.spawn(async { Err(probes::Early) });
    assert!(next.await.unwrap().is_err());
}

pub(crate) fn exit_a_task_whose_destructor_panics(on: On) {
    run(on, async move {
        for exit in [Exit::Returns, Exit::PanicsSecond, Exit::Waits] {
            destructor_panics(on, exit, false).await;
        }
    });
}

pub(crate) fn exit_a_task_whose_value_panics(on: On) {
    run(on, async move {
        for exit in [Exit::Returns, Exit::PanicsSecond, Exit::Waits] {
            destructor_panics(on, exit, true).await;
        }
    });
}
