//! Branches of one task, on every runtime: they share the task's context, and with `in_own_context`
//! each has its own.

#[path = "../crates/conformance/src/drops.rs"]
mod drops;
#[path = "channels/runtimes.rs"]
mod runtimes;

use std::future::{self, Future};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use aiocontextvars::{
    Context, ContextExt, SharedContext, context_var, copy_context, in_own_context, shim,
};
use futures::future::{BoxFuture, FutureExt, join, join_all, join4, select, try_join_all};
use futures::stream::{self, FuturesOrdered, FuturesUnordered, StreamExt, TryStreamExt};

use drops::{Counted, Drops};

context_var! {
    static JOB: u64;
    static LEVEL: u64 = 0;
    static HELD: Counted;
    #[local] static CONNECTION: u64;
}

/// How many branches there are.
const JOBS: u64 = 8;

/// Runs a test on each runtime, in a task and in what the runtime blocks on.
fn on_each_runtime<F: Future<Output = ()> + Send + 'static>(test: fn() -> F) {
    runtimes::on_each_runtime(test);
    runtimes::on_each_runtime(|| async move { shim::spawn(test()).await.unwrap() });
}

/// The number of a branch, and what that has seen.
type Seen = (u64, Option<u64>);

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Seen>>>);

impl Log {
    fn push(&self, job: u64, seen: Option<u64>) {
        self.0.lock().unwrap().push((job, seen));
    }

    /// What has arrived so far, in the order of the numbers. It is forgotten.
    fn take(&self) -> Vec<Seen> {
        let mut seen = std::mem::take(&mut *self.0.lock().unwrap());
        seen.sort_unstable();
        seen
    }

    /// Checks that all branches have seen their own numbers.
    #[track_caller]
    fn are_own(&self, name: &str) {
        let own: Vec<_> = (0..JOBS).map(|job| (job, Some(job))).collect();
        assert_eq!(self.take(), own, "{name}");
    }

    /// Checks that some have seen others' numbers.
    #[track_caller]
    fn are_mixed(&self, name: &str) {
        let seen = self.take();
        assert_eq!(seen.len() as u64, JOBS, "{name}");
        let is_strange = |(job, seen): &Seen| *seen != Some(*job);
        assert!(seen.iter().any(is_strange), "{name}: {seen:?}");
    }
}

/// Notes what [`JOB`] is when it is dropped.
struct SeesOnDrop(Log, u64);

impl Drop for SeesOnDrop {
    fn drop(&mut self) {
        self.0.push(self.1, JOB.get());
    }
}

/// Makes the branch of a number.
type Branch = Box<dyn FnMut(u64) -> BoxFuture<'static, ()> + Send>;

fn branch<F: Future<Output = ()> + Send + 'static>(
    mut f: impl FnMut(u64) -> F + Send + 'static,
) -> Branch {
    Box::new(move |job| f(job).boxed())
}

/// Runs all branches side by side.
type Combinator = (&'static str, fn(Branch) -> BoxFuture<'static, ()>);

const COMBINATORS: [Combinator; 10] = [
    ("for_each_concurrent", |branch| {
        let jobs = stream::iter(0..JOBS);
        jobs.for_each_concurrent(3, branch).boxed()
    }),
    ("for_each_concurrent without a limit", |branch| {
        let jobs = stream::iter(0..JOBS);
        jobs.for_each_concurrent(None, branch).boxed()
    }),
    ("try_for_each_concurrent", |mut branch| {
        let jobs = stream::iter(0..JOBS).map(Ok::<_, ()>);
        let run = jobs.try_for_each_concurrent(3, move |job| branch(job).map(Ok));
        run.map(Result::unwrap).boxed()
    }),
    ("buffer_unordered", |branch| {
        let branches = stream::iter(0..JOBS).map(branch).buffer_unordered(3);
        branches.for_each(future::ready).boxed()
    }),
    ("buffered", |branch| {
        let branches = stream::iter(0..JOBS).map(branch).buffered(3);
        branches.for_each(future::ready).boxed()
    }),
    ("join_all", |branch| {
        join_all((0..JOBS).map(branch)).map(drop).boxed()
    }),
    ("try_join_all", |mut branch| {
        let branches = (0..JOBS).map(move |job| branch(job).map(Ok::<_, ()>));
        try_join_all(branches).map(drop).boxed()
    }),
    ("FuturesUnordered", |branch| {
        let branches: FuturesUnordered<_> = (0..JOBS).map(branch).collect();
        branches.for_each(future::ready).boxed()
    }),
    ("FuturesOrdered", |branch| {
        let branches: FuturesOrdered<_> = (0..JOBS).map(branch).collect();
        branches.for_each(future::ready).boxed()
    }),
    ("join", |mut b| {
        let first = join4(b(0), b(1), b(2), b(3));
        join(first, join4(b(4), b(5), b(6), b(7))).map(drop).boxed()
    }),
];

