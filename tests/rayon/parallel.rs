//! Parallel iterators in a context.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};

use aiocontextvars::shim::{self, ContextAwareExecutor};
use aiocontextvars::{Context, ContextExt};
use rayon::ThreadPool;
use rayon::iter::plumbing::{Consumer, Folder, Reducer, UnindexedConsumer};
use rayon::prelude::*;

use crate::drops::Drops;
use crate::{CONNECTION, HELD, ID, Log, SeesOnDrop, assert_left_nothing, panic_of, pool};

const ITEMS: u64 = 10_000;

/// Calls `f` in the pool and in a context, and checks what it has collected.
#[track_caller]
fn all_see_one(pool: &ThreadPool, name: &str, f: impl FnOnce(&Log<Option<u64>>) + Send) {
    ID.set(1);
    let seen = Log::default();
    shim::rayon::on(pool).install(|| f(&seen));
    let seen = seen.take();
    assert!(!seen.is_empty(), "{name}");
    let seen: BTreeSet<_> = seen.into_iter().collect();
    assert_eq!(seen, BTreeSet::from([Some(1)]), "{name}");
    assert_eq!(ID.get(), Some(1), "{name}");
    assert_left_nothing(pool);
}

#[test]
fn all_closures_after_the_adapter_see_the_context() {
    type Case = (&'static str, fn(&Log<Option<u64>>));
    fn items() -> impl ParallelIterator<Item = u64> {
        (0..ITEMS).into_par_iter().in_current_context()
    }
    /// Sees when it is cloned, too.
    struct Cloned<'a>(&'a Log<Option<u64>>);
    impl Clone for Cloned<'_> {
        fn clone(&self) -> Self {
            self.0.push(ID.get());
            Cloned(self.0)
        }
    }
    let cases: [Case; 16] = [
        ("for_each", |seen| items().for_each(|_| seen.push(ID.get()))),
        ("map", |seen| {
            drop(items().map(|_| seen.push(ID.get())).collect::<Vec<_>>())
        }),
        ("inspect", |seen| {
            items().inspect(|_| seen.push(ID.get())).for_each(drop)
        }),
        ("filter", |seen| {
            let even = |item: &u64| {
                seen.push(ID.get());
                item % 2 == 0
            };
            assert_eq!(items().filter(even).count() as u64, ITEMS / 2);
        }),
        ("filter_map", |seen| {
            let count = items().filter_map(|_| ID.get().inspect(|id| seen.push(Some(*id))));
            assert_eq!(count.count() as u64, ITEMS);
        }),
        ("flat_map_iter", |seen| {
            let twice = |item: u64| [item; 2].into_iter().inspect(|_| seen.push(ID.get()));
            assert_eq!(items().flat_map_iter(twice).count() as u64, 2 * ITEMS);
        }),
        ("map_init", |seen| {
            let init = || seen.push(ID.get());
            items()
                .map_init(init, |(), _| seen.push(ID.get()))
                .for_each(drop);
        }),
        ("map_with", |seen| {
            items()
                .map_with(Cloned(seen), |seen, _| seen.0.push(ID.get()))
                .for_each(drop);
        }),
        ("for_each_with", |seen| {
            items().for_each_with(Cloned(seen), |seen, _| seen.0.push(ID.get()))
        }),
        ("for_each_with, of unknown length", |seen| {
            let halves = |items: std::ops::Range<u64>| match (items.end - items.start) / 2 {
                0 => (items, None),
                half => (
                    items.start..items.start + half,
                    Some(items.start + half..items.end),
                ),
            };
            let items = rayon::iter::split(0..ITEMS, halves).in_current_context();
            items.for_each_with(Cloned(seen), |seen, _| seen.0.push(ID.get()));
        }),
        ("fold", |seen| {
            let fold = |(), _| seen.push(ID.get());
            items().fold(|| seen.push(ID.get()), fold).for_each(drop);
        }),
        ("reduce", |seen| {
            let sum = |a, b| {
                seen.push(ID.get());
                a + b
            };
            let zero = || {
                seen.push(ID.get());
                0
            };
            assert_eq!(items().reduce(zero, sum), ITEMS * (ITEMS - 1) / 2);
        }),
        ("try_for_each", |seen| {
            let each = |_| {
                seen.push(ID.get());
                Some(())
            };
            assert!(items().try_for_each(each).is_some());
        }),
        ("find_any", |seen| {
            let find = |item: &u64| {
                seen.push(ID.get());
                *item == 7
            };
            assert_eq!(items().find_any(find), Some(7));
        }),
        ("min_by_key", |seen| {
            let key = |item: &u64| {
                seen.push(ID.get());
                *item
            };
            assert_eq!(items().min_by_key(key), Some(0));
        }),
        ("partition", |seen| {
            let even = |item: &u64| {
                seen.push(ID.get());
                item % 2 == 0
            };
            let (even, odd): (Vec<_>, Vec<_>) = items().partition(even);
            assert_eq!(even.len(), odd.len());
        }),
    ];
    for threads in [1, 3] {
        let pool = pool(threads);
        for (name, case) in cases {
            all_see_one(&pool, name, case);
        }
    }
}

