//! Parking a thread on a future of an executor with threads of its own.

#[path = "common/threads.rs"]
mod threads;

use std::panic::{self, AssertUnwindSafe};
use std::thread;

use aiocontextvars::shim;
use futures::channel::oneshot;

use crate::threads::threads;

#[test]
fn a_wake_from_another_thread_unparks() {
    let executor = threads(1);
    let (done, wait) = oneshot::channel();
    let other = thread::spawn(move || done.send(1).unwrap());
    assert_eq!(executor.block_on(wait), Ok(1));
    other.join().unwrap();
    // One that came before the park counts, and for that park only.
    let (done, wait) = oneshot::channel();
    let mut done = Some(done);
    let waked = std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        match done.take() {
            Some(done) => {
                done.send(2).unwrap();
                std::task::Poll::Pending
            }
            None => std::task::Poll::Ready(()),
        }
    });
    executor.block_on(waked);
    assert_eq!(executor.block_on(wait), Ok(2));
}

#[test]
fn nested_in_a_future_that_the_thread_parks_on_it_is_an_error() {
    let (executor, other) = (threads(1), threads(1));
    executor.block_on(async {
        let same = executor.try_block_on(async { 1 }).unwrap_err();
        assert!(same.to_string().contains("running a task"), "{same}");
        assert!(other.try_block_on(async { 1 }).is_err());
        assert!(shim::try_block_on(async { 1 }).is_err());
        // On another thread it is none.
        let job = executor.spawn_blocking({
            let other = other.clone();
            move || other.block_on(async { 2 })
        });
        assert_eq!(job.await.unwrap(), 2);
    });
    assert_eq!(executor.block_on(async { 3 }), 3);
}

#[test]
fn a_panic_of_the_future_leaves_the_thread_free() {
    let executor = threads(1);
    let panics = || executor.block_on(async { panic::resume_unwind(Box::new("on purpose")) });
    let payload = panic::catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
    assert_eq!(executor.block_on(async { 1 }), 1);
}

#[cfg(feature = "futures-executor")]
mod futures_executor {
    use super::*;
    use futures::executor::{LocalPool, ThreadPool, block_on};
    use futures::task::{LocalSpawnExt, SpawnExt};

    #[test]
    fn within_futures_executors_it_is_an_error() {
        let executor = threads(1);
        assert!(block_on(async { executor.try_block_on(async { 1 }) }).is_err());
        let mut local = LocalPool::new();
        let spawner = local.spawner();
        let own = executor.clone();
        let task = spawner.spawn_local_with_handle(async move { own.try_block_on(async { 1 }) });
        assert!(local.run_until(task.unwrap()).is_err());
        let pool = ThreadPool::builder().pool_size(1).create().unwrap();
        let own = executor.clone();
        let task = pool.spawn_with_handle(async move { own.try_block_on(async { 1 }) });
        assert!(block_on(task.unwrap()).is_err());
        assert_eq!(executor.block_on(async { 1 }), 1);
    }

    #[test]
    fn their_block_on_goes_within_ours() {
        let executor = threads(1);
        assert_eq!(executor.block_on(async { block_on(async { 1 }) }), 1);
    }
}
