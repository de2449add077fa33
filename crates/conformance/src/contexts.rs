//! Rows CX, RN, CC and HM: contexts, entering them, and copying.

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Barrier, mpsc};
use std::thread;

use aiocontextvars::{
    AlreadyEntered, Context, ContextExt, ContextVar, SharedContext, context_var, copy_context,
};
use futures::FutureExt;

use crate::fixtures::{ID, TENANT};

pub(crate) fn cx_01_new_is_empty() {
    const EMPTY: Context = Context::new();
    ID.set(1);
    for context in [EMPTY, Context::default(), SharedContext::new().copy()] {
        assert!(context.is_empty());
        assert_eq!((context.len(), context.iter().count()), (0, 0));
    }
}

pub(crate) fn cx_02_keys_are_typed_variables() {
    let context = Context::new()
        .with_value(&ID, 1)
        .with_value(&TENANT, "acme".to_owned());
    let (id, tenant): (Option<&u64>, Option<&String>) = (context.get(&ID), context.get(&TENANT));
    assert_eq!((id, tenant.map(String::as_str)), (Some(&1), Some("acme")));
}

pub(crate) fn cx_03_a_missing_variable_is_none() {
    let context = Context::new().with_value(&TENANT, "acme".to_owned());
    assert_eq!((context.get(&ID), context.contains(&ID)), (None, false));
    let shared = context.share();
    assert_eq!((shared.get(&ID), shared.contains(&ID)), (None, false));
    assert!(shared.contains(&TENANT));
}

pub(crate) fn cx_04_contexts_ignore_defaults() {
    assert_eq!(TENANT.get(), "public");
    let context = copy_context();
    assert_eq!((context.get(&TENANT), context.len()), (None, 0));
    assert!(!context.contains(&TENANT) && context.iter().next().is_none());
    assert_eq!(context.share().get(&TENANT), None);
}

pub(crate) fn cx_05_len_and_iter_list_what_is_set() {
    context_var! { static OTHER: u8; }
    let context = Context::new()
        .with_value(&ID, 1)
        .with_value(&OTHER, 2)
        .with_value(&ID, 3);
    let entries = context.iter();
    assert_eq!((context.len(), entries.len()), (2, 2));
    let names: BTreeSet<_> = entries.map(|entry| entry.name()).collect();
    assert_eq!(names, BTreeSet::from(["ID", "OTHER"]));
    for entry in &context {
        match entry.name() {
            "ID" => assert_eq!(entry.downcast_ref::<u64>(), Some(&3)),
            _ => assert_eq!(entry.downcast_ref::<u8>(), Some(&2)),
        }
        assert_eq!(entry.downcast_ref::<String>(), None);
    }
    // A variable under a guard that was unset inside it is not listed.
    let mut context = Context::new();
    context.run(|| {
        let _guard = ID.scoped(1);
        ID.unset();
        let inside = copy_context();
        assert_eq!((inside.len(), inside.iter().count()), (0, 0));
        assert!(!inside.contains(&ID) && inside.is_empty());
    });
}

pub(crate) fn cx_06_a_shared_context_is_a_live_view() {
    let shared = SharedContext::new();
    let (ask, asked) = mpsc::channel::<()>();
    let (answer, answered) = mpsc::channel();
    let view = shared.clone();
    let reader = thread::spawn(move || {
        while let Ok(()) = asked.recv() {
            answer.send((view.get(&ID), view.len())).unwrap();
        }
    });
    shared
        .run(|| {
            for n in 0..3 {
                let token = ID.set(n);
                assert_eq!((shared.get(&ID), shared.len()), (Some(n), 1));
                ask.send(()).unwrap();
                assert_eq!(answered.recv(), Ok((Some(n), 1)));
                ID.reset(token).unwrap();
                assert!(shared.is_empty());
            }
        })
        .unwrap();
    drop(ask);
    reader.join().unwrap();
    assert_eq!(ID.get(), None);
}