/// Sets, waits and reads.
async fn sets(job: u64, log: Log) {
    JOB.set(job);
    shim::yield_now().await;
    log.push(job, JOB.get());
}

/// The same with a guard, which ends later than that of the branch before.
async fn guards(job: u64, log: Log) {
    let _guard = JOB.scoped(job);
    shim::yield_now().await;
    log.push(job, JOB.get());
    for _ in 0..job {
        shim::yield_now().await;
    }
}

#[test]
fn branches_share_what_they_set() {
    on_each_runtime(|| async {
        for (name, run) in COMBINATORS {
            let log = Log::default();
            JOB.set(99);
            let each = log.clone();
            run(branch(move |job| sets(job, each.clone()))).await;
            log.are_mixed(name);
            // And so does the task itself.
            assert!(JOB.get() < Some(JOBS), "{name}");
        }
    });
}

#[test]
fn branches_share_their_guards() {
    on_each_runtime(|| async {
        for (name, run) in COMBINATORS {
            let log = Log::default();
            JOB.set(99);
            let each = log.clone();
            run(branch(move |job| guards(job, each.clone()))).await;
            log.are_mixed(name);
            // When no guard is live, no guard's value is visible.
            assert_eq!(JOB.get(), Some(99), "{name}");
        }
    });
}

#[test]
fn branches_in_their_own_context_share_nothing() {
    on_each_runtime(|| async {
        for (name, run) in COMBINATORS {
            let log = Log::default();
            JOB.set(99);
            let each = log.clone();
            run(branch(in_own_context(move |job| sets(job, each.clone())))).await;
            log.are_own(name);
            let each = log.clone();
            run(branch(in_own_context(move |job| guards(job, each.clone())))).await;
            log.are_own(name);
            assert_eq!((JOB.get(), copy_context().len()), (Some(99), 1), "{name}");
        }
    });
}

/// Of the variables that are there when the function is called, those that are not `local`.
#[test]
fn a_branch_starts_with_what_the_task_has_at_the_call() {
    on_each_runtime(|| async {
        CONNECTION.set(5);
        let mut make = in_own_context(async |()| (LEVEL.get(), CONNECTION.get()));
        LEVEL.set(1);
        let first = make(());
        LEVEL.set(2);
        let second = make(());
        LEVEL.set(3);
        assert_eq!(join(first, second).await, ((1, None), (2, None)));
        assert_eq!((LEVEL.get(), CONNECTION.get()), (3, Some(5)));
        // For all combinators, which call it when they have room.
        for (name, run) in COMBINATORS {
            let log = Log::default();
            let seen = log.clone();
            let each = in_own_context(move |job| {
                seen.push(job, CONNECTION.get().or(Some(LEVEL.get())));
                CONNECTION.set(job);
                LEVEL.set(job);
                shim::yield_now()
            });
            run(branch(each)).await;
            let started: Vec<_> = (0..JOBS).map(|job| (job, Some(3))).collect();
            assert_eq!(log.take(), started, "{name}");
            assert_eq!((LEVEL.get(), CONNECTION.get()), (3, Some(5)), "{name}");
        }
    });
}

