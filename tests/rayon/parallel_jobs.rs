//! The jobs of parallel iterators in a context: what each has, drops and leaves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};

use aiocontextvars::shim::{self, ContextAwareExecutor};
use aiocontextvars::{Context, ContextExt, WithContext};
use rayon::ThreadPool;
use rayon::iter::plumbing::{Consumer, Folder, Reducer, UnindexedConsumer};
use rayon::prelude::*;

use crate::drops::Drops;
use crate::{HELD, ID, Log, SeesOnDrop, assert_left_nothing, panic_of, pool};

#[test]
fn each_job_has_one_copy_for_all_its_items() {
    fn check(pool: &ThreadPool, items: impl ParallelIterator<Item = u64>) {
        ID.set(0);
        let (jobs, copies) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items = items.in_current_context();
        shim::rayon::on(pool).install(|context| {
            let init = || {
                jobs.fetch_add(1, Ordering::Relaxed);
                assert_eq!(ID.get(), Some(0));
                ID.set(1);
            };
            items.for_each_init(init, |(), _| {
                let before = ID.get().unwrap();
                assert_ne!(before, 0);
                if before == 1 {
                    copies.fetch_add(1, Ordering::Relaxed);
                }
                ID.set(before + 1);
            });
            assert_eq!((ID.get(), context.get(&ID)), (None, Some(&0)));
        });
        let (jobs, copies) = (jobs.into_inner(), copies.into_inner());
        // An empty job has no first item.
        assert!((1..=jobs).contains(&copies), "{copies} of {jobs}");
        assert!(jobs < 1000, "{jobs} jobs");
        assert_eq!(ID.get(), Some(0));
        assert_left_nothing(pool);
    }
    for threads in 1..=4 {
        let pool = pool(threads);
        let items = || (0..100_000_u64).into_par_iter();
        check(&pool, items());
        // Items that come one at a time.
        check(&pool, items().filter(|_| true));
        check(&pool, (0..100_000_u64).par_bridge());
    }
}

#[test]
fn a_job_is_entered_once_for_all_its_items() {
    #[derive(Default)]
    struct Counts {
        folders: AtomicUsize,
        runs: AtomicUsize,
        single: AtomicUsize,
        items: AtomicUsize,
        outside: AtomicUsize,
    }
    /// Counts how it is driven, and whether it is where it should be.
    #[derive(Clone, Copy)]
    struct Counting<'a>(&'a Counts);
    impl Counting<'_> {
        fn note(self, counter: &AtomicUsize) {
            counter.fetch_add(1, Ordering::Relaxed);
            if ID.get() != Some(1) {
                self.0.outside.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    impl Consumer<u64> for Counting<'_> {
        type Folder = Self;
        type Reducer = Self;
        type Result = ();
        fn split_at(self, _: usize) -> (Self, Self, Self) {
            self.note(&AtomicUsize::new(0));
            (self, self, self)
        }
        fn into_folder(self) -> Self {
            self.note(&self.0.folders);
            self
        }
        fn full(&self) -> bool {
            false
        }
    }
    impl UnindexedConsumer<u64> for Counting<'_> {
        fn split_off_left(&self) -> Self {
            self.note(&AtomicUsize::new(0));
            *self
        }
        fn to_reducer(&self) -> Self {
            self.note(&AtomicUsize::new(0));
            *self
        }
    }
    impl Folder<u64> for Counting<'_> {
        type Result = ();
        fn consume(self, _: u64) -> Self {
            self.note(&self.0.single);
            self
        }
        fn consume_iter<I: IntoIterator<Item = u64>>(self, items: I) -> Self {
            self.note(&self.0.runs);
            self.0
                .items
                .fetch_add(items.into_iter().count(), Ordering::Relaxed);
            self
        }
        fn complete(self) {
            self.note(&AtomicUsize::new(0));
        }
        fn full(&self) -> bool {
            false
        }
    }
    impl Reducer<()> for Counting<'_> {
        fn reduce(self, (): (), (): ()) {
            self.note(&AtomicUsize::new(0));
        }
    }
    fn check(pool: &ThreadPool, items: impl ParallelIterator<Item = u64>) {
        let counts = Counts::default();
        pool.install(|| items.drive_unindexed(Counting(&counts)));
        let [folders, runs, single, items, outside] = [
            counts.folders,
            counts.runs,
            counts.single,
            counts.items,
            counts.outside,
        ]
        .map(AtomicUsize::into_inner);
        assert_eq!((single, items, outside), (0, 100_000, 0));
        assert!(
            runs <= folders && folders < 1000,
            "{runs} runs, {folders} folders"
        );
    }
    let pool = pool(2);
    ID.set(1);
    let vector: Vec<u64> = (0..100_000).collect();
    check(&pool, (0..100_000_u64).into_par_iter().in_current_context());
    check(&pool, vector.par_iter().copied().in_current_context());
    check(
        &pool,
        vector
            .par_iter()
            .enumerate()
            .map(|(_, item)| *item)
            .in_current_context(),
    );
    check(&pool, vector.into_par_iter().in_current_context());
}

