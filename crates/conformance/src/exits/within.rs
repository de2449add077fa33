//! Executors that end with a thread, and wrapped work within their tasks.

use std::any::Any;
use std::cell::RefCell;
use std::time::Duration;

use aiocontextvars::ContextExt;
use aiocontextvars::shim::JoinError;
use futures::stream::{self, StreamExt};

use super::probes::{self, CAPTURED, Early, Exit, OUTSIDE, Probe, Seen, elsewhere};
use super::run;
use crate::executor::On;
use crate::fixtures::ID;
use crate::harness::boxed;

thread_local! {
    static KEPT: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// For executors that end with their harness: one that is left to the end of its thread's locals,
/// of which it is the first or the last to go.
pub(crate) fn exit_a_thread_that_keeps_its_executor(on: On) {
    for goes_last in [true, false] {
        let (task, timer) = (Probe::new(), Probe::new());
        elsewhere(|| {
            if goes_last {
                KEPT.with(|_| ());
            }
            let harness = on.start();
            ID.set(3);
            harness.block_on(async {
                let (future, gate) = probes::future(&task, Exit::Waits, on.stays);
                task.captured(|| on.spawn(future)).detach();
                gate.stepped.await.unwrap();
                let function = probes::function(&timer, Exit::Returns, on.stays);
                let late = Duration::from_secs(3600);
                timer.captured(|| on.call_later(late, || drop(function())));
            });
            timer.check("it waits", &Seen::default(), Some(3));
            KEPT.set(Some(Box::new(harness)));
        });
        task.check("the thread has ended", &Exit::Waits.seen(), None);
        let dropped = Seen {
            dropped: vec![CAPTURED],
            values: vec![Ok(None)],
            ..Seen::default()
        };
        timer.check("the thread has ended", &dropped, None);
    }
}

/// What is wrapped in a task is dropped in its own context, and that of the task is dropped around
/// it.
async fn wrapped_in_a_task(on: On, exit: Exit, streams: bool) {
    ID.set(OUTSIDE.unwrap());
    let (inner, outer) = (Probe::new(), Probe::new());
    let (future, gate) = probes::future(&inner, exit, on.stays);
    let future = match streams {
        false => boxed(future.in_context(inner.context())),
        true => {
            let mut stream = Box::pin(stream::once(future).in_context(inner.context()));
            boxed(async move { stream.next().await.unwrap_or(Err(Early)) })
        }
    };
    let (around, outer_gate) = probes::future(&outer, Exit::Waits, on.stays);
    let both = boxed(async move {
        let ended = futures::future::select(future, around).await;
        ended.factor_first().0
    });
    let task = outer.captured(|| on.spawn(both));
    gate.stepped.await.unwrap();
    outer_gate.stepped.await.unwrap();
    if exit == Exit::Waits {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    } else {
        gate.go.send(()).unwrap();
        exit.check(task.await.map_err(JoinError::into_panic));
    }
    let seen = Seen {
        outputs: usize::from(exit == Exit::Returns),
        ..exit.seen()
    };
    inner.check("ended", &seen, OUTSIDE);
    outer.check("ended", &Exit::Waits.seen(), OUTSIDE);
}

fn wrapped_in_tasks(on: On, stream: bool) {
    run(on, async move {
        for exit in [
            Exit::Returns,
            Exit::ReturnsEarly,
            Exit::PanicsSecond,
            Exit::Waits,
        ] {
            wrapped_in_a_task(on, exit, stream).await;
        }
    });
}

pub(crate) fn exit_a_wrapped_future_in_a_task(on: On) {
    wrapped_in_tasks(on, false);
}

pub(crate) fn exit_a_wrapped_stream_in_a_task(on: On) {
    wrapped_in_tasks(on, true);
}