pub(crate) fn cx_07_iterators_are_snapshots() {
    ID.set(1);
    let context = copy_context();
    let mut entries = context.iter();
    TENANT.set("acme".to_owned());
    ID.set(2);
    assert_eq!(entries.len(), 1);
    assert_eq!(entries.next().unwrap().downcast_ref(), Some(&1u64));
    assert_eq!(entries.len(), 0);
    assert!(entries.next().is_none());
    assert_eq!(copy_context().len(), 2);
}

pub(crate) fn cx_08_copies_are_independent() {
    let shared = Context::new().with_value(&ID, 1).share();
    shared
        .run(|| {
            let mut copy = shared.copy();
            copy.run(|| {
                assert_eq!(ID.get(), Some(1));
                ID.set(2);
            });
            ID.set(3);
            assert_eq!(copy.get(&ID), Some(&2));
            // From another thread too, while it is entered here; and the copy can be entered.
            let other = shared.clone();
            let seen = thread::spawn(move || other.copy().run(|| ID.get()));
            assert_eq!(seen.join().unwrap(), Some(3));
        })
        .unwrap();
    assert_eq!(shared.get(&ID), Some(3));
}

pub(crate) fn cx_09_identity_of_shared_contexts() {
    let shared = Context::new().with_value(&ID, 1).share();
    let same = shared.clone();
    let equal = shared.copy().share();
    assert!(shared.ptr_eq(&same) && !shared.ptr_eq(&equal));
    same.run(|| ID.set(2)).unwrap();
    assert_eq!((shared.get(&ID), equal.get(&ID)), (Some(2), Some(1)));
}

pub(crate) fn cx_11_the_current_context_is_only_copied() {
    ID.set(1);
    let mut copy = copy_context();
    copy.run(|| {
        ID.set(2);
    });
    assert_eq!(ID.get(), Some(1));
}

pub(crate) fn rn_01_run_returns_the_result() {
    let moved = String::from("moved in");
    assert_eq!(Context::new().run(move || moved).as_str(), "moved in");
    assert_eq!(SharedContext::new().run(|| 7), Ok(7));
}

pub(crate) fn rn_02_a_panic_restores_and_keeps_the_bindings() {
    ID.set(1);
    let mut context = Context::new();
    let shared = SharedContext::new();
    for round in 0..2 {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            context.run(|| {
                ID.set(2 + round);
                panic::resume_unwind(Box::new(()));
            })
        }));
        assert!(outcome.is_err());
        assert_eq!((ID.get(), context.get(&ID)), (Some(1), Some(&(2 + round))));
        let outcome = panic::catch_unwind(|| {
            shared.run(|| {
                ID.set(4 + round);
                panic::resume_unwind(Box::new(()));
            })
        });
        assert!(outcome.is_err());
        assert_eq!((ID.get(), shared.get(&ID)), (Some(1), Some(4 + round)));
    }
}

pub(crate) fn rn_03_changes_are_contained() {
    let spam: ContextVar<&str> = ContextVar::new("spam");
    spam.set("spam");
    let mut context = copy_context();
    context.run(|| {
        assert_eq!(spam.get(), Some("spam"));
        spam.set("ham");
        assert_eq!(spam.get(), Some("ham"));
    });
    assert_eq!(
        (context.get(&spam), spam.get()),
        (Some(&"ham"), Some("spam"))
    );
    assert_eq!(context.run(|| spam.get()), Some("ham"));
}

pub(crate) fn rn_04_nesting_replaces_and_does_not_chain() {
    fn nest(depth: u64) {
        if depth == 0 {
            return;
        }
        let mut context = Context::new();
        context.run(|| {
            assert_eq!(ID.get(), None);
            ID.set(depth);
            nest(depth - 1);
            assert_eq!(ID.get(), Some(depth));
            assert_eq!(copy_context().len(), 1);
        });
        assert_eq!(context.get(&ID), Some(&depth));
    }
    ID.set(1);
    nest(400);
    assert_eq!(ID.get(), Some(1));
}

