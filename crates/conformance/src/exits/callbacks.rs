//! Callbacks and timers.

use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use aiocontextvars::shim::{CallHandle, TimerHandle};
use futures::channel::oneshot;

use super::probes::{self, CAPTURED, Exit, OUTSIDE, PANICS, Panics, Probe, Seen, elsewhere, leak};
use super::{Call, run};
use crate::executor::On;
use crate::fixtures::{HeldElsewhere, ID};
use crate::reports;

const LATE: Duration = Duration::from_secs(3600);

/// The handle of either kind.
enum Scheduled {
    Soon(CallHandle),
    Later(TimerHandle),
}

impl Scheduled {
    fn cancel(&self) {
        match self {
            Scheduled::Soon(handle) => handle.cancel(),
            Scheduled::Later(handle) => handle.cancel(),
        }
    }

    fn is_cancelled(&self) -> bool {
        match self {
            Scheduled::Soon(handle) => handle.is_cancelled(),
            Scheduled::Later(handle) => handle.is_cancelled(),
        }
    }
}

/// `call_soon`, or `call_later` with a delay.
#[derive(Clone, Copy)]
enum When {
    Soon,
    Later(Duration),
}

impl When {
    fn schedule(self, on: On, f: Call) -> Scheduled {
        match self {
            When::Soon => Scheduled::Soon(on.call_soon(f)),
            When::Later(delay) => Scheduled::Later(on.call_later(delay, f)),
        }
    }
}

/// A callback whose value goes with it. What is returned is completed when the closure has been
/// dropped.
fn start(on: On, when: When, probe: &Probe, exit: Exit) -> (Scheduled, oneshot::Receiver<()>) {
    reports::install();
    let function = probes::function(probe, exit, on.stays);
    let (ends, ended) = oneshot::channel::<()>();
    let f = Box::new(move || {
        let _ends = ends;
        // The output is dropped within the callback.
        let _ended = function();
    });
    (probe.captured(|| when.schedule(on, f)), ended)
}

/// Waits for the end of a callback, which is over when the next one runs.
async fn end(on: On, ended: oneshot::Receiver<()>) {
    ended.await.unwrap_err();
    on.callbacks_so_far().await;
}

fn ended(exit: Exit) -> Seen {
    Seen {
        outputs: usize::from(exit == Exit::Returns),
        ..exit.seen()
    }
}

/// What is left of one that was not called.
fn cancelled() -> Seen {
    Seen {
        dropped: vec![CAPTURED],
        values: vec![Ok(None)],
        ..Seen::default()
    }
}

async fn called(on: On, when: When, exit: Exit) {
    let probe = Probe::new();
    let (handle, wait) = start(on, when, &probe, exit);
    end(on, wait).await;
    probe.check("called", &ended(exit), OUTSIDE);
    handle.cancel();
    assert!(!handle.is_cancelled());
    probe.check("cancelled too late", &ended(exit), OUTSIDE);
    drop(handle);
    probe.check("the handle keeps nothing", &ended(exit), OUTSIDE);
}

pub(crate) fn exit_a_callback_that_returns(on: On) {
    run(on, called(on, When::Soon, Exit::Returns));
}

pub(crate) fn exit_a_callback_that_returns_early(on: On) {
    run(on, called(on, When::Soon, Exit::ReturnsEarly));
}

pub(crate) fn exit_a_callback_that_panics(on: On) {
    run(on, async move {
        called(on, When::Soon, Exit::PanicsFirst).await;
        called(on, When::Soon, Exit::PanicsSecond).await;
    });
}

const AT_ONCE: When = When::Later(Duration::ZERO);

pub(crate) fn exit_a_timer_that_returns(on: On) {
    run(on, called(on, AT_ONCE, Exit::Returns));
}

pub(crate) fn exit_a_timer_that_returns_early(on: On) {
    run(on, called(on, AT_ONCE, Exit::ReturnsEarly));
}

pub(crate) fn exit_a_timer_that_panics(on: On) {
    run(on, async move {
        called(on, AT_ONCE, Exit::PanicsFirst).await;
        called(on, AT_ONCE, Exit::PanicsSecond).await;
    });
}

/// Cancelled in time, which releases closure and value at once.
async fn is_cancelled(on: On, when: When) {
    let probe = Probe::new();
    let queue = on.hold_the_queue();
    let (handle, _) = start(on, when, &probe, Exit::Returns);
    probe.check("scheduled", &Seen::default(), OUTSIDE);
    handle.cancel();
    probe.check("cancelled", &cancelled(), OUTSIDE);
    handle.cancel();
    assert!(handle.is_cancelled());
    drop(queue);
    on.callbacks_so_far().await;
    probe.check("cancelled twice", &cancelled(), OUTSIDE);
}

pub(crate) fn exit_a_callback_that_is_cancelled(on: On) {
    run(on, is_cancelled(on, When::Soon));
}

