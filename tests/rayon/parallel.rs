//! Parallel iterators in a context: which closures see it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Barrier, Mutex};

use aiocontextvars::shim;
use aiocontextvars::{Context, ContextExt};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::{CONNECTION, ID, Log, assert_left_nothing, pool};

const ITEMS: u64 = 10_000;

/// Calls `f` in the pool and in a context, and checks what it has collected.
#[track_caller]
fn all_see_one(pool: &ThreadPool, name: &str, f: impl FnOnce(&Log<Option<u64>>) + Send) {
    ID.set(1);
    let seen = Log::default();
    shim::rayon::on(pool).install(|context| context.call(|| f(&seen)));
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
    let seen: Vec<_> = shim::rayon::on(&pool).install(|context| {
        let items = (0..ITEMS).into_par_iter().filter_map(|_| Some(ID.get()));
        items
            .in_context(context.clone())
            .map(|seen| (seen, ID.get()))
            .collect()
    });
    assert_eq!(seen, vec![(None, Some(1)); ITEMS as usize]);
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
    let (bare, again) = shim::rayon::on(&pool).install(|context| {
        let one = || (0..1_u64).into_par_iter().in_context(context.clone());
        let bare = one().flat_map(|_| (0..2_u64).into_par_iter().map(inner));
        let bare: Vec<_> = bare.map(|seen| (seen, ID.get())).collect();
        let again = one().flat_map(|_| (0..2_u64).into_par_iter().in_current_context().map(inner));
        let again = again.in_context(context.clone());
        let again = again.map(|seen| (seen, ID.get()));
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
    let item = shim::rayon::on(&pool).install(|_| {
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
    let sees = || {
        CONNECTION.set(7);
        let items = (0..2_u64).into_par_iter().in_current_context();
        items.map(|_| (ID.get(), CONNECTION.get())).collect()
    };
    let inherited: Vec<_> = shim::rayon::on(&pool).install(|context| context.call(sees));
    assert_eq!(inherited, [(Some(9), None); 2]);
    assert_eq!((ID.get(), CONNECTION.get()), (Some(9), Some(5)));
}