pub(crate) fn rn_05_reentry_is_refused() {
    let (first, second) = (SharedContext::new(), SharedContext::new());
    first
        .run(|| {
            ID.set(1);
            let mut called = false;
            assert!(first.run(|| called = true).is_err());
            assert!(!called);
            second
                .run(|| {
                    let error: AlreadyEntered = first.run(|| ()).unwrap_err();
                    assert_eq!(error.to_string(), "the shared context is already entered");
                    assert_eq!(ID.get(), None);
                })
                .unwrap();
            assert_eq!(ID.get(), Some(1));
            ID.set(2);
        })
        .unwrap();
    assert_eq!(first.run(|| ID.get()), Ok(Some(2)));
}

pub(crate) fn rn_06_entered_on_another_thread() {
    let shared = Context::new().with_value(&ID, 1).share();
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            shared
                .run(|| {
                    barrier.wait();
                    barrier.wait();
                })
                .unwrap();
            barrier.wait();
            barrier.wait();
        });
        barrier.wait();
        assert!(shared.run(|| ()).is_err());
        assert_eq!((shared.get(&ID), shared.len()), (Some(1), 1));
        assert_eq!(shared.copy().get(&ID), Some(&1));
        barrier.wait();
        barrier.wait();
        // No thread owns it once it has been left.
        assert_eq!(shared.run(|| ID.get()), Ok(Some(1)));
        barrier.wait();
    });
    // Two that race: exactly one is inside at a time.
    let counter: ContextVar<u32> = ContextVar::new("counter");
    let race = Barrier::new(2);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                race.wait();
                for _ in 0..500 {
                    while shared.run(|| counter.set(counter.get_or(0) + 1)).is_err() {
                        thread::yield_now();
                    }
                }
            });
        }
    });
    assert_eq!(shared.get(&counter), Some(1000));
}

pub(crate) fn rn_08_a_fresh_thread_has_nothing_again_afterwards() {
    thread::spawn(|| {
        Context::new().with_value(&ID, 1).run(|| {
            assert_eq!(ID.get(), Some(1));
        });
        assert_eq!(ID.get(), None);
        assert!(copy_context().is_empty());
    })
    .join()
    .unwrap();
}

pub(crate) fn rn_09_run_does_not_follow_into_a_future() {
    let mut context = Context::new().with_value(&ID, 1);
    let future = context.run(|| async { ID.get() });
    assert_eq!(future.now_or_never(), Some(None));
    let future = async { ID.get() }.in_context(context);
    assert_eq!(future.now_or_never(), Some(Some(1)));
}

pub(crate) fn cc_01_copies_do_not_follow_the_original() {
    let token = ID.set(1);
    let first = copy_context();
    ID.set(2);
    let second = copy_context();
    ID.reset(token).unwrap();
    assert_eq!(ID.get(), None);
    assert_eq!((first.get(&ID), second.get(&ID)), (Some(&1), Some(&2)));
    assert!(copy_context().is_empty());
}

pub(crate) fn cc_02_an_empty_copy() {
    assert!(copy_context().is_empty());
    assert!(Context::new().run(copy_context).is_empty());
}

pub(crate) fn hm_03_deep_maps() {
    // Enough variables for several levels, and old copies that have to stay as they were.
    const COUNT: usize = 3000;
    let vars: Vec<ContextVar<usize>> = (0..COUNT)
        .map(|n| ContextVar::named(n.to_string()))
        .collect();
    let mut snapshots = Vec::new();
    for (n, var) in vars.iter().enumerate() {
        var.set(n);
        if n % 500 == 0 {
            snapshots.push((n + 1, copy_context()));
        }
    }
    let full = copy_context();
    for var in vars.iter().step_by(3) {
        var.unset();
    }
    assert_eq!(full.len(), COUNT);
    let sum: usize = full
        .iter()
        .map(|entry| *entry.downcast_ref::<usize>().unwrap())
        .sum();
    assert_eq!(sum, COUNT * (COUNT - 1) / 2);
    for (n, var) in vars.iter().enumerate() {
        assert_eq!(full.get(var), Some(&n));
        assert_eq!(var.get(), (n % 3 != 0).then_some(n));
    }
    for (len, snapshot) in snapshots {
        assert_eq!((snapshot.len(), snapshot.iter().count()), (len, len));
        assert!(
            vars[..len]
                .iter()
                .enumerate()
                .all(|(n, var)| snapshot.get(var) == Some(&n))
        );
    }
}
