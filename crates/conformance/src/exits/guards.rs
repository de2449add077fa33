//! Guards made by `scoped`: in a function, in a future, in a task.

use std::future::pending;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;

use aiocontextvars::shim::JoinError;
use aiocontextvars::{Context, ContextExt, Scoped, copy_context};
use futures::channel::oneshot;
use futures::future::BoxFuture;

use super::probes::{
    Early, Ended, Exit, OUTSIDE, Probe, Seen, VALUE, Value, elsewhere, leak, poll_once,
};
use super::run;
use crate::executor::On;
use crate::fixtures::{ID, until};
use crate::harness::boxed;

const GUARDED: Option<u64> = Some(30);

/// Two guards, of which the first that is made goes last, and what they leave: their values go when
/// they do.
type Guards = (Scoped<'static, u64>, Scoped<'static, Value>);

fn guards(probe: &Probe) -> Guards {
    let value = VALUE.scoped(probe.value());
    (ID.scoped(GUARDED.unwrap()), value)
}

fn steps(n: usize) -> Seen {
    Seen {
        body: vec![GUARDED; n],
        ..Seen::default()
    }
}

/// When the guards have gone; the value's own context was `id`'s by then.
fn gone(n: usize, id: Option<u64>) -> Seen {
    Seen {
        values: vec![Ok(id)],
        ..steps(n)
    }
}

/// A guard lives as long as the function around it.
pub(crate) fn exit_a_guard_in_a_function() {
    for exit in [Exit::Returns, Exit::ReturnsEarly, Exit::PanicsFirst] {
        ID.set(OUTSIDE.unwrap());
        let probe = Probe::new();
        let function = || -> Ended {
            let _guards = guards(&probe);
            probe.step();
            probe.check("guarded", &steps(1), GUARDED);
            match exit {
                Exit::ReturnsEarly => Err(Early)?,
                Exit::PanicsFirst => panic::resume_unwind(Box::new(super::probes::PANIC)),
                _ => Ok(probe.output()),
            }
        };
        let outcome = panic::catch_unwind(AssertUnwindSafe(function));
        let mut seen = gone(1, OUTSIDE);
        probe.check("the guards have gone", &seen, OUTSIDE);
        exit.check(outcome);
        seen.outputs += usize::from(exit == Exit::Returns);
        probe.check("its output is dropped", &seen, OUTSIDE);
        assert_eq!(copy_context().len(), 1);
    }
    ID.unset();
}

/// A future that has guards of the context that it is polled in, across an await.
fn guarded(probe: &Probe, exit: Exit) -> (BoxFuture<'static, Ended>, oneshot::Sender<()>) {
    let probe = probe.clone();
    let (go, going) = oneshot::channel();
    let future = boxed(async move {
        let _guards = guards(&probe);
        probe.step();
        if exit == Exit::PanicsFirst {
            panic::resume_unwind(Box::new(super::probes::PANIC));
        }
        if exit == Exit::Waits || going.await.is_err() {
            pending::<()>().await;
        }
        probe.step();
        match exit {
            Exit::PanicsSecond => panic::resume_unwind(Box::new(super::probes::PANIC)),
            Exit::ReturnsEarly => Err(Early)?,
            _ => Ok(probe.output()),
        }
    });
    (future, go)
}

/// A guarded future in a context of its own, in which [`ID`] is not set.
fn wrapped(
    probe: &Probe,
    exit: Exit,
) -> (
    Pin<Box<impl Future<Output = Ended> + Send + use<>>>,
    oneshot::Sender<()>,
) {
    ID.set(OUTSIDE.unwrap());
    let (future, go) = guarded(probe, exit);
    (Box::pin(future.in_context(Context::new())), go)
}

pub(crate) fn exit_a_guard_across_an_await() {
    let exits = [
        Exit::Returns,
        Exit::ReturnsEarly,
        Exit::PanicsFirst,
        Exit::PanicsSecond,
    ];
    for exit in exits {
        let probe = Probe::new();
        let (mut future, go) = wrapped(&probe, exit);
        let mut polls = 1;
        if exit != Exit::PanicsFirst {
            assert!(poll_once(future.as_mut()).unwrap().is_pending());
            probe.check("it waits", &steps(1), OUTSIDE);
            go.send(()).unwrap();
            polls = 2;
        }
        let outcome = poll_once(future.as_mut());
        let mut seen = gone(polls, None);
        probe.check("ended", &seen, OUTSIDE);
        drop(future);
        probe.check("dropped", &seen, OUTSIDE);
        exit.check(outcome.map(|poll| match poll {
            std::task::Poll::Ready(ended) => ended,
            std::task::Poll::Pending => panic!("it is due"),
        }));
        seen.outputs += usize::from(exit == Exit::Returns);
        probe.check("its output is dropped", &seen, OUTSIDE);
    }
    ID.unset();
}