#[test]
fn the_closure_is_called_in_the_context_of_its_future() {
    on_each_runtime(|| async {
        for (name, run) in COMBINATORS {
            let log = Log::default();
            JOB.set(99);
            let each = log.clone();
            // It has state of its own, as any `FnMut`.
            let mut calls = 0;
            let each = move |job| {
                assert_eq!(JOB.set(job).old_value(), Some(&99));
                calls += 1;
                assert_eq!(calls, job + 1);
                let log = each.clone();
                async move {
                    shim::yield_now().await;
                    log.push(job, JOB.get());
                }
            };
            run(branch(in_own_context(each))).await;
            log.are_own(name);
            assert_eq!(JOB.get(), Some(99), "{name}");
        }
    });
}

#[test]
fn what_a_branch_spawns_inherits_from_it() {
    on_each_runtime(|| async {
        for (name, run) in COMBINATORS {
            let log = Log::default();
            JOB.set(99);
            let each = log.clone();
            let each = move |job| {
                let log = each.clone();
                async move {
                    JOB.set(job);
                    let task = shim::spawn(async { JOB.get() });
                    shim::yield_now().await;
                    log.push(job, task.await.unwrap());
                }
            };
            run(branch(in_own_context(each))).await;
            log.are_own(name);
        }
    });
}

#[test]
fn branches_of_branches_share_nothing_either() {
    on_each_runtime(|| async {
        let log = Log::default();
        JOB.set(99);
        let seen = log.clone();
        let outer = move |half: u64| {
            let log = seen.clone();
            async move {
                JOB.set(100 + half);
                let inner = |job| sets(job, log.clone());
                join_all((4 * half..4 * half + 4).map(in_own_context(inner))).await;
                assert_eq!(JOB.get(), Some(100 + half));
            }
        };
        stream::iter(0..2)
            .for_each_concurrent(2, in_own_context(outer))
            .await;
        log.are_own("nested");
        assert_eq!(JOB.get(), Some(99));
    });
}

#[test]
fn a_branch_lets_go_of_its_values_when_it_ends() {
    on_each_runtime(|| async {
        for (name, run) in COMBINATORS {
            let (inherited, own, running) = (Drops::new(), Drops::new(), Drops::new());
            HELD.set(inherited.value());
            let (values, inputs) = (own.clone(), running.clone());
            let each = move |_| {
                HELD.set(values.value());
                let input = inputs.value();
                async move {
                    shim::yield_now().await;
                    HELD.with(|held| assert!(held.is_some()));
                    drop(input);
                }
            };
            run(branch(in_own_context(each))).await;
            let counts = [own.count(), running.count(), inherited.count()];
            assert_eq!(counts, [JOBS as usize, JOBS as usize, 0], "{name}");
            drop(HELD.unset());
            assert_eq!(inherited.count(), 1, "{name}");
        }
    });
}

/// A branch that never ends, with a number and a value.
fn never(log: &Log, drops: &Drops) -> impl FnMut(u64) -> BoxFuture<'static, ()> + use<> {
    let (log, drops) = (log.clone(), drops.clone());
    move |job| {
        JOB.set(job);
        HELD.set(drops.value());
        let probe = SeesOnDrop(log.clone(), job);
        async move {
            let _probe = probe;
            future::pending().await
        }
        .boxed()
    }
}

#[test]
fn a_branch_that_was_never_polled_is_dropped_in_its_context() {
    on_each_runtime(|| async {
        JOB.set(99);
        let (log, drops) = (Log::default(), Drops::new());
        let branches: Vec<_> = (0..JOBS).map(in_own_context(never(&log, &drops))).collect();
        assert_eq!((log.take(), drops.count()), (vec![], 0));
        drop(branches);
        log.are_own("in a vector");
        assert_eq!(drops.count() as u64, JOBS);
        // In a combinator that is not polled.
        for (name, run) in COMBINATORS {
            drop(run(branch(in_own_context(never(&log, &drops)))));
            let dropped = log.take();
            assert!(
                dropped.iter().all(|(job, seen)| *seen == Some(*job)),
                "{name}"
            );
        }
        assert_eq!(JOB.get(), Some(99));
    });
}

