//! Blocking jobs, and blocking in place.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc;

use aiocontextvars::shim::tokio::task;

use super::{ID, current_thread, multi_thread, on_each};

#[test]
fn a_job_gives_its_result_or_its_panic() {
    on_each(|| async {
        let (sender, receiver) = mpsc::channel();
        let job = task::spawn_blocking(move || receiver.recv().unwrap());
        sender.send("done").unwrap();
        assert_eq!(job.await.unwrap(), "done");
        let job = task::spawn_blocking(|| panic!("in {:?}", ID.get()));
        let payload = job
            .await
            .unwrap_err()
            .into_panic()
            .downcast::<String>()
            .unwrap();
        assert_eq!((&**payload, ID.get()), ("in Some(1)", Some(1)));
        // The thread is as it was.
        assert_eq!(
            tokio::task::spawn_blocking(|| ID.get()).await.unwrap(),
            None
        );
    });
}

#[test]
fn a_job_that_has_not_begun_is_aborted_and_dropped_inside_its_context() {
    struct Sends(mpsc::Sender<Option<u64>>);
    impl Drop for Sends {
        fn drop(&mut self) {
            self.0.send(ID.get()).unwrap();
        }
    }
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (release, released) = mpsc::channel::<()>();
        let first = task::spawn_blocking(move || released.recv().unwrap_err());
        let (sender, receiver) = mpsc::channel();
        let sends = Sends(sender);
        let second = ID.sync_scope(2, || {
            task::spawn_blocking(move || {
                drop(sends);
                unreachable!("it is aborted while it waits for the thread");
            })
        });
        second.abort();
        drop(release);
        first.await.unwrap();
        assert!(second.await.unwrap_err().is_cancelled());
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [Some(2)]);
    });
}

#[test]
fn a_job_may_block_in_place_and_wait_for_the_runtime() {
    on_each(|| async {
        let job = task::spawn_blocking(|| {
            task::block_in_place(|| ID.set(2));
            let handle = tokio::runtime::Handle::current();
            handle.block_on(async { task::spawn(async { ID.get() }).await.unwrap() })
        });
        assert_eq!(job.await.unwrap(), Some(2));
        assert_eq!(ID.get(), Some(1));
    });
}

#[test]
fn blocking_in_place_nests_on_a_multi_thread_runtime_and_is_refused_on_the_other() {
    multi_thread().block_on(async {
        let seen = task::spawn(async {
            ID.set(1);
            task::block_in_place(|| task::block_in_place(|| ID.get()))
        });
        assert_eq!(seen.await.unwrap(), Some(1));
        task::block_in_place(|| current_thread().block_on(async {}));
    });
    let refused = panic::catch_unwind(AssertUnwindSafe(|| {
        current_thread().block_on(async { task::block_in_place(|| ()) });
    }));
    assert!(refused.is_err());
}

#[test]
fn who_blocks_in_place_has_no_budget_that_runs_out() {
    const MESSAGES: usize = 500;
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    (0..MESSAGES).for_each(|message| sender.send(message).unwrap());
    drop(sender);
    let count = multi_thread().block_on(async {
        let task = task::spawn(async {
            task::block_in_place(|| {
                futures::executor::block_on(async move {
                    let mut count = 0;
                    while receiver.recv().await.is_some() {
                        count += 1;
                    }
                    count
                })
            })
        });
        task.await.unwrap()
    });
    assert_eq!(count, MESSAGES);
}

#[test]
fn a_paused_clock_waits_for_a_job_whatever_becomes_of_it() {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        use std::time::Duration;
        use tokio::time::timeout;

        let (sender, receiver) = mpsc::channel::<()>();
        let job = task::spawn_blocking(move || receiver.recv().is_err());
        // While a job runs the clock stands, so that this can only be ready by the job.
        std::thread::spawn(move || drop(sender));
        assert!(
            timeout(Duration::from_millis(1), job)
                .await
                .unwrap()
                .unwrap()
        );
        let job = task::spawn_blocking(|| panic!("no"));
        assert!(
            timeout(Duration::from_secs(15), job)
                .await
                .unwrap()
                .unwrap_err()
                .is_panic()
        );
    });
}
