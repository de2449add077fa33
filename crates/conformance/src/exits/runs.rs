//! `Context::run`, `SharedContext::run`, and functions bound to a context.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

use aiocontextvars::{Context, ContextExt, SharedContext, copy_context, shim};

use super::probes::{
    self, CAPTURED, Ended, Exit, OUTSIDE, PANICS, Panics, Probe, SECOND, Seen, VALUE, elsewhere,
    leak,
};
use crate::fixtures::ID;

const EXITS: [Exit; 4] = [
    Exit::Returns,
    Exit::ReturnsEarly,
    Exit::PanicsFirst,
    Exit::PanicsSecond,
];

type Outcome = Result<Ended, Box<dyn Any + Send>>;

fn caught(f: impl FnOnce() -> Ended) -> Outcome {
    panic::catch_unwind(AssertUnwindSafe(f))
}

/// What a function that took `exit` leaves behind, while its context is still there.
fn ended(exit: Exit) -> Seen {
    Seen {
        values: Vec::new(),
        ..exit.seen()
    }
}

/// Runs a function in a context for each exit, and drops its context afterwards on this thread or
/// another.
fn ends<C: Send>(
    make: impl Fn(Context) -> C,
    run: impl Fn(&mut C, &mut dyn FnMut() -> Ended) -> Ended,
    id: impl Fn(&mut C) -> Option<u64>,
) {
    for exit in EXITS {
        for away in [false, true] {
            let probe = Probe::new();
            ID.set(OUTSIDE.unwrap());
            let mut context = make(probe.context());
            let mut function = Some(probes::function(&probe, exit, false));
            let outcome = caught(|| run(&mut context, &mut || function.take().unwrap()()));
            let mut seen = ended(exit);
            probe.check("it has been left", &seen, OUTSIDE);
            // What was set inside is there, and the context can be entered again.
            assert_eq!(id(&mut context), *seen.dropped.last().unwrap());
            if away {
                elsewhere(|| {
                    ID.set(50);
                    drop(context);
                    seen.values.push(Ok(Some(50)));
                    probe.check("dropped there", &seen, Some(50));
                });
            } else {
                drop(context);
                seen.values.push(Ok(OUTSIDE));
            }
            probe.check("the context is dropped", &seen, OUTSIDE);
            exit.check(outcome);
            seen.outputs += usize::from(exit == Exit::Returns);
            probe.check("its output is dropped", &seen, OUTSIDE);
        }
    }
    ID.unset();
    assert!(copy_context().is_empty());
}

pub(crate) fn exit_a_run_in_a_context() {
    ends(
        |context| context,
        |context, f| context.run(f),
        |context| context.run(|| ID.get()),
    );
}

pub(crate) fn exit_a_run_in_a_shared_context() {
    ends(
        Context::share,
        |shared, f| shared.run(f).unwrap(),
        |shared| shared.run(|| ID.get()).unwrap(),
    );
}

/// A panic that passes two contexts leaves both.
pub(crate) fn exit_a_run_inside_a_run() {
    for exit in EXITS {
        let probe = Probe::new();
        ID.set(OUTSIDE.unwrap());
        let shared = SharedContext::new();
        let mut context = probe.context();
        let function = probes::function(&probe, exit, false);
        let outcome = caught(|| {
            let inside = || {
                ID.set(60);
                let ended = context.run(function);
                assert_eq!(ID.get(), Some(60));
                ended
            };
            shared.run(inside).unwrap()
        });
        let mut seen = ended(exit);
        probe.check("both have been left", &seen, OUTSIDE);
        assert_eq!(
            (shared.get(&ID), shared.run(|| ID.get()).unwrap()),
            (Some(60), Some(60))
        );
        drop(context);
        seen.values.push(Ok(OUTSIDE));
        probe.check("the inner context is dropped", &seen, OUTSIDE);
        exit.check(outcome);
        seen.outputs += usize::from(exit == Exit::Returns);
        probe.check("its output is dropped", &seen, OUTSIDE);
    }
    ID.unset();
}

type Bound = Box<dyn FnOnce() -> Ended + Send>;

type Bind = fn(Context, Bound) -> Bound;

/// Every way to bind a function to a context. The last is called again and again, each time in its
/// own copy, so the value stays until it is dropped.
const BINDS: [(&str, Bind); 3] = [
    ("bind", |context, f| Box::new(context.bind(f))),
    ("bind_mut", |context, f| {
        let mut f = Some(f);
        let mut bound = context.bind_mut(move |()| f.take().unwrap()());
        Box::new(move || bound(()))
    }),
    ("bind_fn", |context, f| {
        let f = std::sync::Mutex::new(Some(f));
        let bound = context.bind_fn(move |()| {
            let f = f.lock().unwrap().take().unwrap();
            f()
        });
        Box::new(move || bound(()))
    }),
];