#[test]
fn nothing_that_a_job_sets_is_seen_by_another() {
    let pool = pool(2);
    let meet = Barrier::new(2);
    ID.set(0);
    let seen: Vec<_> = shim::rayon::on(&pool).install(|context| {
        let items = (1..3_u64).into_par_iter().in_context(context.clone());
        let each = |item| {
            // Both are in their jobs, on two threads.
            meet.wait();
            let before = ID.get();
            ID.set(item);
            meet.wait();
            (before, ID.get())
        };
        items.map(each).collect()
    });
    assert_eq!(seen, [(Some(0), Some(1)), (Some(0), Some(2))]);
    assert_eq!(ID.get(), Some(0));
    assert_left_nothing(&pool);
}

#[test]
fn th_05_the_workers_let_go_of_everything() {
    let pool = pool(2);
    let (inherited, own) = (Drops::new(), Drops::new());
    let meet = Barrier::new(2);
    let mut context = Context::new().with_value(&HELD, inherited.value());
    let items = context.run(|| (0..2_u64).into_par_iter().in_current_context());
    pool.install(|| {
        items.for_each(|_| {
            meet.wait();
            assert!(HELD.with(|held| held.is_some()));
            HELD.set(own.value());
        });
    });
    assert_eq!((own.count(), inherited.count()), (2, 0));
    drop(context);
    assert_eq!(inherited.count(), 1);
    assert_left_nothing(&pool);
}

#[test]
fn items_and_what_a_job_made_are_dropped_in_its_context() {
    let pool = pool(2);
    let seen = Log::default();
    let probes = |n| (0..n).map(|_| SeesOnDrop(seen.clone())).collect::<Vec<_>>();
    let context = || Context::new().with_value(&ID, 1);
    // Never driven.
    drop(SeesOnDrop(seen.clone()).in_context(context()));
    drop(probes(3).into_par_iter().in_context(context()));
    assert_eq!(seen.take(), [Some(1); 4]);
    let items = probes(100).into_par_iter().in_context(context());
    pool.install(|| items.for_each(drop));
    assert_eq!(seen.take(), [Some(1); 100]);
    let items = (0..100_u64).into_par_iter().in_context(context());
    pool.install(|| {
        items.for_each_init(
            || SeesOnDrop(seen.clone()),
            |_, item| drop(ID.set(item + 1000)),
        );
    });
    let made = seen.take();
    assert!(!made.is_empty() && made.iter().all(|seen| seen.unwrap() >= 1000));
}

