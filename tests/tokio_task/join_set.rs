//! Sets of tasks: joining, aborting, detaching.

use std::future::{self, poll_fn};
use std::time::Duration;

use aiocontextvars::shim::tokio::task::{self, JoinSet, LocalSet};
use futures::FutureExt;
use tokio::sync::{Semaphore, oneshot, watch};

use super::{ID, current_thread, on_each};

/// Never ends, and has a sender, whose receiver tells when it is dropped.
fn parked() -> (impl Future<Output = ()> + Send, oneshot::Receiver<()>) {
    let (sender, receiver) = oneshot::channel();
    let future = async move {
        future::pending::<()>().await;
        drop(sender);
    };
    (future, receiver)
}

#[test]
fn tasks_come_out_as_they_end_and_new_ones_go_in() {
    on_each(|| async {
        let mut tasks = JoinSet::new();
        assert!(tasks.is_empty() && tasks.join_next().await.is_none());
        let (first, gate) = oneshot::channel();
        tasks.spawn(async move {
            gate.await.unwrap();
            1
        });
        tasks.spawn(async { 2 });
        assert_eq!(
            (tasks.len(), tasks.join_next().await.unwrap().unwrap()),
            (2, 2)
        );
        assert!(tasks.try_join_next().is_none());
        for task in 3..20 {
            tasks.spawn(async move { task });
            assert_eq!(tasks.join_next().await.unwrap().unwrap(), task);
            assert_eq!(tasks.len(), 1);
        }
        first.send(()).unwrap();
        let result = poll_fn(|cx| tasks.poll_join_next(cx)).await;
        assert_eq!(result.unwrap().unwrap(), 1);
        assert!(tasks.is_empty());
    });
}

#[test]
fn tasks_that_sleep_come_out_in_order() {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for id in (0..10_u64).rev() {
            let abort = ID.sync_scope(id, || {
                tasks.spawn(async {
                    tokio::time::sleep(Duration::from_secs(ID.get().unwrap())).await;
                    ID.get().unwrap()
                })
            });
            if id % 2 == 1 {
                abort.abort();
            }
        }
        let (mut done, mut aborted) = (Vec::new(), 0);
        while let Some(result) = tasks.join_next().await {
            match result {
                Ok(id) => done.push(id),
                Err(error) => aborted += u8::from(error.is_cancelled()),
            }
        }
        assert_eq!((done, aborted), (vec![0, 2, 4, 6, 8], 5));
    });
}

#[test]
fn a_set_that_is_dropped_or_shut_down_aborts_its_tasks() {
    on_each(|| async {
        for shuts_down in [false, true] {
            let mut tasks = JoinSet::new();
            let mut dropped = Vec::new();
            for _ in 0..8 {
                let (future, receiver) = parked();
                tasks.spawn(future);
                dropped.push(receiver);
            }
            if shuts_down {
                tasks.shutdown().await;
                assert!(tasks.is_empty());
            }
            drop(tasks);
            for receiver in dropped {
                assert!(receiver.await.is_err());
            }
        }
    });
}

#[test]
fn tasks_that_are_aborted_together_stay_in_the_set() {
    on_each(|| async {
        let mut tasks = JoinSet::new();
        for _ in 0..5 {
            tasks.spawn(future::pending::<()>());
        }
        tasks.abort_all();
        assert_eq!(tasks.len(), 5);
        let mut aborted = 0;
        while let Some(result) = tasks.join_next().await {
            assert!(result.unwrap_err().is_cancelled());
            aborted += 1;
        }
        assert_eq!(aborted, 5);
    });
}

#[test]
fn tasks_that_are_detached_run_on() {
    on_each(|| async {
        let mut tasks = JoinSet::new();
        let (sender, receiver) = oneshot::channel();
        tasks.spawn(async move { sender.send(ID.get()).unwrap() });
        tasks.detach_all();
        assert!(tasks.is_empty());
        drop(tasks);
        assert_eq!(receiver.await.unwrap(), Some(1));
    });
}

#[test]
fn joining_all_passes_a_panic_on_and_aborts_the_others() {
    on_each(|| async {
        let mut tasks = JoinSet::new();
        let (future, dropped) = parked();
        tasks.spawn(future);
        tasks.spawn(async { panic!("in {:?}", ID.get()) });
        let error = task::spawn(tasks.join_all()).await.unwrap_err();
        let payload = error.into_panic().downcast::<String>().unwrap();
        assert_eq!(*payload, "in Some(1)");
        assert!(dropped.await.is_err());
    });
}

#[test]
fn a_runtime_that_is_gone_has_cancelled_its_tasks() {
    let mut tasks = JoinSet::new();
    let runtime = current_thread();
    tasks.spawn_on(async { 1 }, runtime.handle());
    drop(runtime);
    let result = current_thread().block_on(tasks.join_next());
    assert!(result.unwrap().unwrap_err().is_cancelled());
}

#[test]
fn the_budget_of_a_task_is_respected_and_trying_is_not_bound_by_it() {
    const TASKS: usize = 500;
    current_thread().block_on(async {
        let ended = std::sync::Arc::new(Semaphore::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let ended = ended.clone();
            tasks.spawn(async move { ended.add_permits(1) });
        }
        let _permits = ended.acquire_many(TASKS as u32).await.unwrap();
        let (mut joined, mut yielded) = (0, 0);
        loop {
            match tasks.join_next().now_or_never() {
                Some(Some(result)) => {
                    result.unwrap();
                    joined += 1;
                }
                Some(None) => break,
                None => {
                    yielded += 1;
                    task::yield_now().await;
                }
            }
        }
        assert_eq!(joined, TASKS);
        assert!(yielded >= 1);

        let (sender, receiver) = watch::channel(());
        for _ in 0..TASKS {
            let mut receiver = receiver.clone();
            tasks.spawn(async move { receiver.changed().await.unwrap() });
        }
        drop(receiver);
        assert!(tasks.try_join_next().is_none());
        sender.send_replace(());
        sender.closed().await;
        for _ in 0..TASKS {
            tasks.try_join_next().unwrap().unwrap();
        }
        assert!(tasks.try_join_next().is_none() && tasks.is_empty());
    });
}

#[test]
fn local_tasks_of_a_set_end_with_it() {
    let local = LocalSet::new();
    let mut tasks = JoinSet::new();
    let (future, dropped) = parked();
    tasks.spawn_local_on(future, &local);
    assert!(tasks.try_join_next().is_none());
    drop(tasks);
    local.block_on(&current_thread(), async { assert!(dropped.await.is_err()) });
}

#[test]
fn its_debug_output_is_tokios() {
    let ours = format!("{:?}", JoinSet::<u8>::default());
    assert_eq!(ours, format!("{:?}", tokio::task::JoinSet::<u8>::default()));
}
