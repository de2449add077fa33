//! Four tenants whose jobs run on the same workers, in each other's waits, by every form that the
//! shim has.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use aiocontextvars::shim::{self, ContextAwareExecutor};
use aiocontextvars::{Context, ContextExt, context_var, copy_context, inherit_context};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::drops::Drops;
use crate::{HELD, ID, assert_left_nothing};

const TENANTS: u64 = 4;

/// How many jobs of each tenant are stolen on each pool. A debug build is slower and has fewer;
/// `.ci/run` has the tests of rayon in a release build as well.
const STOLEN: u64 = if cfg!(debug_assertions) {
    10_000
} else {
    100_000
};

context_var! {
    /// Set by each job, to a number of its own.
    static STEP: (u64, u64);
}

thread_local! {
    /// The jobs that this thread is in: those below the innermost one wait.
    static STACK: RefCell<Vec<Running>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone, Copy)]
struct Running {
    /// Whose job it is.
    tenant: u64,
}

#[derive(Default)]
struct Tally {
    /// By tenant.
    contexts: [Context; TENANTS as usize],
    stolen: [AtomicU64; TENANTS as usize],
    /// Run by another worker than the one that has started it.
    moved: AtomicU64,
    /// Run in a wait of another tenant's.
    within: AtomicU64,
    /// Bare ones among those within.
    bare: AtomicU64,
    pending: AtomicU64,
    steps: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    first_fault: Mutex<Option<String>>,
}

impl Tally {
    fn is_done(&self) -> bool {
        let mut stolen = self.stolen.iter();
        stolen.all(|stolen| stolen.load(Ordering::Relaxed) >= STOLEN)
    }

    fn fault(&self, counter: &AtomicU64, what: impl FnOnce() -> String) {
        counter.fetch_add(1, Ordering::Relaxed);
        self.first_fault.lock().unwrap().get_or_insert_with(what);
    }
}

/// Makes the jobs of one tenant in one form.
#[derive(Clone)]
struct Maker {
    tally: Arc<Tally>,
    tenant: u64,
    form: &'static str,
}

/// A job that has been started, and perhaps not run yet.
struct Job {
    maker: Maker,
    /// The worker that has started it.
    from: Option<usize>,
}

/// Takes a job off [`STACK`].
struct Pop;

impl Drop for Pop {
    fn drop(&mut self) {
        STACK.with_borrow_mut(|stack| stack.pop());
    }
}

impl Maker {
    fn job(&self) -> Job {
        self.job_from(rayon::current_thread_index())
    }

    fn job_from(&self, from: Option<usize>) -> Job {
        self.tally.pending.fetch_add(1, Ordering::Relaxed);
        let maker = self.clone();
        Job { maker, from }
    }

    /// Starts a bare job and one with a context, both of another tenant, for a worker that is about
    /// to wait.
    fn mix(&self) {
        let other = Maker {
            tenant: (self.tenant + 1) % TENANTS,
            ..self.clone()
        };
        let bare = other.job();
        rayon::spawn(move || bare.run_bare(|| ()));
        let context = self.tally.contexts[other.tenant as usize].clone();
        let job = other.job();
        // Waits itself, for two of its own.
        shim::rayon::spawn_in(context, move || {
            job.run(|| {
                let (a, b) = (other.job(), other.job());
                shim::rayon::join(move || a.run(|| ()), move || b.run(|| ()));
            });
        });
    }
}

impl Job {
    /// Notes that it runs, on top of whatever waits on this thread.
    fn enter(&self) -> Pop {
        let Maker { tally, tenant, .. } = &self.maker;
        let tenant = *tenant;
        let below = STACK.with_borrow_mut(|stack| {
            let below = stack.last().copied();
            stack.push(Running { tenant });
            below
        });
        let here = rayon::current_thread_index();
        let is_moved = self.from.is_some() && self.from != here;
        let is_within = below.is_some_and(|below: Running| below.tenant != tenant);
        if is_moved {
            tally.moved.fetch_add(1, Ordering::Relaxed);
        }
        if is_within {
            tally.within.fetch_add(1, Ordering::Relaxed);
        }
        if is_moved || is_within {
            tally.stolen[tenant as usize].fetch_add(1, Ordering::Relaxed);
        }
        Pop
    }

