//! Executors with a fault each.

use std::mem;
use std::panic;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use aiocontextvars::shim::{self, Clock, Executor, Job, Runnable};
use aiocontextvars::{Context, context_var, copy_context};
use aiocontextvars_conformance::{Suite, check};
use futures::future::{self, BoxFuture, FutureExt};

use crate::pool::{Closure, Pool};
use crate::{SHORT, expect, failed};

/// A pool of which something may be replaced.
struct With {
    pool: Pool,
    schedule: fn(&Pool, Runnable),
    clock: Arc<Sleeps>,
    now: fn() -> Instant,
    spawn_blocking: fn(Job),
}

impl With {
    fn pool(pool: Pool) -> With {
        With {
            pool,
            schedule: |pool, task| pool.post(Box::new(|| task.run())),
            clock: Arc::new(|left| futures_timer::Delay::new(left).boxed()),
            // An hour behind that of std.
            now: || Instant::now() - Duration::from_secs(3600),
            spawn_blocking: |job| drop(thread::spawn(|| job.run())),
        }
    }

    fn new() -> With {
        With::pool(Pool::new(2))
    }
}

impl Executor for With {
    fn schedule(&self, task: Runnable) {
        (self.schedule)(&self.pool, task);
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(OwnClock {
            sleeps: Arc::clone(&self.clock),
            now: self.now,
        })
    }

    fn spawn_blocking(&self, job: Job) {
        (self.spawn_blocking)(job);
    }
}

type Sleeps = dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync;

struct OwnClock {
    sleeps: Arc<Sleeps>,
    now: fn() -> Instant,
}

impl Clock for OwnClock {
    fn now(&self) -> Instant {
        (self.now)()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        (self.sleeps)(at.saturating_duration_since(self.now()))
    }
}

#[test]
fn without_a_fault() {
    check(With::new);
}

/// The rows that tell of values of submitters that are kept. (Others wait until these are dropped.)
const KEEPS: &[&str] = &["th_05"];

#[test]
fn workers_in_the_context_of_the_first_submitter() {
    /// Started when work comes.
    struct Lazy(OnceLock<Pool>);

    impl Executor for Lazy {
        fn schedule(&self, task: Runnable) {
            let pool = self
                .0
                .get_or_init(|| Pool::started_by(2, |run| drop(shim::thread::spawn(run))));
            pool.post(Box::new(|| task.run()));
        }
    }

    let suite = || Suite::new(|| Lazy(OnceLock::new()));
    expect(&suite().only("ta_"), &[], &["ta_01", "ta_12"]);
    let report = expect(&suite().only("th_05_an"), KEEPS, &[]);
    assert_eq!(
        report.failures()[0].name(),
        "th_05_an_executor_keeps_nothing_of_its_submitters"
    );
    let message = report.failures()[0].message();
    assert!(message.contains("who submitted a task"), "{report}");
}

#[test]
fn workers_that_stay_in_a_context_of_their_last_task() {
    /// What a worker has left over, for whoever comes next on the thread.
    fn run(task: Runnable, context: Context) {
        thread_local! { static LAST: Mutex<Option<Context>> = const { Mutex::new(None) }; }
        task.run();
        let before = LAST.with(|last| last.lock().unwrap().replace(context));
        drop(before);
    }

    let suite = || {
        Suite::new(|| With {
            schedule: |pool, task| {
                let context = copy_context();
                pool.post(Box::new(|| run(task, context)));
            },
            ..With::new()
        })
    };
    expect(&suite().only("ta_"), &[], &["ta_01", "ta_12"]);
    expect(&suite().only("th_05_an"), KEEPS, &[]);
}

#[test]
fn blocking_threads_in_the_context_of_the_first_submitter() {
    static POOL: OnceLock<Pool> = OnceLock::new();
    let suite = Suite::new(|| With {
        spawn_blocking: |job| {
            let start = |run: Closure| drop(shim::thread::spawn(run));
            let pool = POOL.get_or_init(|| Pool::started_by(8, start));
            pool.post(Box::new(|| job.run()));
        },
        ..With::new()
    });
    // Only the first of all jobs comes in a context that is kept.
    let report = expect(&suite.only("th_05_an"), KEEPS, &[]);
    assert!(report.failures()[0].message().contains("a job"), "{report}");
}

