//! What a job sees, and what it leaves, by each way to start one.

use std::sync::{Arc, Barrier, LazyLock, mpsc};

use aiocontextvars::shim::{self, ContextAwareExecutor};
use aiocontextvars::{Context, SetErrorKind, copy_context};
use rayon::ThreadPool;

use crate::drops::Drops;
use crate::{CONNECTION, HELD, ID, Log, SeesOnDrop, assert_left_nothing, panic_of, pool};

/// Has a job done by the pool, as often as its way has jobs, and returns when that is over.
type Way = (&'static str, fn(&ThreadPool, Arc<dyn Fn() + Send + Sync>));

/// Calls in the pool, so that the free functions go there.
fn inside(pool: &ThreadPool, f: impl FnOnce() + Send) {
    let context = copy_context();
    pool.install(move || {
        let mut context = context;
        context.run(f);
    });
}

/// Waits for what was given to a pool of one thread before.
fn settle(pool: &ThreadPool) {
    pool.install(|| ());
}

pub(crate) const WAYS: [Way; 14] = [
    ("spawn", |pool, job| {
        inside(pool, || shim::rayon::spawn(move || job()));
        settle(pool);
    }),
    ("spawn_in", |pool, job| {
        inside(pool, || shim::rayon::spawn_in(inherited(), move || job()));
        settle(pool);
    }),
    ("join", |pool, job| {
        inside(pool, || ((), ()) = shim::rayon::join(&*job, &*job));
    }),
    ("scope", |pool, job| {
        inside(pool, || shim::rayon::scope(|_| job()))
    }),
    ("Scope::spawn", |pool, job| {
        inside(pool, || shim::rayon::scope(|scope| scope.spawn(|_| job())));
    }),
    ("Scope::spawn_in", |pool, job| {
        inside(pool, || {
            shim::rayon::scope(|scope| scope.spawn_in(inherited(), |_| job()))
        });
    }),
    ("broadcast", |pool, job| {
        inside(pool, || drop(shim::rayon::broadcast(|_| job())))
    }),
    ("apart and Context::call", |pool, job| {
        inside(pool, || shim::rayon::apart(|context| context.call(&*job)))
    }),
    ("Pool::spawn", |pool, job| {
        shim::rayon::on(pool).spawn(move || job());
        settle(pool);
    }),
    ("Pool::spawn_in", |pool, job| {
        shim::rayon::on(pool).spawn_in(inherited(), move || job());
        settle(pool);
    }),
    ("Pool::install and Context::call", |pool, job| {
        shim::rayon::on(pool).install(|context| context.call(&*job))
    }),
    ("Pool::join", |pool, job| {
        ((), ()) = shim::rayon::on(pool).join(&*job, &*job);
    }),
    ("Pool::scope", |pool, job| {
        shim::rayon::on(pool).scope(|scope| scope.spawn(|_| job()));
    }),
    ("Pool::broadcast", |pool, job| {
        drop(shim::rayon::on(pool).broadcast(|_| job()))
    }),
];

/// What the other ways copy.
fn inherited() -> Context {
    let mut context = copy_context();
    context.run(|| drop(CONNECTION.unset()));
    context
}

#[test]
fn th_04_every_job_starts_in_a_copy() {
    for (way, start) in WAYS {
        let pool = pool(1);
        ID.set(1);
        CONNECTION.set(5);
        let seen = Log::default();
        let job = {
            let seen = seen.clone();
            move || {
                seen.push((ID.get(), CONNECTION.get()));
                ID.set(2);
                CONNECTION.set(6);
            }
        };
        start(&pool, Arc::new(job));
        let seen = seen.take();
        assert!(!seen.is_empty(), "{way}");
        assert!(
            seen.iter().all(|seen| *seen == (Some(1), None)),
            "{way}: {seen:?}"
        );
        assert_eq!((ID.get(), CONNECTION.get()), (Some(1), Some(5)), "{way}");
        assert_left_nothing(&pool);
    }
}

#[test]
fn th_05_the_worker_lets_go_of_what_a_job_had_and_set() {
    for (way, start) in WAYS {
        let pool = pool(1);
        let (inherited, own, captured) = (Drops::new(), Drops::new(), Drops::new());
        let mut context = Context::new().with_value(&HELD, inherited.value());
        let held = captured.value();
        let job = {
            let own = own.clone();
            move || {
                let _held = &held;
                assert!(HELD.with(|held| held.is_some()));
                HELD.set(own.value());
            }
        };
        let calls = Log::default();
        let job = {
            let calls = calls.clone();
            move || {
                calls.push(());
                job();
            }
        };
        context.run(|| start(&pool, Arc::new(job)));
        assert_eq!(own.count(), calls.take().len(), "{way}");
        assert_eq!((captured.count(), inherited.count()), (1, 0), "{way}");
        drop(context);
        assert_eq!(inherited.count(), 1, "{way}");
        assert_left_nothing(&pool);
    }
}

#[test]
fn th_05_threads_that_start_at_the_first_job_pin_nothing() {
    static LATE: LazyLock<ThreadPool> = LazyLock::new(|| pool(2));
    let drops = Drops::new();
    let mut context = Context::new()
        .with_value(&ID, 1)
        .with_value(&HELD, drops.value());
    let meet = Barrier::new(2);
    let both = || {
        meet.wait();
        ID.get()
    };
    // Both threads have had a job of that context when it ends.
    let seen = context.run(|| shim::rayon::on(&LATE).join(both, both));
    assert_eq!((seen, drops.count()), ((Some(1), Some(1)), 0));
    drop(context);
    assert_eq!(drops.count(), 1);
    assert_left_nothing(&LATE);
}

#[test]
fn what_is_left_of_a_job_is_dropped_in_its_context() {
    let pool = pool(1);
    ID.set(1);
    let seen = Log::default();
    let job = || {
        let probe = SeesOnDrop(seen.clone());
        move || {
            let _probe = &probe;
            ID.set(2);
        }
    };
    let on = shim::rayon::on(&pool);
    on.spawn(job());
    settle(&pool);
    let called = job();
    on.install(|context| context.call(called));
    on.join(job(), job());
    on.scope(|scope| {
        let own = SeesOnDrop(seen.clone());
        ID.set(3);
        let job = job();
        scope.spawn(move |_| job());
        drop(own);
    });
    inside(&pool, || {
        shim::rayon::spawn(job());
        shim::rayon::join(job(), job());
        let called = job();
        shim::rayon::apart(|context| context.call(called));
    });
    settle(&pool);
    let mut seen_last = seen.take();
    seen_last.sort_unstable();
    assert_eq!(seen_last, [vec![Some(2); 9], vec![Some(3)]].concat());
    // There is one function for all threads, and no call that is the last.
    let probe = SeesOnDrop(seen.clone());
    on.broadcast(move |_| {
        let _probe = &probe;
        ID.set(2);
    });
    assert_eq!((seen.take(), ID.get()), (vec![Some(1)], Some(1)));
}

#[test]
fn values_are_dropped_in_an_empty_context_that_is_nobodys() {
    aiocontextvars::context_var! { static SETS: SetsOnDrop; }
    struct SetsOnDrop(Log<Option<u64>>);
    impl Drop for SetsOnDrop {
        fn drop(&mut self) {
            self.0.push(ID.get());
            ID.set(66);
        }
    }
    for (way, start) in WAYS {
        let pool = pool(1);
        ID.set(1);
        let seen = Log::default();
        let calls = Log::default();
        let job = {
            let (seen, calls) = (seen.clone(), calls.clone());
            move || {
                calls.push(());
                SETS.set(SetsOnDrop(seen.clone()));
            }
        };
        start(&pool, Arc::new(job));
        assert_eq!(seen.take(), vec![None; calls.take().len()], "{way}");
        assert_eq!(ID.get(), Some(1), "{way}");
        assert_left_nothing(&pool);
    }
}

#[test]
fn a_result_belongs_to_the_caller() {
    let pool = pool(1);
    let seen = Log::default();
    ID.set(1);
    let make = || {
        ID.set(2);
        SeesOnDrop(seen.clone())
    };
    let on = shim::rayon::on(&pool);
    drop(on.join(make, make));
    drop((
        on.install(|_| SeesOnDrop(seen.clone())),
        on.install(|context| context.call(make)),
        on.scope(|_| make()),
        on.broadcast(|_| make()),
        shim::rayon::apart(|context| context.call(make)),
    ));
    assert_eq!(seen.take(), vec![Some(1); 7]);
}

#[test]
fn joins_and_scopes_nest() {
    fn tree(depth: u64, path: u64, leaves: &Log<(u64, Option<u64>)>) {
        assert_eq!(ID.get(), Some(path));
        if depth == 0 {
            return leaves.push((path, ID.get()));
        }
        let child = |side: u64| {
            move || {
                ID.set(2 * path + side);
                tree(depth - 1, 2 * path + side, leaves);
            }
        };
        match depth % 2 {
            0 => drop(shim::rayon::join(child(0), child(1))),
            _ => shim::rayon::scope(|scope| {
                scope.spawn(move |_| child(0)());
                scope.spawn(move |scope| {
                    ID.set(77);
                    // A scope's jobs inherit from whoever starts them.
                    scope.spawn(move |_| {
                        assert_eq!(ID.get(), Some(77));
                        child(1)();
                    });
                });
            }),
        }
        assert_eq!(ID.get(), Some(path));
    }
    for threads in 1..=3 {
        let pool = pool(threads);
        let leaves = Log::default();
        ID.set(1);
        shim::rayon::on(&pool).install(|context| context.call(|| tree(6, 1, &leaves)));
        let mut leaves = leaves.take();
        leaves.sort_unstable();
        assert!(
            leaves
                .into_iter()
                .eq((64..128).map(|leaf| (leaf, Some(leaf))))
        );
        assert_eq!(ID.get(), Some(1));
        assert_left_nothing(&pool);
    }
}

#[test]
fn a_job_of_a_job_of_a_task_inherits() {
    let pool = Arc::new(pool(2));
    let executor = ContextAwareExecutor::new(Arc::clone(&pool));
    ID.set(1);
    let task = executor.spawn(async move {
        ID.set(2);
        let (sender, receiver) = futures::channel::oneshot::channel();
        shim::rayon::spawn(move || {
            let seen = ID.get();
            ID.set(3);
            shim::rayon::spawn(move || sender.send((seen, ID.get())).unwrap());
            ID.set(4);
        });
        (receiver.await.unwrap(), ID.get())
    });
    let seen = executor.block_on(task).unwrap();
    assert_eq!((seen, ID.get()), (((Some(2), Some(3)), Some(2)), Some(1)));
}

#[test]
fn a_job_has_no_executor_of_whoever_waits() {
    let pool = Arc::new(pool(1));
    let executor = ContextAwareExecutor::new(Arc::clone(&pool));
    let has_executor = || shim::try_spawn(async {}).is_ok();
    let task = executor.spawn(async move {
        let own = has_executor();
        let joined = shim::rayon::join(has_executor, has_executor);
        let everywhere = shim::rayon::broadcast(|_| has_executor());
        let apart = shim::rayon::apart(|_| has_executor());
        // The same for a job that runs in a wait of somebody's who is not in the shim.
        let (sender, receiver) = mpsc::channel();
        let spawn = || shim::rayon::spawn(move || sender.send(has_executor()).unwrap());
        rayon::join(spawn, || ());
        (own, joined, everywhere, apart, receiver.try_recv())
    });
    // The global executor of one of these two, alone, is the last resort.
    let any = !cfg!(feature = "tokio") && cfg!(feature = "smol") != cfg!(feature = "async-std");
    let seen = executor.block_on(task).unwrap();
    assert_eq!(seen, (true, (any, any), vec![any], any, Ok(any)));
}

/// What is given the context, and is not in it.
type Apart = (&'static str, fn(&ThreadPool, &(dyn Fn(&Context) + Sync)));

const APART: [Apart; 3] = [
    ("Pool::install", |pool, f| shim::rayon::on(pool).install(f)),
    ("apart, in a job", |pool, f| {
        inside(pool, || shim::rayon::apart(f))
    }),
    ("apart, on a thread", |_, f| shim::rayon::apart(f)),
];

#[test]
fn what_runs_apart_is_given_the_context_and_has_none() {
    for (name, apart) in APART {
        let pool = pool(1);
        ID.set(1);
        CONNECTION.set(5);
        apart(&pool, &|context| {
            assert_eq!((ID.get(), CONNECTION.get()), (None, None), "{name}");
            let refused = ID.try_set(2).map_err(|error| error.kind());
            assert_eq!(refused.err(), Some(SetErrorKind::ForeignJob), "{name}");
            let given = (context.get(&ID), context.contains(&CONNECTION));
            assert_eq!((given, context.len()), ((Some(&1), false), 1), "{name}");
            // A copy, and so is what is made of it.
            let called = context.call(|| (ID.set(2).old_value().copied(), ID.get()));
            assert_eq!(called, (Some(1), Some(2)), "{name}");
            assert_eq!(context.get(&ID), Some(&1), "{name}");
            // What is apart from nothing has nothing to give.
            assert!(shim::rayon::apart(Context::is_empty), "{name}");
        });
        assert_eq!((ID.get(), CONNECTION.get()), (Some(1), Some(5)), "{name}");
        assert_left_nothing(&pool);
    }
}

#[test]
fn what_runs_apart_keeps_nothing_of_the_context_and_its_panic_is_passed_on() {
    for (name, apart) in APART {
        let pool = pool(1);
        let drops = Drops::new();
        let mut context = Context::new().with_value(&HELD, drops.value());
        context.run(|| {
            apart(&pool, &|context| assert!(context.contains(&HELD)));
            let panics = || apart(&pool, &|_| panic!("apart"));
            assert_eq!(panic_of(panics), "apart", "{name}");
            assert!(HELD.with(|held| held.is_some()));
        });
        assert_eq!(drops.count(), 0, "{name}");
        drop(context);
        assert_eq!(drops.count(), 1, "{name}");
        assert_left_nothing(&pool);
    }
}

#[test]
fn what_a_closure_that_runs_apart_holds_is_dropped_in_no_context() {
    let pool = pool(1);
    ID.set(1);
    let seen = Log::default();
    let closure = || {
        let probe = SeesOnDrop(seen.clone());
        move |_: &Context| drop(probe)
    };
    shim::rayon::on(&pool).install(closure());
    shim::rayon::apart(closure());
    assert_eq!((seen.take(), ID.get()), (vec![None; 2], Some(1)));
}