    /// Runs it as one that has the tenant's context.
    fn run(self, f: impl FnOnce()) {
        let Maker {
            tally,
            tenant,
            form,
        } = &self.maker;
        let _pop = self.enter();
        let (id, step) = (ID.get(), STEP.get());
        if id != Some(*tenant) || step.is_some_and(|step| step.0 != *tenant) {
            tally.fault(&tally.reads, || {
                format!("{form}: {tenant} reads {id:?}, {step:?}")
            });
        }
        let own = (*tenant, tally.steps.fetch_add(1, Ordering::Relaxed));
        STEP.set(own);
        f();
        let (id, step) = (ID.get(), STEP.get());
        if id != Some(*tenant) || step != Some(own) {
            tally.fault(&tally.writes, || {
                format!("{form}: {tenant} is left {id:?}, {step:?}")
            });
        }
    }

    /// Runs it as one that has no context.
    fn run_bare(self, f: impl FnOnce()) {
        let Maker {
            tally,
            tenant,
            form,
        } = &self.maker;
        let seen = (ID.get(), STEP.get());
        if seen != (None, None) {
            tally.fault(&tally.reads, || {
                format!("{form}: a bare job reads {seen:?}")
            });
        }
        if ID.try_set(100 + tenant).is_ok() {
            tally.fault(&tally.writes, || format!("{form}: a bare job writes"));
        }
        if STACK.with_borrow(|stack| !stack.is_empty()) {
            tally.bare.fetch_add(1, Ordering::Relaxed);
        }
        let _pop = self.enter();
        f();
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.maker.tally.pending.fetch_sub(1, Ordering::Release);
    }
}

fn join_tree(make: &Maker, depth: u32) {
    if depth > 0 {
        let (a, b) = (make.job(), make.job());
        let a = || {
            a.run(|| {
                make.mix();
                join_tree(make, depth - 1);
            });
        };
        shim::rayon::join(a, || b.run(|| join_tree(make, depth - 1)));
    }
}

fn scope_tree<'a>(make: &'a Maker, scope: shim::rayon::Scope<'_, 'a>, depth: u32) {
    if depth > 0 {
        let (a, b) = (make.job(), make.job());
        scope.spawn(move |scope| a.run(|| scope_tree(make, scope, depth - 1)));
        scope.spawn_in(inherit_context(), move |_| {
            b.run(|| shim::rayon::scope(|scope| scope_tree(make, scope, depth - 1)));
        });
        make.mix();
    }
}

/// Of code that knows nothing of contexts, and is given one.
fn bare_tree(make: &Maker, context: &Context, depth: u32) {
    let half = |job: Job| {
        job.run_bare(|| {
            make.mix();
            let own = make.job();
            context.call(|| own.run(|| ()));
            if depth > 1 {
                bare_tree(make, context, depth - 1);
            }
        });
    };
    let (a, b) = (make.job(), make.job());
    rayon::join(|| half(a), || half(b));
}

fn items() -> impl ParallelIterator<Item = u32> {
    (0..16).into_par_iter().with_max_len(1)
}

struct Place<'a> {
    pool: &'a Arc<ThreadPool>,
    other: &'a ThreadPool,
    /// Tasks on the pool.
    executor: &'a ContextAwareExecutor<Arc<ThreadPool>>,
}

impl Place<'_> {
    /// Calls `f` in a job that has the context.
    fn inside(&self, f: impl FnOnce() + Send) {
        shim::rayon::on(self.pool).install(|context| context.call(f));
    }
}

/// Starts jobs in one way, and perhaps waits for them. Called in a tenant's context.
type Form = (&'static str, fn(&Place<'_>, &Maker));

