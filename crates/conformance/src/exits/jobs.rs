//! Blocking jobs.

use std::sync::mpsc;

use aiocontextvars::shim::{self, JoinError, JoinHandle};
use futures::channel::oneshot;

use super::probes::{self, CAPTURED, Ended, Exit, OUTSIDE, Probe, Seen, leak};
use super::run;
use crate::executor::On;
use crate::fixtures::{HeldElsewhere, ID};

type Job = JoinHandle<Ended>;

fn start(probe: &Probe, exit: Exit) -> Job {
    let function = probes::function(probe, exit, false);
    probe.captured(|| shim::spawn_blocking(function))
}

/// A job that has started, and goes on when what is returned says so.
async fn under_way(probe: &Probe) -> (Job, mpsc::Sender<()>) {
    let function = probes::function(probe, Exit::Returns, false);
    let (starts, started) = oneshot::channel();
    let (go, going) = mpsc::channel();
    let job = probe.captured(|| {
        shim::spawn_blocking(move || {
            starts.send(()).unwrap();
            going.recv().unwrap();
            function()
        })
    });
    started.await.unwrap();
    probe.check("under way", &Seen::default(), OUTSIDE);
    (job, go)
}

fn returned(outputs: usize) -> Seen {
    Seen {
        outputs,
        ..Exit::Returns.seen()
    }
}

async fn ends(exit: Exit) {
    let probe = Probe::new();
    let ended = start(&probe, exit).await;
    let mut seen = exit.seen();
    probe.check("ended", &seen, OUTSIDE);
    exit.check(ended.map_err(JoinError::into_panic));
    seen.outputs += usize::from(exit == Exit::Returns);
    probe.check("its output is dropped", &seen, OUTSIDE);
}

pub(crate) fn exit_a_job_that_returns(on: On) {
    run(on, ends(Exit::Returns));
}

pub(crate) fn exit_a_job_that_returns_early(on: On) {
    run(on, ends(Exit::ReturnsEarly));
}

pub(crate) fn exit_a_job_that_panics(on: On) {
    run(on, async {
        ends(Exit::PanicsFirst).await;
        ends(Exit::PanicsSecond).await;
    });
}

/// Aborted while it waits for a context that is held elsewhere.
async fn never_started() {
    let probe = Probe::new();
    let shared = probe.context().share();
    let held = HeldElsewhere::enter(&shared, || ());
    let function = probes::function(&probe, Exit::Returns, false);
    let job = shim::spawn_blocking_in(&shared, function);
    ID.set(OUTSIDE.unwrap());
    let mut seen = Seen::default();
    probe.check("it waits", &seen, OUTSIDE);
    job.abort();
    assert!(job.await.unwrap_err().is_cancelled());
    seen.dropped.push(CAPTURED);
    probe.check("aborted", &seen, OUTSIDE);
    held.release();
    drop(shared);
    seen.values.push(Ok(OUTSIDE));
    probe.check("the context is dropped", &seen, OUTSIDE);
}

pub(crate) fn exit_a_job_that_is_never_started(on: On) {
    run(on, never_started());
}

/// Too late: the job runs to its end, whatever its handle says.
async fn aborted() {
    let probe = Probe::new();
    let (job, go) = under_way(&probe).await;
    job.abort();
    probe.check("aborted", &Seen::default(), OUTSIDE);
    go.send(()).unwrap();
    let outcome = job.await;
    let seen = returned(usize::from(outcome.is_err()));
    // What nobody comes for may go after the handle's answer.
    probe.comes_to(&seen).await;
    probe.check("ended", &seen, OUTSIDE);
    drop(outcome);
    probe.check("its output is dropped", &returned(1), OUTSIDE);
}

pub(crate) fn exit_a_job_aborted_under_way(on: On) {
    run(on, aborted());
}

async fn handle_goes(part_with: fn(Job), seen: Seen) {
    let probe = Probe::new();
    let (job, go) = under_way(&probe).await;
    part_with(job);
    probe.check("it goes on", &Seen::default(), OUTSIDE);
    go.send(()).unwrap();
    probe.comes_to(&seen).await;
    probe.check("ended", &seen, OUTSIDE);
}

pub(crate) fn exit_a_job_whose_handle_is_dropped(on: On) {
    run(on, handle_goes(drop, returned(1)));
}

pub(crate) fn exit_a_job_whose_handle_is_forgotten(on: On) {
    run(on, handle_goes(leak, Exit::Returns.seen()));
}

/// For executors that end with their harness, while one job is under way and another waits for a
/// context that is held elsewhere. Whether that one still runs is the executor's; in either case it
/// is gone, once.
pub(crate) fn exit_jobs_with_their_executor(on: On) {
    let (busy, waiting) = (Probe::new(), Probe::new());
    let shared = waiting.context().share();
    let held = HeldElsewhere::enter(&shared, || ());
    let harness = on.start();
    ID.set(3);
    let (job, go, aside) = harness.block_on(async {
        let (job, go) = under_way(&busy).await;
        let function = probes::function(&waiting, Exit::Returns, false);
        (job, go, shim::spawn_blocking_in(&shared, function))
    });
    // A runtime may wait for what is under way when it ends.
    go.send(()).unwrap();
    drop(harness);
    Exit::Returns.check(futures::executor::block_on(job).map_err(JoinError::into_panic));
    busy.check("ended", &returned(1), Some(3));
    held.release();
    let ran = futures::executor::block_on(aside).is_ok();
    let mut seen = Seen {
        values: Vec::new(),
        ..returned(1)
    };
    if !ran {
        seen = Seen {
            dropped: vec![CAPTURED],
            ..Seen::default()
        };
    }
    waiting.check("the executor has ended", &seen, Some(3));
    busy.check("nothing more", &returned(1), Some(3));
}
