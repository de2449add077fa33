//! A pool as an executor.

use std::future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use aiocontextvars::shim::{self, ContextAwareExecutor};

use crate::{ID, Log, SeesOnDrop, assert_left_nothing, pool};

#[test]
fn tasks_inherit_and_leave_nothing() {
    let pool = Arc::new(pool(1));
    let executor = ContextAwareExecutor::new(Arc::clone(&pool));
    ID.set(1);
    let task = executor.spawn(async {
        let seen = ID.get();
        ID.set(2);
        let child = shim::spawn(async { ID.get() });
        shim::yield_now().await;
        (seen, child.await.unwrap(), ID.get())
    });
    ID.set(3);
    let seen = executor.block_on(task).unwrap();
    assert_eq!((seen, ID.get()), ((Some(1), Some(2), Some(2)), Some(3)));
    assert_left_nothing(&pool);
}

#[test]
fn a_task_that_yields_lets_others_run_on_its_only_thread() {
    let executor = ContextAwareExecutor::new(Arc::new(pool(1)));
    let turns = executor.spawn(async {
        let ran = Arc::new(AtomicBool::new(false));
        let other = Arc::clone(&ran);
        shim::spawn(async move { other.store(true, Ordering::Relaxed) }).detach();
        let mut turns = 0;
        while !ran.load(Ordering::Relaxed) && turns < 1000 {
            shim::yield_now().await;
            turns += 1;
        }
        turns
    });
    assert!(executor.block_on(turns).unwrap() < 1000);
}

#[test]
fn wrappers_of_one_pool_share_its_queue() {
    let pool = Arc::new(pool(2));
    let wrappers = [0, 1].map(|_| ContextAwareExecutor::new(Arc::clone(&pool)));
    let order = Log::default();
    for n in 0..100 {
        let order = order.clone();
        wrappers[n % 2].call_soon(move || order.push(n));
    }
    let (done, wait) = mpsc::channel();
    wrappers[0].call_soon(move || done.send(()).unwrap());
    wait.recv().unwrap();
    assert!(order.take().into_iter().eq(0..100));
}

#[test]
fn a_worker_does_not_block_on_its_pool() {
    let pool = Arc::new(pool(1));
    let executor = ContextAwareExecutor::new(Arc::clone(&pool));
    let inner = executor.clone();
    let in_a_task = executor.spawn(async move { inner.try_block_on(async { 1 }) });
    assert!(executor.block_on(in_a_task).unwrap().is_err());
    assert!(pool.install(|| executor.try_block_on(async { 1 })).is_err());
    // A worker of another pool is a thread like others.
    let other = crate::pool(1);
    assert_eq!(other.install(|| executor.block_on(async { 1 })), 1);
}

#[test]
fn a_task_that_waits_does_not_keep_the_pool_and_is_dropped_in_its_context() {
    let pool = Arc::new(pool(1));
    let executor = ContextAwareExecutor::new(Arc::clone(&pool));
    ID.set(1);
    let seen = Log::default();
    let probe = SeesOnDrop(seen.clone());
    let (polled, wait) = mpsc::channel();
    let task = executor.spawn(async move {
        let _probe = probe;
        ID.set(2);
        future::poll_fn(|cx| {
            polled.send(cx.waker().clone()).unwrap();
            std::task::Poll::<()>::Pending
        })
        .await;
    });
    let waker: std::task::Waker = wait.recv().unwrap();
    let weak = Arc::downgrade(&pool);
    drop((pool, executor));
    // The step may not have ended yet.
    while weak.strong_count() > 0 {
        std::thread::yield_now();
    }
    waker.wake();
    let error = futures::executor::block_on(task).unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!((seen.take(), ID.get()), (vec![Some(2)], Some(1)));
}