const FORMS: [Form; 21] = [
    ("spawn", |place, make| {
        place.inside(|| {
            for _ in 0..8 {
                let job = make.job();
                shim::rayon::spawn(move || job.run(|| ()));
            }
        });
    }),
    ("spawn_in", |place, make| {
        place.inside(|| {
            for _ in 0..8 {
                let job = make.job();
                shim::rayon::spawn_in(inherit_context(), move || job.run(|| ()));
            }
        });
    }),
    ("Pool::spawn", |place, make| {
        for _ in 0..8 {
            let (job, make) = (make.job(), make.clone());
            let job = move || job.run(|| join_tree(&make, 1));
            shim::rayon::on(place.pool).spawn(job);
        }
    }),
    ("Pool::spawn_in", |place, make| {
        for _ in 0..8 {
            let (job, make) = (make.job(), make.clone());
            let job = move || job.run(|| join_tree(&make, 1));
            shim::rayon::on(place.pool).spawn_in(inherit_context(), job);
        }
    }),
    ("join", |place, make| place.inside(|| join_tree(make, 3))),
    ("Pool::join", |place, make| {
        let (a, b) = (make.job(), make.job());
        let a = || a.run(|| join_tree(make, 2));
        shim::rayon::on(place.pool).join(a, || b.run(|| join_tree(make, 2)));
    }),
    ("scope", |place, make| {
        place.inside(|| shim::rayon::scope(|scope| scope_tree(make, scope, 3)));
    }),
    ("Pool::scope", |place, make| {
        shim::rayon::on(place.pool).scope(|scope| scope_tree(make, scope, 3));
    }),
    ("broadcast", |place, make| {
        place.inside(|| {
            make.mix();
            let from = rayon::current_thread_index();
            shim::rayon::broadcast(|_| make.job_from(from).run(|| join_tree(make, 1)));
        });
    }),
    ("Pool::broadcast", |place, make| {
        let each = |_: rayon::BroadcastContext<'_>| make.job().run(|| join_tree(make, 1));
        shim::rayon::on(place.pool).broadcast(each);
    }),
    ("a parallel iterator", |place, make| {
        place.inside(|| {
            let from = rayon::current_thread_index();
            let each = |_| make.job_from(from).run(|| make.mix());
            items().in_current_context().for_each(each);
        });
    }),
    (
        "a parallel iterator in a parallel iterator",
        |place, make| {
            place.inside(|| {
                let inner = |_| {
                    let from = rayon::current_thread_index();
                    items().map(move |_| from).in_current_context()
                };
                let outer = items().in_current_context().flat_map(inner);
                let each = |from| make.job_from(from).run(|| make.mix());
                outer.in_current_context().for_each(each);
            });
        },
    ),
    ("a parallel iterator in install", |place, make| {
        shim::rayon::on(place.pool).install(|context| {
            let from = rayon::current_thread_index();
            let each = |_| make.job_from(from).run(|| make.mix());
            items().in_context(context.clone()).for_each(each);
        });
    }),
    ("a bare parallel iterator in install", |place, make| {
        shim::rayon::on(place.pool).install(|context| {
            let from = rayon::current_thread_index();
            items().for_each(|_| {
                make.job_from(from).run_bare(|| {
                    make.mix();
                    let own = make.job();
                    context.call(|| own.run(|| ()));
                });
            });
        });
    }),
    ("a bare join in install", |place, make| {
        shim::rayon::on(place.pool).install(|context| bare_tree(make, context, 3));
    }),
    ("a join in install", |place, make| {
        let tree = || join_tree(make, 3);
        let join =
            |context: &Context| shim::rayon::join(|| context.call(tree), || context.call(tree));
        shim::rayon::on(place.pool).install(|context| _ = join(context));
    }),
    ("a bare join, apart", |place, make| {
        place.inside(|| shim::rayon::apart(|context| bare_tree(make, context, 3)));
    }),
    ("a bare scope, apart", |place, make| {
        place.inside(|| {
            shim::rayon::apart(|context| {
                rayon::scope(|scope| {
                    for _ in 0..8 {
                        let job = make.job();
                        scope.spawn(|_| {
                            job.run_bare(|| {
                                let own = make.job();
                                context.call(|| own.run(|| join_tree(make, 1)));
                            });
                        });
                    }
                    make.mix();
                });
            });
        });
    }),
    ("a bare yield, apart", |place, make| {
        place.inside(|| {
            make.job().run(|| {
                make.mix();
                shim::rayon::apart(|_| {
                    for _ in 0..4 {
                        rayon::yield_now();
                    }
                });
            });
        });
    }),
    ("a wait for another pool", |place, make| {
        place.inside(|| {
            make.job().run(|| {
                make.mix();
                shim::rayon::on(place.other).install(|context| {
                    context.call(|| join_tree(make, 2));
                });
            });
        });
    }),
    ("tasks", |place, make| {
        let task = || {
            let make = make.clone();
            place.executor.spawn(async move {
                for _ in 0..2 {
                    make.job().run(|| join_tree(&make, 2));
                    shim::yield_now().await;
                }
            })
        };
        let tasks = [task(), task(), task()];
        for task in tasks {
            place.executor.block_on(task).unwrap();
        }
    }),
];

