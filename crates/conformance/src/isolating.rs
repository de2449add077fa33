//! Rows TA-18: what has a context of its own.

use std::convert::Infallible;
use std::time::Duration;

use aiocontextvars::shim::{self, JoinSet, TaskGroup};
use aiocontextvars::{Context, ContextExt, SharedContext};
use futures::channel::mpsc;
use futures::future::{FutureExt, join_all, select, try_join_all};
use futures::stream::{self, FuturesUnordered, StreamExt};

use crate::executor::On;
use crate::fixtures::{ID, Log, SeesOnDrop};
use crate::harness::boxed;
use crate::sharing::{add_one, bump, never};

pub(crate) fn ta_18_spawned_tasks(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let tasks = (0..3).map(|_| on.spawn(bump()));
        let found = join_all(tasks).await;
        assert!(found.into_iter().all(|found| found.unwrap() == 1));
        let empty = on.spawn_in(Context::new(), bump());
        let shared = Context::new().with_value(&ID, 50).share();
        let one_after_another = [(); 2].map(|()| on.spawn_in(&shared, bump()));
        assert_eq!(empty.await.unwrap(), 0);
        let mut found = try_join_all(one_after_another).await.unwrap();
        found.sort();
        assert_eq!((found, shared.get(&ID)), (vec![50, 51], Some(52)));
        if on.has_local == Some(true) {
            assert_eq!(shim::spawn_local(bump()).await.unwrap(), 1);
        }
        assert_eq!(ID.get(), Some(1));
    });
}

pub(crate) fn ta_18_jobs_and_threads(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let job = shim::spawn_blocking(add_one);
        let thread = shim::thread::spawn(add_one);
        assert_eq!((job.await.unwrap(), thread.join().unwrap()), (1, 1));
        assert_eq!(ID.get(), Some(1));
        let found = shim::thread::scope(|scope| {
            // This is no thread, and shares.
            add_one();
            scope.spawn(add_one).join().unwrap()
        });
        assert_eq!((found, ID.get()), (2, Some(2)));
    });
}

pub(crate) fn ta_18_callbacks(on: On) {
    on.start().block_on(async {
        let (sender, mut receiver) = mpsc::unbounded();
        let tell = || {
            let sender = sender.clone();
            move || sender.unbounded_send(add_one()).unwrap()
        };
        ID.set(1);
        on.call_soon(tell());
        on.call_soon(tell());
        on.call_later(Duration::from_millis(1), tell());
        let ends = on.spawn(async {});
        ends.add_done_callback(tell());
        ends.await.unwrap();
        for _ in 0..4 {
            assert_eq!(receiver.next().await, Some(1));
        }
        assert_eq!(ID.get(), Some(1));
    });
}

pub(crate) fn ta_18_groups(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let mut tasks = JoinSet::new();
        for _ in 0..3 {
            tasks.spawn(boxed(bump()));
        }
        assert_eq!((tasks.join_all().await, ID.get()), (vec![1; 3], Some(1)));
        let found = TaskGroup::scope(async |group: TaskGroup<Infallible>| {
            // The body is no task, and shares.
            add_one();
            let child = || group.spawn(boxed(async { Ok(bump().await) }));
            let (first, second) = (child(), child());
            Ok((first.await.unwrap(), second.await.unwrap()))
        })
        .await;
        assert_eq!(found.unwrap(), (Some(2), Some(2)));
        assert_eq!(ID.get(), Some(2));
    });
}

/// Branches that are wrapped have a copy each, taken when they are.
pub(crate) fn ta_18_wrapped_branches(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let branch = || bump().in_current_context();
        assert_eq!(futures::join!(branch(), branch()), (1, 1));
        assert_eq!(join_all((0..3).map(|_| branch())).await, [1; 3]);
        let unordered: FuturesUnordered<_> = (0..3).map(|_| branch()).collect();
        assert_eq!(unordered.collect::<Vec<_>>().await, [1; 3]);
        let each = |_| branch().map(|found| assert_eq!(found, 1));
        stream::iter(0..3).for_each_concurrent(2, each).await;
        assert_eq!(ID.get(), Some(1));
        // The closure of `map` itself shares.
        let buffered = stream::iter(0..3).map(|_| {
            add_one();
            branch()
        });
        let mut found: Vec<_> = buffered.buffer_unordered(2).collect().await;
        found.sort();
        assert_eq!((found, ID.get()), (vec![2, 3, 4], Some(4)));
        // The loser of a `select!` goes in its own.
        let seen = Log::new();
        let loses = never(SeesOnDrop(seen.clone())).in_current_context();
        ID.set(9);
        drop(select(Box::pin(loses), Box::pin(branch())).await);
        assert_eq!((seen.take(), ID.get()), (vec![Some(4)], Some(9)));
    });
}

/// Branches in one shared context share it with each other.
pub(crate) fn ta_18_branches_in_one_context(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let shared = SharedContext::new();
        let branch = || bump().in_context(&shared);
        assert_eq!(futures::join!(branch(), branch()), (0, 1));
        let unordered: FuturesUnordered<_> = (0..3).map(|_| branch()).collect();
        assert_eq!(unordered.count().await, 3);
        assert_eq!((shared.get(&ID), ID.get()), (Some(5), Some(1)));
    });
}

pub(crate) fn ta_18_scopes(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let found = futures::join!(ID.scope(10, bump()), ID.scope(20, bump()), bump());
        assert_eq!((found, ID.get()), ((10, 20, 1), Some(2)));
        assert_eq!(ID.sync_scope(30, || (add_one(), ID.get())), (30, Some(31)));
        assert_eq!(Context::new().run(add_one), 0);
        let given = Context::new().with_value(&ID, 40);
        assert_eq!(bump().in_context(given).await, 40);
        assert_eq!(ID.get(), Some(2));
    });
}

pub(crate) fn ta_18_bound_functions(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let each = shim::bind_fn(|_: u64| add_one());
        let again = shim::bind_mut(|_: u64| add_one());
        ID.set(10);
        let mapped = stream::iter(0..2).map(each).collect::<Vec<_>>().await;
        let counted = stream::iter(0..2).map(again).collect::<Vec<_>>().await;
        let plain = stream::iter(0..2)
            .map(|_| add_one())
            .collect::<Vec<_>>()
            .await;
        assert_eq!((mapped, counted), (vec![1, 1], vec![1, 2]));
        assert_eq!((plain, ID.get()), (vec![10, 11], Some(12)));
        assert_eq!((shim::bind(add_one)(), ID.get()), (12, Some(12)));
    });
}

/// A run has a copy, and a runner's runs have one for all of them.
pub(crate) fn ta_18_runs(on: On) {
    ID.set(1);
    let harness = on.start();
    assert_eq!([(); 2].map(|()| harness.block_on(bump())), [1, 1]);
    let mut runner = harness.runner();
    assert_eq!([(); 2].map(|()| runner.run(bump())), [1, 2]);
    assert_eq!(ID.get(), Some(1));
}
