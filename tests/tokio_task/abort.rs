//! Tasks that are aborted, and where their destructors run.

use std::future;
use std::sync::mpsc;
use std::thread::{self, ThreadId};

use aiocontextvars::shim::tokio::task::{self, AbortHandle, JoinSet, LocalSet};
use tokio::sync::oneshot;

use super::{ID, current_thread, on_each};

/// Sends, when it is dropped, what it sees there and on which thread that is.
struct Witness(mpsc::Sender<(Option<u64>, ThreadId)>);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.send((ID.get(), thread::current().id())).unwrap();
    }
}

/// Never ends, and has `held`, having said that it has begun.
async fn parked<T>(held: T, begun: oneshot::Sender<()>) {
    begun.send(()).unwrap();
    future::pending::<()>().await;
    drop(held);
}

#[test]
fn a_task_that_waits_is_dropped_inside_its_context() {
    on_each(|| async {
        let (drops, dropped) = mpsc::channel();
        let (begun, has_begun) = oneshot::channel();
        let witness = Witness(drops);
        let handle = ID.sync_scope(2, || task::spawn(parked(witness, begun)));
        has_begun.await.unwrap();
        let abort: AbortHandle = handle.abort_handle();
        assert!(!handle.is_finished());
        // From another thread, as anybody may.
        thread::spawn(move || abort.abort()).join().unwrap();
        let error = handle.await.unwrap_err();
        assert!(error.is_cancelled() && !error.is_panic());
        let seen: Vec<_> = dropped.iter().map(|(id, _)| id).collect();
        assert_eq!((seen, ID.get()), (vec![Some(2)], Some(1)));
    });
}

#[test]
fn a_task_that_never_ran_is_dropped_inside_its_context() {
    let runtime = current_thread();
    let (drops, dropped) = mpsc::channel();
    runtime.block_on(async {
        let witness = Witness(drops);
        let handle = ID.sync_scope(2, || {
            task::spawn(async move {
                drop(witness);
                unreachable!("it is aborted before its first poll");
            })
        });
        handle.abort();
        assert!(handle.await.unwrap_err().is_cancelled());
    });
    assert_eq!(
        dropped.iter().map(|(id, _)| id).collect::<Vec<_>>(),
        [Some(2)]
    );
}

#[test]
fn a_task_whose_handle_is_gone_can_be_aborted() {
    on_each(|| async {
        let (held, is_dropped) = oneshot::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let handle = task::spawn(parked(held, begun));
        has_begun.await.unwrap();
        let abort = handle.abort_handle();
        drop(handle);
        abort.abort();
        // The sender goes with the task.
        assert!(is_dropped.await.is_err());
    });
}

#[test]
fn a_task_that_has_ended_cannot_be_aborted_any_more() {
    on_each(|| async {
        let (done, is_done) = oneshot::channel();
        let handle = task::spawn(async move { done.send(ID.get()) });
        assert_eq!(is_done.await.unwrap(), Some(1));
        while !handle.is_finished() {
            task::yield_now().await;
        }
        handle.abort();
        assert!(handle.await.is_ok());
    });
}

#[test]
fn a_local_task_is_aborted_from_elsewhere_and_dropped_here() {
    let runtime = current_thread();
    let local = LocalSet::new();
    let (drops, dropped) = mpsc::channel();
    let (begun, has_begun) = oneshot::channel();
    let witness = Witness(drops);
    let handle = ID.sync_scope(2, || local.spawn_local(parked(witness, begun)));
    let aborting = thread::spawn(move || {
        has_begun.blocking_recv().unwrap();
        handle.abort();
    });
    // Ends when its last task has.
    runtime.block_on(local);
    aborting.join().unwrap();
    let seen: Vec<_> = dropped.iter().collect();
    assert_eq!(seen, [(Some(2), thread::current().id())]);
}

#[test]
fn a_panic_of_a_destructor_is_the_tasks() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("of a destructor in {:?}", ID.get());
        }
    }
    on_each(|| async {
        let (begun, has_begun) = oneshot::channel();
        let handle = ID.sync_scope(2, || task::spawn(parked(Panics, begun)));
        has_begun.await.unwrap();
        handle.abort();
        let error = handle.await.unwrap_err();
        assert!(error.is_panic());
        let payload = error.into_panic().downcast::<String>().unwrap();
        assert_eq!(*payload, "of a destructor in Some(2)");
        assert_eq!(ID.get(), Some(1));
    });
}

#[test]
fn a_set_or_a_runtime_that_is_dropped_drops_its_tasks_inside_their_contexts() {
    let (drops, dropped) = mpsc::channel();
    let witness = || Witness(drops.clone());
    let pending = |witness| async move {
        future::pending::<()>().await;
        drop::<Witness>(witness);
    };
    let runtime = current_thread();
    let entered = runtime.enter();
    let (mut tasks, local) = (JoinSet::new(), LocalSet::new());
    ID.sync_scope(2, || {
        drop(task::spawn(pending(witness())));
        drop(local.spawn_local(pending(witness())));
        tasks.spawn_local_on(pending(witness()), &local);
    });
    drop(entered);
    drop(local);
    drop(runtime);
    drop(drops);
    let seen: Vec<_> = dropped.iter().map(|(id, _)| id).collect();
    assert_eq!((seen, ID.get()), (vec![Some(2); 3], None));
    assert_eq!(tasks.len(), 1);
}