fn bound(probe: &Probe, bind: Bind, exit: Exit) -> Bound {
    ID.set(OUTSIDE.unwrap());
    let function = probes::function(probe, exit, false);
    bind(probe.context(), Box::new(function))
}

/// A bound function that is called takes its context with it, wherever that is.
pub(crate) fn exit_a_bound_function() {
    for (name, bind) in BINDS {
        for exit in EXITS {
            let probe = Probe::new();
            let here = bound(&probe, bind, exit);
            probe.check(name, &Seen::default(), OUTSIDE);
            let outcome = caught(here);
            let mut seen = exit.seen();
            probe.check(name, &seen, OUTSIDE);
            exit.check(outcome);
            seen.outputs += usize::from(exit == Exit::Returns);
            probe.check(name, &seen, OUTSIDE);

            let probe = Probe::new();
            let there = bound(&probe, bind, exit);
            let outcome = elsewhere(|| {
                let outcome = caught(there);
                probe.check(name, &exit.seen(), None);
                outcome
            });
            exit.check(outcome);
            probe.check(name, &seen, OUTSIDE);
        }
    }
    ID.unset();
}

pub(crate) fn exit_a_bound_function_that_is_never_called() {
    let seen = Seen {
        dropped: vec![CAPTURED],
        values: vec![Ok(None)],
        ..Seen::default()
    };
    for (name, bind) in BINDS {
        let probe = Probe::new();
        drop(bound(&probe, bind, Exit::Returns));
        probe.check(name, &seen, OUTSIDE);

        let probe = Probe::new();
        let there = bound(&probe, bind, Exit::Returns);
        elsewhere(|| {
            drop(there);
            probe.check(name, &seen, None);
        });
        probe.check(name, &seen, OUTSIDE);

        let probe = Probe::new();
        leak(bound(&probe, bind, Exit::Returns));
        probe.check(name, &Seen::default(), OUTSIDE);
    }
    ID.unset();
}

/// A thread that inherits is over with its function, value and all.
pub(crate) fn exit_a_thread_that_inherits() {
    for exit in EXITS {
        let probe = Probe::new();
        let function = probes::function(&probe, exit, false);
        let outcome = probe.captured(|| shim::thread::spawn(function)).join();
        let mut seen = exit.seen();
        probe.check("joined", &seen, OUTSIDE);
        exit.check(outcome);
        seen.outputs += usize::from(exit == Exit::Returns);
        probe.check("its output is dropped", &seen, OUTSIDE);
    }
    ID.unset();
}

/// A value whose destructor panics leaves the thread where it was, and the other values are
/// dropped.
pub(crate) fn exit_a_context_whose_value_panics() {
    ID.set(OUTSIDE.unwrap());
    let drops: [fn(Context); 4] = [
        drop,
        |context| drop(context.share()),
        |context| drop(async {}.in_context(context)),
        |context| context.bind(|| drop(ID.set(80)))(),
    ];
    for (n, dropped) in drops.into_iter().enumerate() {
        let probe = Probe::new();
        let context = probe.context().with_value(&PANICS, Panics);
        let panicked = panic::catch_unwind(AssertUnwindSafe(|| dropped(context)));
        assert!(panicked.is_err(), "{n}");
        let seen = Seen {
            // By hand, it is in the context of who does it.
            values: vec![Ok(if n < 2 { OUTSIDE } else { None })],
            ..Seen::default()
        };
        probe.check("dropped", &seen, OUTSIDE);
        assert_eq!(copy_context().len(), 1);
    }
    ID.unset();
}

/// A value that is replaced, unset or reset goes at once, in the context that had it.
pub(crate) fn r_05_a_value_that_is_replaced_may_use_the_crate() {
    let (first, second) = (Probe::new(), Probe::new());
    let mut context = first.context();
    context.run(|| {
        VALUE.set(second.value());
        // The destructor found the next value in its place, and says so.
        let error = first.seen().values.pop().unwrap().unwrap_err();
        assert!(error.contains("it has gone"), "{error}");
        ID.set(SECOND.unwrap());
        drop(VALUE.unset());
        assert_eq!(second.seen().values, [Ok(SECOND)]);
        let third = Probe::new();
        let token = VALUE.set(third.value());
        VALUE.reset(token).unwrap();
        assert_eq!(third.seen().values, [Ok(SECOND)]);
    });
    assert_eq!(
        (first.seen().values.len(), second.seen().values.len()),
        (1, 1)
    );
    assert_eq!(ID.get(), None);
}