#[test]
fn closures_before_the_adapter_see_it_if_they_hand_all_items_on() {
    let pool = pool(2);
    all_see_one(&pool, "map", |seen| {
        let items = (0..ITEMS).into_par_iter().map(|_| seen.push(ID.get()));
        items.in_current_context().for_each(drop);
    });
    all_see_one(&pool, "enumerate, rev, map, chunks", |seen| {
        let items = (0..ITEMS as usize).into_par_iter().enumerate().rev();
        let items = items
            .inspect(|_| seen.push(ID.get()))
            .chunks(10)
            .in_current_context();
        assert_eq!(items.map(|chunk| chunk.len() as u64).sum::<u64>(), ITEMS);
    });
    // One that keeps some of them back is done with an item before it hands it on.
    ID.set(1);
    let seen: Vec<_> = shim::rayon::on(&pool).install(|| {
        let items = (0..ITEMS).into_par_iter().filter_map(|_| Some(ID.get()));
        items
            .in_current_context()
            .map(|seen| (seen, ID.get()))
            .collect()
    });
    assert_eq!(seen, vec![(None, Some(1)); ITEMS as usize]);
}

#[test]
fn each_job_has_one_copy_for_all_its_items() {
    fn check(pool: &ThreadPool, items: impl ParallelIterator<Item = u64>) {
        ID.set(0);
        let (jobs, copies) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items = items.in_current_context();
        shim::rayon::on(pool).install(|| {
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
            assert_eq!(ID.get(), Some(0));
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
    let seen: Vec<_> = shim::rayon::on(&pool).install(|| {
        let items = (1..3_u64).into_par_iter().in_current_context();
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
fn flat_map_starts_jobs_for_which_the_adapter_is_used_again() {
    let pool = pool(2);
    ID.set(1);
    let meet = Barrier::new(2);
    // The two inner items are on two threads, one of which is not the outer job's.
    let inner = |_| {
        meet.wait();
        ID.get()
    };
    let (bare, again) = shim::rayon::on(&pool).install(|| {
        let one = || (0..1_u64).into_par_iter().in_current_context();
        let bare = one().flat_map(|_| (0..2_u64).into_par_iter().map(inner));
        let bare: Vec<_> = bare.map(|seen| (seen, ID.get())).collect();
        let again = one().flat_map(|_| (0..2_u64).into_par_iter().in_current_context().map(inner));
        let again = again.in_current_context().map(|seen| (seen, ID.get()));
        (bare, again.collect::<Vec<_>>())
    });
    let lost = bare.iter().filter(|seen| **seen == (None, None)).count();
    assert_eq!((lost, bare.len()), (1, 2), "{bare:?}");
    assert_eq!(again, [(Some(1), Some(1)); 2]);
}

#[test]
fn order_and_length_stay() {
    let pool = pool(3);
    let items: Vec<u64> = (0..ITEMS).collect();
    pool.install(|| {
        let same = items.par_iter().in_current_context();
        assert_eq!(same.opt_len(), Some(items.len()));
        let same: Vec<u64> = same.copied().collect();
        assert_eq!(same, items);
        let even = items.par_iter().filter(|item| **item % 2 == 0);
        assert_eq!(even.in_current_context().opt_len(), None);
        let mut changed = items.clone();
        changed
            .par_iter_mut()
            .in_current_context()
            .for_each(|item| *item += 1);
        assert!(changed.into_iter().eq(1..=ITEMS));
        let map: HashMap<u64, u64> = items.iter().map(|item| (*item, 1)).collect();
        let sum: u64 = map
            .into_par_iter()
            .in_current_context()
            .map(|(_, one)| one)
            .sum();
        assert_eq!(sum, ITEMS);
        let bridged = items.iter().par_bridge().in_current_context();
        assert_eq!(bridged.copied().max(), Some(ITEMS - 1));
        let empty: Vec<u64> = Vec::new();
        assert_eq!(empty.par_iter().in_current_context().count(), 0);
    });
}

#[test]
fn a_given_context_is_taken_as_it_is_and_copied_for_each_job() {
    let pool = pool(2);
    ID.set(9);
    CONNECTION.set(5);
    let mut context = Context::new().with_value(&CONNECTION, 6);
    let token = context.run(|| ID.set(1));
    let token = Mutex::new(Some(token));
    let item = shim::rayon::on(&pool).install(|| {
        let item = (0..1_u64).into_par_iter().in_context(context);
        item.map(|_| {
            let token = token.lock().unwrap().take().unwrap();
            let refused = ID.reset(token).is_err();
            (ID.get(), CONNECTION.get(), refused)
        })
        .collect::<Vec<_>>()
    });
    // A copy accepts no token of its original.
    assert_eq!(item, [(Some(1), Some(6), true)]);
    let inherited: Vec<_> = shim::rayon::on(&pool).install(|| {
        CONNECTION.set(7);
        let items = (0..2_u64).into_par_iter().in_current_context();
        items.map(|_| (ID.get(), CONNECTION.get())).collect()
    });
    assert_eq!(inherited, [(Some(9), None); 2]);
    assert_eq!((ID.get(), CONNECTION.get()), (Some(9), Some(5)));
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
    // All but one are dropped without having been looked at.
    let items = probes(100).into_par_iter().in_context(context());
    let first = pool.install(|| items.find_first(|_| true));
    assert!(seen.take().iter().filter(|seen| **seen == Some(1)).count() > 0);
    drop(first);
    assert_eq!(seen.take(), [None]);
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
    // The global executor of one of these two is the last resort.
    let any = cfg!(feature = "smol") != cfg!(feature = "async-std");
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
