//! Rows RU, and what a run leaves behind.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

use aiocontextvars::{Context, SharedContext, copy_context, shim};
use futures::channel::oneshot;

use crate::executor::On;
use crate::fixtures::{Drops, ID, Log, SeesOnDrop};
use crate::harness::Nested;

pub(crate) fn ru_01_block_on_runs_in_a_copy(on: On) {
    let harness = on.start();
    ID.set(1);
    let seen = Log::new();
    let probe = SeesOnDrop(seen.clone());
    let inside = harness.block_on(async move {
        let _probe = probe;
        let before = ID.get();
        ID.set(2);
        shim::yield_now().await;
        (before, ID.get())
    });
    assert_eq!(inside, (Some(1), Some(2)));
    assert_eq!((seen.take(), ID.get()), (vec![Some(2)], Some(1)));
}

pub(crate) fn ru_02_the_runs_of_a_runner_share_a_context(on: On) {
    let mut runner = on.start().runner();
    ID.set(1);
    let inherited = runner.run(async {
        let before = ID.get();
        ID.set(2);
        shim::yield_now().await;
        before
    });
    assert_eq!(inherited, Some(1));
    let child = runner.run(async {
        let child = on.spawn(async { ID.get() });
        ID.set(3);
        child.await.unwrap()
    });
    assert_eq!(child, Some(2));
    assert_eq!(runner.run(async { ID.get() }), Some(3));
    // A panic leaves what was set before it.
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        runner.run(async {
            ID.set(4);
            panic::resume_unwind(Box::new("on purpose"));
        })
    }));
    assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"on purpose"));
    assert_eq!(runner.run(async { ID.get() }), Some(4));
    assert_eq!(ID.get(), Some(1));
}

pub(crate) fn ru_03_a_runners_context_is_a_copy_of_its_first_use(on: On) {
    let mut runner = on.start().runner();
    ID.set(1);
    runner.run(async { assert_eq!(ID.get(), Some(1)) });
    ID.set(2);
    runner.run(async {
        assert_eq!(ID.get(), Some(1), "later sets are not seen");
        ID.set(3);
    });
    assert_eq!(ID.get(), Some(2), "nothing comes out");
    assert_eq!(runner.context().get(&ID), Some(3));
    // Asking for the context is a use, too.
    let mut other = on.start().runner();
    other.context();
    ID.set(4);
    assert_eq!(other.run(async { ID.get() }), Some(2));
}

pub(crate) fn ru_04_a_run_in_another_context(on: On) {
    let mut runner = on.start().runner();
    let other = SharedContext::new();
    ID.set(1);
    runner.run(async { ID.set(2) });
    let seen = runner.run_in(&other, async {
        let before = ID.get();
        ID.set(5);
        before
    });
    assert_eq!(seen, None);
    assert_eq!(other.get(&ID), Some(5));
    let given = Context::new().with_value(&ID, 7);
    assert_eq!(runner.run_in(given, async { ID.get() }), Some(7));
    assert_eq!(runner.run(async { ID.get() }), Some(2));
    assert_eq!(ID.get(), Some(1));
}

fn replaced(value: u64) -> Option<u64> {
    let before = ID.get();
    ID.set(value);
    before
}

pub(crate) fn ru_06_one_context_for_a_test_and_its_fixtures(on: On) {
    for _test in 0..2 {
        let seen = Log::new();
        let mut runner = on.start().runner();
        // Set-up, test and tear-down, as a test harness runs them; isolated from the next test on
        // this thread.
        runner.run(async { assert_eq!(replaced(1), None) });
        runner.run(async {
            assert_eq!(replaced(2), Some(1));
            let background = on.spawn(async { ID.get() });
            assert_eq!(background.await.unwrap(), Some(2));
        });
        let cleanup = seen.clone();
        runner.run(async move { cleanup.push(ID.get()) });
        assert_eq!(seen.take(), [Some(2)]);
        assert_eq!(ID.get(), None);
    }
}

pub(crate) fn ru_05_each_run_starts_afresh(on: On) {
    let harness = on.start();
    for n in 1..4 {
        ID.set(n);
        harness.block_on(async {
            assert_eq!(ID.get(), Some(n));
            ID.set(100);
            let child = on.spawn(async { ID.get() });
            assert_eq!(child.await.unwrap(), Some(100));
        });
        assert_eq!(ID.get(), Some(n));
    }
}

pub(crate) fn r_08_nested_block_on(on: On) {
    on.start().block_on(async {
        let task = on.spawn(async {
            ID.set(1);
            let drops = Drops::new();
            let (polled, held) = (Cell::new(false), drops.value());
            let nested = shim::try_block_on(async {
                let _held = held;
                polled.set(true);
                let before = ID.get();
                ID.set(2);
                before
            });
            let nested_block_on = match on.nested_block_on {
                Nested::Either if nested.is_ok() => Nested::WorksAlone,
                Nested::Either => Nested::Refused,
                known => known,
            };
            match nested_block_on {
                Nested::Either => unreachable!("it is one of the others"),
                Nested::WorksAlone => assert_eq!(nested.unwrap(), Some(1)),
                Nested::Works => {
                    assert_eq!(nested.unwrap(), Some(1));
                    let child = shim::block_on(async { shim::spawn(async { ID.get() }).await });
                    assert_eq!(child.unwrap(), Some(1));
                }
                Nested::Refused => {
                    let error = nested.unwrap_err();
                    assert!(error.to_string().contains("await"), "{error}");
                    assert!(!polled.get());
                    let payload = panic::catch_unwind(|| shim::block_on(async {})).unwrap_err();
                    let text = payload.downcast::<String>().unwrap();
                    assert!(text.contains("await"), "{text}");
                }
            }
            assert_eq!(drops.count(), 1);
            assert_eq!(ID.get(), Some(1));
            assert_eq!(copy_context().len(), 1);
        });
        task.await.unwrap();
        assert_eq!(ID.get(), None);
    });
}

pub(crate) fn r_10_a_panic_leaves_the_thread_as_it_was(on: On) {
    let harness = on.start();
    ID.set(1);
    let (go, going) = oneshot::channel::<()>();
    let mut other = None;
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        harness.block_on(async {
            ID.set(2);
            other = Some(on.spawn(async {
                going.await.unwrap();
                ID.get()
            }));
            shim::yield_now().await;
            panic::resume_unwind(Box::new("main"));
        })
    }));
    assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"main"));
    assert_eq!((ID.get(), copy_context().len()), (Some(1), 1));
    // The executor goes on, and so do other tasks of it.
    let inside = harness.block_on(async {
        let failing = on.spawn(async {
            ID.set(3);
            panic::resume_unwind(Box::new("task"));
        });
        assert!(failing.await.unwrap_err().is_panic());
        go.send(()).unwrap();
        let other = other.unwrap().await;
        (ID.get(), other.unwrap())
    });
    assert_eq!((inside, ID.get()), ((Some(1), Some(2)), Some(1)));
}
