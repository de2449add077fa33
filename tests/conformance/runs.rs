//! Rows RU, and what a run leaves behind.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

use aiocontextvars::{copy_context, shim};

use crate::fixtures::{Drops, ID, Log, SeesOnDrop};
use crate::harness::{Harness, Nested};

pub(crate) fn ru_01_block_on_runs_in_a_copy<H: Harness>() {
    let harness = H::start();
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

pub(crate) fn ru_05_each_run_starts_afresh<H: Harness>() {
    let harness = H::start();
    for n in 1..4 {
        ID.set(n);
        harness.block_on(async {
            assert_eq!(ID.get(), Some(n));
            ID.set(100);
            let child = H::spawn(async { ID.get() });
            assert_eq!(child.await.unwrap(), Some(100));
        });
        assert_eq!(ID.get(), Some(n));
    }
}

pub(crate) fn r_08_nested_block_on<H: Harness>() {
    H::start().block_on(async {
        let task = H::spawn(async {
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
            match H::NESTED_BLOCK_ON {
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

pub(crate) fn r_10_a_panic_leaves_the_thread_as_it_was<H: Harness>() {
    let harness = H::start();
    ID.set(1);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        harness.block_on(async {
            ID.set(2);
            shim::yield_now().await;
            panic::resume_unwind(Box::new("main"));
        })
    }));
    assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"main"));
    assert_eq!((ID.get(), copy_context().len()), (Some(1), 1));
    // The executor goes on, and so do other tasks of it.
    let inside = harness.block_on(async {
        let failing = H::spawn(async {
            ID.set(3);
            panic::resume_unwind(Box::new("task"));
        });
        assert!(failing.await.unwrap_err().is_panic());
        ID.get()
    });
    assert_eq!((inside, ID.get()), (Some(1), Some(1)));
}