pub(crate) fn exit_a_timer_that_is_cancelled(on: On) {
    run(on, is_cancelled(on, When::Later(LATE)));
}

/// Cancelled on another thread: dropped there, or at the next turn if it has to stay on its own.
async fn is_cancelled_elsewhere(on: On, when: When) {
    let probe = Probe::new();
    let queue = on.hold_the_queue();
    let (handle, _) = start(on, when, &probe, Exit::Returns);
    elsewhere(|| {
        handle.cancel();
        assert!(handle.is_cancelled());
        let now = if on.stays {
            Seen::default()
        } else {
            cancelled()
        };
        probe.check("cancelled", &now, None);
    });
    drop(queue);
    on.callbacks_so_far().await;
    probe.check("the queue has turned", &cancelled(), OUTSIDE);
}

pub(crate) fn exit_a_callback_cancelled_on_another_thread(on: On) {
    run(on, is_cancelled_elsewhere(on, When::Soon));
}

pub(crate) fn exit_a_timer_cancelled_on_another_thread(on: On) {
    run(on, is_cancelled_elsewhere(on, When::Later(LATE)));
}

/// Under way, a callback cannot be cancelled any more.
async fn cancels_itself(on: On) {
    let probe = Probe::new();
    let function = probes::function(&probe, Exit::Returns, on.stays);
    let (give, own) = std::sync::mpsc::channel::<CallHandle>();
    let (ends, wait) = oneshot::channel::<()>();
    let inside = probe.clone();
    let handle = probe.captured(|| {
        on.call_soon(move || {
            let _ends = ends;
            let handle = own.recv().unwrap();
            handle.cancel();
            assert!(!handle.is_cancelled());
            inside.check("cancelled from inside", &Seen::default(), CAPTURED);
            let _ended = function();
        })
    });
    give.send(handle).unwrap();
    end(on, wait).await;
    probe.check("called", &ended(Exit::Returns), OUTSIDE);
}

pub(crate) fn exit_a_callback_that_cancels_itself(on: On) {
    run(on, cancels_itself(on));
}

/// Called or cancelled, it keeps nobody from going on.
async fn value_panics(on: On, cancelled_first: bool) {
    let probe = Probe::new();
    let queue = on.hold_the_queue();
    PANICS.set(Panics);
    let (handle, wait) = start(on, When::Soon, &probe, Exit::Returns);
    PANICS.unset();
    if cancelled_first {
        let panicked = panic::catch_unwind(AssertUnwindSafe(|| handle.cancel()));
        assert!(panicked.is_err() && handle.is_cancelled());
    }
    drop(queue);
    end(on, wait).await;
    let seen = match cancelled_first {
        true => cancelled(),
        false => ended(Exit::Returns),
    };
    probe.check("the next one has run", &seen, OUTSIDE);
}

pub(crate) fn exit_a_callback_whose_value_panics(on: On) {
    run(on, async move {
        value_panics(on, false).await;
        value_panics(on, true).await;
    });
}

pub(crate) fn exit_a_callback_whose_handle_is_forgotten(on: On) {
    run(on, async move {
        for when in [When::Soon, AT_ONCE] {
            let probe = Probe::new();
            let (handle, wait) = start(on, when, &probe, Exit::Returns);
            match handle {
                Scheduled::Soon(handle) => leak(handle),
                Scheduled::Later(handle) => leak(handle),
            }
            end(on, wait).await;
            probe.check("called", &ended(Exit::Returns), OUTSIDE);
        }
    });
}

/// For executors that end with their harness: a timer waits, and a callback for a context that is
/// held elsewhere.
pub(crate) fn exit_callbacks_with_their_executor(on: On) {
    let (aside, later) = (Probe::new(), Probe::new());
    let shared = aside.context().share();
    let held = HeldElsewhere::enter(&shared, || ());
    let harness = on.start();
    ID.set(3);
    let (callback, timer) = harness.block_on(async {
        let (timer, _) = start(on, When::Later(LATE), &later, Exit::Returns);
        let function = probes::function(&aside, Exit::Returns, on.stays);
        let callback = on.call_soon_in(&shared, move || drop(function()));
        on.callbacks_so_far().await;
        (callback, timer)
    });
    let mut seen = Seen::default();
    aside.check("it waits", &seen, Some(3));
    later.check("it waits", &Seen::default(), Some(3));
    drop(harness);
    seen.dropped.push(CAPTURED);
    aside.check("the executor has ended", &seen, Some(3));
    later.check("the executor has ended", &cancelled(), Some(3));
    callback.cancel();
    timer.cancel();
    assert!(!callback.is_cancelled(), "there is nothing left to cancel");
    assert!(!timer.is_cancelled(), "there is nothing left to cancel");
    held.release();
    drop(shared);
    seen.values.push(Ok(Some(3)));
    aside.check("the context is dropped", &seen, Some(3));
    later.check("nothing more", &cancelled(), Some(3));
}