/// Starts jobs until those of all tenants have been stolen often enough.
fn tenant(place: &Place<'_>, tally: &Arc<Tally>, tenant: u64) {
    let mut context = tally.contexts[tenant as usize].clone();
    context.run(|| {
        STEP.set((tenant, u64::MAX));
        // Those of others are stolen here.
        while !tally.is_done() {
            for (form, start) in FORMS {
                let tally = Arc::clone(tally);
                start(
                    place,
                    &Maker {
                        tally,
                        tenant,
                        form,
                    },
                );
                let own = (ID.get(), STEP.get(), copy_context().len());
                assert_eq!(own, (Some(tenant), Some((tenant, u64::MAX)), 3), "{form}");
            }
            if tenant == 0 && place.pool.current_num_threads() > 1 {
                meet(place, tally);
            }
        }
    });
}

/// Has one job stolen for certain, by another worker: the two of a join meet. One tenant at a time
/// can do so.
fn meet(place: &Place<'_>, tally: &Arc<Tally>) {
    let tally = Arc::clone(tally);
    let make = Maker {
        tally,
        tenant: 0,
        form: "a join of two that meet",
    };
    let both = Barrier::new(2);
    place.inside(|| {
        let (a, b) = (make.job(), make.job());
        let a = || a.run(|| _ = both.wait());
        shim::rayon::join(a, || b.run(|| _ = both.wait()));
    });
}

fn workers(threads: usize) -> ThreadPool {
    let builder = ThreadPoolBuilder::new().num_threads(threads);
    // Waits are on top of each other, as often as it comes.
    builder.stack_size(64 << 20).build().unwrap()
}

fn check(threads: usize) {
    let (pool, other) = (Arc::new(workers(threads)), workers(1));
    let executor = ContextAwareExecutor::new(Arc::clone(&pool));
    let held = Drops::new();
    let mut tally = Tally::default();
    for (tenant, context) in (0..).zip(&mut tally.contexts) {
        *context = Context::new()
            .with_value(&ID, tenant)
            .with_value(&HELD, held.value());
    }
    let tally = Arc::new(tally);
    thread::scope(|scope| {
        for id in 0..TENANTS {
            let place = Place {
                pool: &pool,
                other: &other,
                executor: &executor,
            };
            let tally = &tally;
            scope.spawn(move || tenant(&place, tally, id));
        }
    });
    while tally.pending.load(Ordering::Acquire) > 0 {
        thread::yield_now();
    }
    for pool in [&pool, &other] {
        assert_left_nothing(pool);
        assert!(
            pool.broadcast(|_| copy_context().is_empty())
                .into_iter()
                .all(|empty| empty)
        );
    }

    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (reads, writes) = (count(&tally.reads), count(&tally.writes));
    let fault = tally.first_fault.lock().unwrap().take();
    assert_eq!(
        (reads, writes),
        (0, 0),
        "foreign reads and writes, such as {fault:?}"
    );
    let (moved, within, bare) = (
        count(&tally.moved),
        count(&tally.within),
        count(&tally.bare),
    );
    println!(
        "{threads} threads: {} jobs, {moved} moved, {within} in others' waits, {bare} of them bare",
        count(&tally.steps),
    );
    assert!(tally.is_done());
    assert!(within > 0 && bare > 0 && (moved > 0) == (threads > 1));
    // The workers have none of what the contexts had.
    assert_eq!(held.count(), 0);
    drop(tally);
    assert_eq!(held.count(), TENANTS as usize);
}

#[test]
fn th_05_jobs_in_each_others_waits_see_and_change_nothing_on_one_thread() {
    check(1);
}

#[test]
fn th_05_jobs_in_each_others_waits_see_and_change_nothing_on_two_threads() {
    check(2);
}

#[test]
fn th_05_jobs_in_each_others_waits_see_and_change_nothing_on_four_threads() {
    check(4);
}
