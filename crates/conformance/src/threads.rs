//! Rows TH: threads and blocking jobs.

use std::future::Future;
use std::panic;
use std::pin::Pin;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{self, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use aiocontextvars::{Context, SharedContext, copy_context, shim};
use futures::channel::oneshot;
use futures::future::LocalBoxFuture;

use crate::executor::{On, OnRemote};
use crate::fixtures::{Drops, ID, until};
use crate::harness::boxed_here;

aiocontextvars::context_var! { static HELD: crate::fixtures::Counted; }

pub(crate) fn th_01_a_std_thread_starts_empty() {
    ID.set(1);
    let barrier = Barrier::new(10);
    thread::scope(|scope| {
        for n in 0..10 {
            let barrier = &barrier;
            scope.spawn(move || {
                assert_eq!(ID.get(), None);
                ID.set(n);
                barrier.wait();
                assert_eq!(ID.get(), Some(n));
            });
        }
    });
    assert_eq!(ID.get(), Some(1));
}

pub(crate) fn th_02_three_ways_to_start_a_thread() {
    fn see_and_set() -> Option<u64> {
        let seen = ID.get();
        ID.set(100);
        seen
    }
    ID.set(1);
    let inherits = shim::thread::spawn(see_and_set);
    let named = shim::thread::Builder::new()
        .name("named".to_owned())
        .stack_size(256 * 1024)
        .spawn(|| (thread::current().name().map(str::to_owned), see_and_set()))
        .unwrap();
    let empty = shim::thread::spawn_in(Context::new(), see_and_set);
    let given = Context::new().with_value(&ID, 2);
    let given = shim::thread::Builder::new()
        .spawn_in(given, see_and_set)
        .unwrap();
    ID.set(3);
    assert_eq!(inherits.join().unwrap(), Some(1));
    assert_eq!(named.join().unwrap(), (Some("named".to_owned()), Some(1)));
    assert_eq!(empty.join().unwrap(), None);
    assert_eq!(given.join().unwrap(), Some(2));
    // Exactly that context, if it is a shared one: entered in turn.
    let shared = SharedContext::new();
    let threads: Vec<_> = (0..4)
        .map(|_| shim::thread::spawn_in(&shared, || ID.set(ID.get_or(0) + 1)))
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(shared.get(&ID), Some(4));
    let borrowed = String::from("borrowed");
    shim::thread::scope(|scope| {
        let first = scope.spawn(|| (borrowed.len(), see_and_set()));
        let second = scope.spawn_in(Context::new(), see_and_set);
        let third = shim::thread::Builder::new().spawn_scoped(scope, see_and_set);
        assert_eq!(first.join().unwrap(), (8, Some(3)));
        assert_eq!(second.join().unwrap(), None);
        assert_eq!(third.unwrap().join().unwrap(), Some(3));
    });
    assert_eq!(ID.get(), Some(3));
}

pub(crate) fn th_03_a_blocking_job_runs_in_a_copy(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let job = shim::spawn_blocking(|| {
            let seen = ID.get();
            ID.set(2);
            // Work that the job hands on inherits from the job.
            let thread = shim::thread::spawn(|| ID.get());
            (seen, thread.join().unwrap())
        });
        ID.set(3);
        assert_eq!(job.await.unwrap(), (Some(1), Some(2)));
        assert_eq!(ID.get(), Some(3));
        let given = Context::new().with_value(&ID, 4);
        assert_eq!(
            shim::spawn_blocking_in(given, || ID.get()).await.unwrap(),
            Some(4)
        );
        let from_task = on.spawn(async {
            ID.set(5);
            shim::spawn_blocking(|| ID.get()).await.unwrap()
        });
        assert_eq!(from_task.await.unwrap(), Some(5));
        let error = shim::spawn_blocking(|| panic::resume_unwind(Box::new("job")));
        let error = error.await.unwrap_err();
        assert_eq!(error.into_panic().downcast_ref(), Some(&"job"));
    });
}

pub(crate) fn th_03_a_job_may_spawn_tasks(on: OnRemote) {
    on.start().block_on(async {
        ID.set(1);
        let job = shim::spawn_blocking(|| {
            ID.set(2);
            shim::spawn(async { ID.get() })
        });
        let task = job.await.unwrap();
        assert_eq!((task.await.unwrap(), ID.get()), (Some(2), Some(1)));
    });
}

pub(crate) fn th_08_a_thread_that_unwinds_wakes_a_task(on: OnRemote) {
    struct Wakes(Option<oneshot::Sender<()>>);
    impl Drop for Wakes {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                // A panic here would end the process.
                let _ = sender.send(());
            }
        }
    }
    on.start().block_on(async {
        ID.set(1);
        let (sender, receiver) = oneshot::channel();
        let (begins, begun) = oneshot::channel();
        let task = on.spawn(async move {
            ID.set(2);
            // Begun is what waits already.
            let begins = async { begins.send(()).unwrap() };
            let (received, ()) = futures::join!(receiver, begins);
            (received, ID.get())
        });
        begun.await.unwrap();
        let thread = thread::spawn(move || {
            let _wakes = Wakes(Some(sender));
            panic::resume_unwind(Box::new("not caught"));
        });
        assert!(thread.join().is_err());
        assert_eq!(
            (task.await.unwrap(), ID.get()),
            ((Ok(()), Some(2)), Some(1))
        );
    });
}

