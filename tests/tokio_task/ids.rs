//! Ids of tasks are tokio's, and the same in the task, at its handle and in its destructors.

use std::future::{self, Future};
use std::pin::Pin;
use std::task::{Context, Poll};

use aiocontextvars::shim::tokio::task::{self, Id, JoinSet, LocalSet};
use tokio::sync::oneshot;

use super::{ID, current_thread, multi_thread, on_each};

type Seen = (Option<Id>, Option<u64>);

/// Sends the id of the task that drops it, and what it sees there.
struct Sends(Option<oneshot::Sender<Seen>>);

impl Drop for Sends {
    fn drop(&mut self) {
        let sender = self.0.take().unwrap();
        sender.send((task::try_id(), ID.get())).unwrap();
    }
}

fn sends() -> (Sends, oneshot::Receiver<Seen>) {
    let (sender, receiver) = oneshot::channel();
    (Sends(Some(sender)), receiver)
}

#[test]
fn a_task_its_handle_and_its_abort_handle_have_one_id() {
    on_each(|| async {
        let handle = task::spawn(async {
            task::yield_now().await;
            (task::id(), tokio::task::id())
        });
        let id = handle.id();
        assert_eq!(handle.abort_handle().id(), id);
        assert_eq!(handle.await.unwrap(), (id, id));
        let job = task::spawn_blocking(task::id);
        let other = job.id();
        assert_eq!(job.await.unwrap(), other);
        assert_ne!(id, other);
        let failed = task::spawn(async { panic!("no") });
        let id = failed.id();
        assert_eq!(failed.await.unwrap_err().id(), id);
    });
}

#[test]
fn a_future_is_dropped_under_its_id_and_in_its_context() {
    struct Completes(#[expect(dead_code, reason = "for its drop")] Sends);
    impl Future for Completes {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }
    on_each(|| async {
        let (completed, first) = sends();
        let (aborted, second) = sends();
        let (completes, waits) = ID.sync_scope(2, || {
            let waits = async move {
                future::pending::<()>().await;
                drop(aborted);
            };
            (task::spawn(Completes(completed)), task::spawn(waits))
        });
        let ids = [completes.id(), waits.id()];
        completes.await.unwrap();
        waits.abort();
        assert!(waits.await.unwrap_err().is_cancelled());
        assert_eq!(first.await.unwrap(), (Some(ids[0]), Some(2)));
        assert_eq!(second.await.unwrap(), (Some(ids[1]), Some(2)));
    });
}

#[test]
fn an_output_that_nobody_takes_is_dropped_under_the_tasks_id() {
    current_thread().block_on(async {
        // The handle is dropped before the task ends, and after.
        let (output, dropped) = sends();
        let handle = task::spawn(async move { output });
        let id = handle.id();
        drop(handle);
        assert_eq!(dropped.await.unwrap().0, Some(id));
        let (output, mut dropped) = sends();
        let handle = task::spawn(async move { output });
        let id = handle.id();
        while !handle.is_finished() {
            task::yield_now().await;
        }
        assert!(dropped.try_recv().is_err());
        drop(handle);
        assert_eq!(dropped.await.unwrap().0, Some(id));
    });
}

#[test]
fn outside_of_a_task_there_is_none() {
    assert_eq!(task::try_id(), None);
    for runtime in [current_thread(), multi_thread()] {
        runtime.block_on(async { assert_eq!(task::try_id(), None) });
    }
}

#[test]
fn nested_tasks_have_ids_of_their_own() {
    let local = LocalSet::new();
    local.block_on(&current_thread(), async {
        let outer = task::spawn_local(async {
            let outer = task::id();
            let inner = LocalSet::new();
            let inner = inner.run_until(async { task::spawn_local(async { task::id() }).await });
            assert_ne!(inner.await.unwrap(), outer);
            assert_eq!(task::id(), outer);
        });
        outer.await.unwrap();
    });
    multi_thread().block_on(async {
        let outer = task::spawn(async {
            let outer = task::id();
            let inner = task::block_in_place(|| {
                let runtime = current_thread();
                runtime.block_on(async { task::spawn(async { task::id() }).await })
            });
            assert_ne!(inner.unwrap(), outer);
            assert_eq!(task::id(), outer);
        });
        outer.await.unwrap();
    });
}

#[test]
fn a_join_set_gives_ids_with_results() {
    on_each(|| async {
        let mut tasks = JoinSet::new();
        let id = tasks.spawn(async { task::id() }).id();
        assert_eq!(tasks.join_next_with_id().await.unwrap().unwrap(), (id, id));
        let id = tasks.spawn(async { panic!("no") }).id();
        assert_eq!(
            tasks.join_next_with_id().await.unwrap().unwrap_err().id(),
            id
        );
        assert!(tasks.join_next_with_id().await.is_none());
        assert!(tasks.try_join_next_with_id().is_none());
    });
}