#[test]
fn items_that_no_job_is_given_are_dropped_in_no_context() {
    type Items = WithContext<rayon::vec::IntoIter<SeesOnDrop>>;
    type Case = (&'static str, fn(Items));
    let cases: [Case; 5] = [
        ("find_any", |items| {
            assert_eq!(items.map(drop).find_any(|()| true), Some(()));
        }),
        ("find_first", |items| {
            assert_eq!(items.map(drop).find_first(|()| true), Some(()));
        }),
        ("any", |items| assert!(items.any(|_| true))),
        ("try_for_each", |items| {
            assert_eq!(items.try_for_each(|_| None), None);
        }),
        ("take_any", |items| {
            assert_eq!(items.take_any(1).map(drop).count(), 1)
        }),
    ];
    // The first half of the items is done before the second is looked at.
    let pool = pool(1);
    let seen = Log::default();
    let probes = || {
        (0..100)
            .map(|_| SeesOnDrop(seen.clone()))
            .collect::<Vec<_>>()
    };
    let context = || Context::new().with_value(&ID, 1);
    let counts = || {
        let seen = seen.take();
        let count = |expected| seen.iter().filter(|seen| **seen == expected).count();
        let (inside, outside) = (count(Some(1)), count(None));
        assert_eq!(inside + outside, 100);
        (inside, outside)
    };
    for (name, case) in cases {
        let items = probes().into_par_iter();
        let items = items.in_context(context());
        pool.install(|| case(items));
        let (inside, outside) = counts();
        assert!(inside > 0 && outside > 0, "{name}: {inside}, {outside}");
    }
    // One item at a time is given to the job.
    let items = probes().into_iter().par_bridge().in_context(context());
    pool.install(|| assert!(items.any(|_| true)));
    assert_eq!(counts(), (1, 99));
    let none = probes().into_par_iter().filter(|_| false);
    pool.install(|| none.in_context(context()).for_each(drop));
    assert_eq!(counts(), (0, 100));
    assert_left_nothing(&pool);
}

#[test]
fn a_panic_in_a_job_comes_out_and_leaves_nothing() {
    let pool = pool(2);
    let (inherited, own) = (Drops::new(), Drops::new());
    let seen = Log::default();
    let calls = AtomicUsize::new(0);
    let mut context = Context::new()
        .with_value(&ID, 1)
        .with_value(&HELD, inherited.value());
    context.run(|| {
        let probes: Vec<_> = (0..100).map(|_| SeesOnDrop(seen.clone())).collect();
        let items = probes.into_par_iter().in_current_context();
        let panics = || {
            let init = || SeesOnDrop(seen.clone());
            items.for_each_init(init, |_, _item| {
                ID.set(2);
                HELD.set(own.value());
                calls.fetch_add(1, Ordering::Relaxed);
                panic!("of an item");
            });
        };
        assert_eq!(panic_of(|| pool.install(panics)), "of an item");
        assert_eq!(ID.get(), Some(1));
    });
    assert_eq!((own.count(), inherited.count()), (calls.into_inner(), 0));
    let seen = seen.take();
    assert!(seen.len() > 100 && !seen.contains(&None), "{seen:?}");
    drop(context);
    assert_eq!(inherited.count(), 1);
    assert_left_nothing(&pool);
}

#[test]
fn values_of_a_job_that_panics_may_set_variables() {
    aiocontextvars::context_var! { static SETS: SetsOnDrop; }
    struct SetsOnDrop;
    impl Drop for SetsOnDrop {
        fn drop(&mut self) {
            ID.set(66);
        }
    }
    let pool = pool(2);
    let meet = Barrier::new(2);
    let items = (0..2_u64).into_par_iter().in_context(Context::new());
    let panics = || {
        items.for_each(|_| {
            SETS.set(SetsOnDrop);
            // One of the two is on a thread that has entered nothing else.
            meet.wait();
            panic!("of an item");
        });
    };
    assert_eq!(panic_of(|| pool.install(panics)), "of an item");
    assert_left_nothing(&pool);
}

#[test]
fn a_job_has_no_executor_of_whoever_runs_it_in_a_wait() {
    let executor = ContextAwareExecutor::new(Arc::new(pool(2)));
    let meet = Arc::new(Barrier::new(2));
    let (sender, receiver) = mpsc::channel();
    let task = executor.spawn(async move {
        let (started, wait) = mpsc::channel();
        let drives = move || {
            started.send(()).unwrap();
            let items = (0..2_u64).into_par_iter().in_current_context();
            let each = |_| {
                meet.wait();
                shim::try_spawn(async {}).is_ok()
            };
            let seen: Vec<_> = items.map(each).collect();
            sender.send(seen).unwrap();
        };
        rayon::spawn(drives);
        // The other thread has that job, and this one runs the second of its two items.
        wait.recv().unwrap();
        loop {
            if let Ok(seen) = receiver.try_recv() {
                return seen;
            }
            rayon::yield_now();
        }
    });
    // The global executor of one of these two, alone, is the last resort.
    let any = !cfg!(feature = "tokio") && cfg!(feature = "smol") != cfg!(feature = "async-std");
    assert_eq!(executor.block_on(task).unwrap(), [any; 2]);
}

#[test]
fn a_panic_while_the_jobs_are_made_lets_go_of_the_context() {
    /// Cannot be cloned.
    struct Single(#[expect(dead_code)] SeesOnDrop);
    impl Clone for Single {
        fn clone(&self) -> Single {
            panic!("of a clone");
        }
    }
    let pool = pool(2);
    let (drops, seen) = (Drops::new(), Log::default());
    let context = Context::new()
        .with_value(&ID, 1)
        .with_value(&HELD, drops.value());
    let items = (0..100_u64).into_par_iter().in_context(context);
    let single = Single(SeesOnDrop(seen.clone()));
    let panics = || items.for_each_with(single, |_, _| ());
    assert_eq!(panic_of(|| pool.install(panics)), "of a clone");
    assert_eq!((seen.take(), drops.count()), (vec![Some(1)], 1));
    assert_left_nothing(&pool);
}