pub(crate) fn exit_a_guard_in_a_future_dropped_while_pending() {
    let probe = Probe::new();
    let (mut future, _go) = wrapped(&probe, Exit::Waits);
    assert!(poll_once(future.as_mut()).unwrap().is_pending());
    probe.check("it waits", &steps(1), OUTSIDE);
    drop(future);
    probe.check("dropped", &gone(1, None), OUTSIDE);

    let probe = Probe::new();
    let (mut future, _go) = wrapped(&probe, Exit::Waits);
    assert!(poll_once(future.as_mut()).unwrap().is_pending());
    elsewhere(|| {
        ID.set(50);
        drop(future);
        probe.check("dropped there", &gone(1, None), Some(50));
    });
    probe.check("dropped on another thread", &gone(1, None), OUTSIDE);
    ID.unset();
}

/// Guards of this context in a future that never uses them: they end where the future is dropped,
/// and nothing changes there.
pub(crate) fn exit_a_guard_in_a_future_that_is_never_polled() {
    for (wrap, away) in [(false, false), (false, true), (true, false), (true, true)] {
        ID.set(OUTSIDE.unwrap());
        let probe = Probe::new();
        let moved = guards(&probe);
        let bare = boxed(async move {
            let _moved = moved;
        });
        let future = match wrap {
            true => boxed(bare.in_context(Context::new().with_value(&ID, 70))),
            false => bare,
        };
        probe.check("guarded", &steps(0), GUARDED);
        if away {
            elsewhere(|| {
                ID.set(50);
                drop(future);
                assert_eq!((ID.get(), copy_context().len()), (Some(50), 1));
            });
        } else {
            drop(future);
        }
        // No guard is live, so no guard's value is visible, although the context may still hold it.
        assert_eq!(ID.get(), OUTSIDE);
        assert!(VALUE.with(|value| value.is_none()));
        assert_eq!(copy_context().len(), 1);
        drop(VALUE.unset());
        probe.check("the next write drops it", &gone(0, OUTSIDE), OUTSIDE);
    }
    ID.unset();
}

/// It leaves its own context changed, and nothing else.
pub(crate) fn exit_a_guard_that_is_forgotten() {
    ID.set(OUTSIDE.unwrap());
    let probe = Probe::new();
    let mut context = Context::new();
    context.run(|| {
        leak(guards(&probe));
        probe.check("forgotten", &steps(0), GUARDED);
    });
    probe.check("the context is left", &steps(0), OUTSIDE);
    context.run(|| {
        drop(ID.scoped(31));
        probe.check("another guard comes and goes", &steps(0), GUARDED);
    });
    drop(context);
    probe.check("the context is dropped", &gone(0, OUTSIDE), OUTSIDE);
    // In a future that is forgotten, the context is forgotten as well.
    let probe = Probe::new();
    let (mut future, _go) = wrapped(&probe, Exit::Waits);
    assert!(poll_once(future.as_mut()).unwrap().is_pending());
    leak(future);
    probe.check("the future is forgotten", &steps(1), OUTSIDE);
    ID.unset();
    assert!(copy_context().is_empty());
}

async fn in_a_task(on: On, exit: Exit) {
    ID.set(OUTSIDE.unwrap());
    let probe = Probe::new();
    let (future, go) = guarded(&probe, exit);
    let task = on.spawn(future);
    until(|| !probe.seen().body.is_empty()).await;
    if exit == Exit::Waits {
        task.abort();
    } else {
        // Nobody listens any more where it has panicked.
        let _ = go.send(());
    }
    let outcome = task.await;
    let polls = match exit {
        Exit::PanicsFirst | Exit::Waits => 1,
        _ => 2,
    };
    let mut seen = gone(polls, OUTSIDE);
    probe.check("ended", &seen, OUTSIDE);
    match outcome {
        Err(error) if exit == Exit::Waits => assert!(error.is_cancelled()),
        outcome => exit.check(outcome.map_err(JoinError::into_panic)),
    }
    seen.outputs += usize::from(exit == Exit::Returns);
    probe.check("its output is dropped", &seen, OUTSIDE);
    assert_eq!(copy_context().len(), 1);
}

pub(crate) fn exit_a_guard_in_a_task(on: On) {
    run(on, async move {
        in_a_task(on, Exit::Returns).await;
        in_a_task(on, Exit::ReturnsEarly).await;
        in_a_task(on, Exit::PanicsFirst).await;
        in_a_task(on, Exit::PanicsSecond).await;
        in_a_task(on, Exit::Waits).await;
    });
}

/// For executors that end with their harness.
pub(crate) fn exit_a_guard_with_its_executor(on: On) {
    let probe = Probe::new();
    let harness = on.start();
    ID.set(OUTSIDE.unwrap());
    let (task, _go) = harness.block_on(async {
        let (future, go) = guarded(&probe, Exit::Waits);
        let task = on.spawn(future);
        until(|| !probe.seen().body.is_empty()).await;
        (task, go)
    });
    probe.check("it waits", &steps(1), OUTSIDE);
    drop(harness);
    probe.check("the executor has ended", &gone(1, OUTSIDE), OUTSIDE);
    assert!(
        futures::executor::block_on(task)
            .unwrap_err()
            .is_cancelled()
    );
    probe.check("nothing more", &gone(1, OUTSIDE), OUTSIDE);
}