#[test]
fn a_branch_that_is_cut_off_is_dropped_in_its_context() {
    on_each_runtime(|| async {
        for (name, run) in COMBINATORS {
            JOB.set(99);
            let (log, drops) = (Log::default(), Drops::new());
            let mut branches = run(branch(in_own_context(never(&log, &drops))));
            assert!(futures::poll!(&mut branches).is_pending(), "{name}");
            let ends = select(branches, shim::yield_now().boxed()).await;
            assert!(log.take().is_empty(), "{name}");
            drop(ends);
            let dropped = log.take();
            assert!(!dropped.is_empty(), "{name}");
            assert!(
                dropped.iter().all(|(job, seen)| *seen == Some(*job)),
                "{name}"
            );
            assert_eq!(drops.count(), dropped.len(), "{name}");
            assert_eq!(JOB.get(), Some(99), "{name}");
        }
    });
}

#[test]
fn a_branch_or_its_closure_that_panics_leaves_nothing() {
    on_each_runtime(|| async {
        for in_the_closure in [true, false] {
            for (name, run) in COMBINATORS {
                JOB.set(99);
                let (log, drops) = (Log::default(), Drops::new());
                let (probes, values) = (log.clone(), drops.clone());
                let each = move |job| {
                    JOB.set(job);
                    HELD.set(values.value());
                    let probe = SeesOnDrop(probes.clone(), job);
                    assert!(!in_the_closure || job != 2, "of the closure");
                    async move {
                        let _probe = probe;
                        shim::yield_now().await;
                        assert_ne!(job, 2, "of the branch");
                    }
                };
                // The combinator calls the closure, at once or when it is polled.
                let panics = async { run(branch(in_own_context(each))).await };
                let panicked = AssertUnwindSafe(panics).catch_unwind().await;
                assert!(panicked.is_err(), "{name}");
                let dropped = log.take();
                assert!(dropped.contains(&(2, Some(2))), "{name}: {dropped:?}");
                assert!(
                    dropped.iter().all(|(job, seen)| *seen == Some(*job)),
                    "{name}"
                );
                assert_eq!(drops.count(), dropped.len(), "{name}");
                assert_eq!((JOB.get(), copy_context().len()), (Some(99), 1), "{name}");
            }
        }
    });
}

#[test]
fn within_a_shared_context_branches_of_their_own_write_to_copies() {
    on_each_runtime(|| async {
        for (name, run) in COMBINATORS {
            let shared = SharedContext::new();
            shared.run(|| JOB.set(99)).unwrap();
            let log = Log::default();
            let each = log.clone();
            let task = async move {
                run(branch(in_own_context(move |job| sets(job, each.clone())))).await;
                JOB.get()
            };
            assert_eq!(task.in_context(&shared).await, Some(99), "{name}");
            log.are_own(name);
            assert_eq!((shared.get(&JOB), shared.len()), (Some(99), 1), "{name}");
        }
    });
}

/// The page's advice for macros, whose branches no closure makes.
#[test]
fn in_current_context_does_the_same_for_one_branch() {
    on_each_runtime(|| async {
        let log = Log::default();
        JOB.set(99);
        let one = |job| sets(job, log.clone()).in_current_context();
        join(
            join4(one(0), one(1), one(2), one(3)),
            join4(one(4), one(5), one(6), one(7)),
        )
        .await;
        log.are_own("join");
        // One that loses goes in its own.
        let drops = Drops::new();
        let mut never = never(&log, &drops);
        let loses = async move { never(5).await }.in_current_context();
        let wins = sets(6, log.clone()).in_current_context();
        drop(select(Box::pin(loses), Box::pin(wins)).await);
        assert_eq!(log.take(), [(5, Some(5)), (6, Some(6))]);
        assert_eq!((drops.count(), JOB.get()), (1, Some(99)));
        assert_eq!(copy_context().len(), 1);
    });
}

/// Nothing has to be running.
#[test]
fn the_function_may_be_called_anywhere() {
    let mut make = Context::new()
        .with_value(&LEVEL, 1)
        .run(|| in_own_context(async |level| (LEVEL.set(level).old_value().copied(), LEVEL.get())));
    // What counts is where it is called.
    LEVEL.set(2);
    let future = make(3);
    LEVEL.set(4);
    let future = std::thread::spawn(|| futures::executor::block_on(future));
    assert_eq!((future.join().unwrap(), LEVEL.get()), ((Some(2), 3), 4));
}