#[test]
fn workers_with_values_of_their_own() {
    context_var! { static RESIDUE: u32; }
    const ITS_OWN: &str = "th_05_a_worker_has_nothing_in_its_own_context";
    let report = Suite::new(|| With {
        schedule: |pool, task| {
            pool.post(Box::new(|| {
                task.run();
                RESIDUE.set(1);
            }));
        },
        ..With::new()
    });
    let report = expect(&report.only("th_05"), KEEPS, &[]);
    let failure = &report.failures()[0];
    assert_eq!(failure.name(), ITS_OWN);
    assert!(
        failure.message().contains("where a step is run"),
        "{report}"
    );
    // One thread for all jobs, so that there is a next one.
    static JOBS: OnceLock<Pool> = OnceLock::new();
    let report = Suite::new(|| With {
        spawn_blocking: |job| {
            let pool = JOBS.get_or_init(|| Pool::new(1));
            pool.post(Box::new(|| {
                job.run();
                RESIDUE.set(1);
            }));
        },
        ..With::new()
    });
    let report = expect(&report.only(ITS_OWN), KEEPS, &[]);
    assert!(
        report.failures()[0]
            .message()
            .contains("where a job is run"),
        "{report}"
    );
}

#[test]
fn what_makes_executors_is_let_go_of() {
    let pool = Arc::new(());
    let held = Arc::clone(&pool);
    let suite = Suite::new(move || {
        let _held = &held;
        With::new()
    });
    assert!(suite.only("ta_01").report().is_ok());
    assert_eq!(Arc::strong_count(&pool), 1);
}

#[test]
fn a_scheduler_that_sets_a_variable() {
    context_var! { static SCHEDULED: u32; }
    let suite = Suite::new(|| With {
        schedule: |pool, task| {
            SCHEDULED.set(1);
            pool.post(Box::new(|| task.run()));
        },
        ..With::new()
    });
    expect(&suite, &["ta_02"], &["ta_01", "ta_05", "ta_12"]);
}

#[test]
fn tasks_that_are_dropped() {
    let suite = Suite::new(|| With {
        schedule: |_, task| drop(task),
        ..With::new()
    });
    let report = expect(&suite.limit(SHORT), &["ta_01", "ta_05"], &[]);
    assert!(!report.is_ok());
}

#[test]
fn tasks_that_are_lost() {
    let suite = Suite::new(|| With {
        schedule: |_, task| mem::forget(task),
        ..With::new()
    });
    let report = suite.limit(SHORT).report();
    assert_eq!(failed(&report).len(), 3, "{report}");
    for failure in report.failures() {
        assert!(
            failure.message().contains("did not end within 300ms"),
            "{report}"
        );
    }
    let text = report.to_string();
    assert!(
        text.contains("rows are left out: after 3 that did not end"),
        "{text}"
    );
}

#[test]
fn a_scheduler_that_panics() {
    let suite = Suite::new(|| With {
        schedule: |_, _| panic::resume_unwind(Box::new("full")),
        ..With::new()
    });
    expect(&suite.limit(SHORT), &["ta_01"], &[]);
}

#[test]
fn a_clock_whose_sleeps_are_too_short() {
    let suite = Suite::new(|| With {
        clock: Arc::new(|_| future::ready(()).boxed()),
        ..With::new()
    });
    expect(
        &suite.only("table_"),
        &["table_sleeps_follow_the_clock"],
        &["table_a_panic_is_an_error"],
    );
}

#[test]
fn a_clock_whose_sleeps_do_not_end() {
    // Its time stands still: on a busy machine a timer may be due before anybody sleeps.
    static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);
    let suite = || {
        Suite::new(|| With {
            clock: Arc::new(|_| future::pending().boxed()),
            now: || *NOW,
            ..With::new()
        })
    };
    expect(&suite().only("cs_01").limit(SHORT), &["cs_01"], &[]);
    expect(&suite().only("cs_03"), &[], &["cs_03"]);
}

#[test]
fn blocking_jobs_that_are_dropped() {
    let suite = Suite::new(|| With {
        spawn_blocking: drop,
        ..With::new()
    });
    expect(
        &suite.only("th_").limit(SHORT),
        &["th_03", "th_05"],
        &["th_04"],
    );
}