pub(crate) fn th_04_bind_for_foreign_pools(on: On) {
    on.start().block_on(async {
        ID.set(1);
        // A pool that knows nothing of the crate: a plain thread here.
        let bare = thread::spawn(|| ID.get());
        let bound = thread::spawn(shim::bind(|| ID.get()));
        let mut copy = copy_context();
        let by_hand = thread::spawn(move || copy.run(|| ID.get()));
        ID.set(2);
        assert_eq!(bare.join().unwrap(), None);
        assert_eq!(bound.join().unwrap(), Some(1));
        assert_eq!(by_hand.join().unwrap(), Some(1));
    });
}

pub(crate) fn th_05_a_worker_keeps_nothing(on: On) {
    on.start().block_on(async {
        let drops = Drops::new();
        for n in 1..30 {
            HELD.set(drops.value());
            let job = shim::spawn_blocking(move || {
                let seen = ID.get();
                ID.set(n);
                seen
            });
            HELD.unset();
            assert_eq!(job.await.unwrap(), None, "left by an earlier job");
            // The handle's answer may overtake the worker by a step.
            until(|| drops.count() >= n as usize).await;
        }
        assert_eq!(ID.get(), None);
    });
}

/// Who awaits a task or a job is woken where that has ended, outside of its context. What the waker
/// finds there is the worker's own.
pub(crate) fn th_05_a_worker_has_nothing_in_its_own_context(on: OnRemote) {
    struct Looks(Mutex<Option<oneshot::Sender<usize>>>);
    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            let found = self.0.lock().unwrap().take();
            if let Some(found) = found {
                found.send(copy_context().len()).unwrap();
            }
        }
    }
    /// Awaits what has to wait, and is told what the waker finds.
    fn look(task: &mut (impl Future + Unpin)) -> oneshot::Receiver<usize> {
        let (found, wait) = oneshot::channel();
        let waker = Waker::from(Arc::new(Looks(Mutex::new(Some(found)))));
        let cx = &mut task::Context::from_waker(&waker);
        assert!(Pin::new(task).poll(cx).is_pending());
        wait
    }
    let harness = on.start();
    let wrapper = harness.wrapper();
    harness.block_on(async {
        for _ in 0..30 {
            on.spawn(async { drop(ID.set(1)) }).await.unwrap();
            let (go, going) = oneshot::channel::<()>();
            let mut task = wrapper.spawn(async { going.await.unwrap() });
            let found = look(&mut task);
            go.send(()).unwrap();
            assert_eq!(found.await, Ok(0), "where a step is run");
            task.await.unwrap();
            shim::spawn_blocking(|| drop(ID.set(1))).await.unwrap();
            let (go, going) = mpsc::channel::<()>();
            let mut job = shim::spawn_blocking(move || going.recv().unwrap());
            let found = look(&mut job);
            go.send(()).unwrap();
            assert_eq!(found.await, Ok(0), "where a job is run");
            job.await.unwrap();
        }
    });
}

/// Neither a worker that is started when work comes, in the context of who brought it, nor a queue
/// of the work.
pub(crate) fn th_05_an_executor_keeps_nothing_of_its_submitters(on: On) {
    type Submit = fn(On) -> LocalBoxFuture<'static, ()>;
    let submits: [(&str, Submit); 3] = [
        ("a task", |on| {
            let task = on.spawn_in(Context::new(), async {});
            boxed_here(async { task.await.unwrap() })
        }),
        ("a callback", |on| {
            let (done, wait) = oneshot::channel();
            on.call_soon_in(Context::new(), move || done.send(()).unwrap());
            boxed_here(async { wait.await.unwrap() })
        }),
        ("a job", |_| {
            let job = shim::spawn_blocking_in(Context::new(), || ());
            boxed_here(async { job.await.unwrap() })
        }),
    ];
    on.start().block_on(async {
        for (what, submit) in submits {
            for _ in 0..2 {
                let drops = Drops::new();
                HELD.set(drops.value());
                let submitted = submit(on);
                HELD.unset();
                submitted.await;
                // A thread that was started for this alone may be on its way out.
                let patience = Instant::now() + Duration::from_secs(1);
                while drops.count() == 0 && Instant::now() < patience {
                    shim::yield_now().await;
                }
                assert_eq!(drops.count(), 1, "values of who submitted {what} are kept");
            }
        }
    });
}

pub(crate) fn th_05_a_started_job_is_not_aborted(on: On) {
    on.start().block_on(async {
        let (started, wait) = oneshot::channel();
        let (go, going) = std::sync::mpsc::channel::<()>();
        let drops = Drops::new();
        let held = drops.value();
        let job = shim::spawn_blocking(move || {
            started.send(()).unwrap();
            going.recv().unwrap();
            drop(held);
        });
        wait.await.unwrap();
        job.abort();
        assert_eq!(drops.count(), 0);
        go.send(()).unwrap();
        // Either answer is right; what matters is that the job ran to its end first.
        let _outcome = job.await;
        assert_eq!(drops.count(), 1);
    });
}
