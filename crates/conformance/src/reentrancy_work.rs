//! Rows R-5: what goes with tasks, callbacks, jobs and wakers uses the crate.

use std::future;
use std::panic;
use std::sync::Arc;
use std::task;
use std::time::Duration;

use aiocontextvars::shim::{self, AbortHandle, CallHandle, JoinHandle, JoinSet, TaskGroup};
use aiocontextvars::{Context, ContextExt, copy_context};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::LocalBoxFuture;
use futures::task::AtomicWaker;

use crate::executor::{On, Task};
use crate::fixtures::{HeldElsewhere, ID, until};
use crate::harness::{boxed, boxed_here};
use crate::meddler::{Hook, MEDDLER, Meddler, OPERATIONS, Record, meddling_waker};
use crate::reports;

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(1);

/// Where a meddler is dropped, and the value of [`ID`] there, if that is promised.
type Place = (
    &'static str,
    Option<u64>,
    fn(On, Meddler) -> LocalBoxFuture<'static, ()>,
);

/// Lets each operation be done in each place. The executor goes on, and nothing is left behind.
fn in_each(on: On, places: &[Place]) {
    on.start().block_on(async {
        ID.set(1);
        for operation in OPERATIONS {
            for (place, id, run) in places {
                let record = Record::new();
                run(on, record.meddler(operation)).await;
                while record.live() > 0 {
                    // A reactor drops an old timer's waker when it has a new one.
                    shim::sleep(SHORT).await;
                }
                record.check(place, operation);
                let seen = record.seen(Hook::Drop);
                assert!(id.is_none() || seen[0] == *id, "{place}: {seen:?}");
                assert_eq!(on.spawn(async { ID.get() }).await.unwrap(), Some(1));
                on.callbacks_so_far().await;
                let left = (ID.get(), copy_context().len());
                assert_eq!(left, (Some(1), 1), "{place}, {}", operation.0);
            }
        }
    });
}

/// A future that keeps `meddler` and does not end.
async fn keep(meddler: Meddler) {
    let _meddler = meddler;
    ID.set(2);
    future::pending::<()>().await;
}

fn holding(meddler: Meddler) -> Context {
    Context::new().with_value(&MEDDLER, meddler)
}

pub(crate) fn r_05_destructors_of_tasks_may_use_the_crate(on: On) {
    in_each(
        on,
        &[
            ("a task that returns", Some(2), |on, meddler| {
                boxed_here(async {
                    let task = on.spawn(async move {
                        let _meddler = meddler;
                        ID.set(2);
                        shim::yield_now().await;
                    });
                    task.await.unwrap();
                })
            }),
            ("a task that is aborted", Some(2), |on, meddler| {
                boxed_here(async {
                    let (started, wait) = oneshot::channel();
                    let task = on.spawn(async move {
                        let mut kept = Box::pin(keep(meddler));
                        assert!((&mut kept).now_or_never().is_none());
                        started.send(()).unwrap();
                        kept.await;
                    });
                    wait.await.unwrap();
                    task.abort();
                    assert!(task.await.unwrap_err().is_cancelled());
                })
            }),
            ("a task that is aborted early", None, |on, meddler| {
                boxed_here(async {
                    let task = on.spawn(keep(meddler));
                    task.abort();
                    assert!(task.await.unwrap_err().is_cancelled());
                })
            }),
            ("a task that aborts itself", Some(2), |on, meddler| {
                boxed_here(async {
                    let (give, take) = oneshot::channel::<AbortHandle>();
                    let task = on.spawn(async move {
                        let _meddler = meddler;
                        ID.set(2);
                        take.await.unwrap().abort();
                        shim::yield_now().await;
                    });
                    assert!(give.send(task.abort_handle()).is_ok());
                    let _either = task.await;
                })
            }),
            ("a task that panics", Some(2), |on, meddler| {
                boxed_here(async {
                    let task = on.spawn(async move {
                        let _meddler = meddler;
                        ID.set(2);
                        panic::resume_unwind(Box::new("on purpose"))
                    });
                    let task: Task<()> = task;
                    assert!(task.await.unwrap_err().is_panic());
                })
            }),
            ("the payload of a panic", None, |on, meddler| {
                boxed_here(async {
                    let task = on.spawn(async move { panic::resume_unwind(Box::new(meddler)) });
                    let task: Task<()> = task;
                    drop(task.await.unwrap_err());
                })
            }),
            ("the payload of a panic, unread", None, |on, meddler| {
                boxed_here(async {
                    let task = on.spawn(async move { panic::resume_unwind(Box::new(meddler)) });
                    Task::<()>::detach(task);
                })
            }),
            ("an output", None, |on, meddler| {
                boxed_here(async { drop(on.spawn(async move { meddler }).await) })
            }),
            ("an output, unread", None, |on, meddler| {
                boxed_here(async { on.spawn(async move { meddler }).detach() })
            }),
            (
                "an output, unread, of a task that has ended",
                None,
                |on, meddler| {
                    boxed_here(async {
                        let task = on.spawn(async move { meddler });
                        until(|| task.is_finished()).await;
                        task.abort();
                        task.detach();
                    })
                },
            ),
            (
                "an output, unread, that others hear of",
                None,
                |on, meddler| {
                    boxed_here(async {
                        let task = on.spawn(async move { meddler });
                        task.add_done_callback(|| ());
                        let abort = task.abort_handle();
                        task.detach();
                        abort.abort();
                    })
                },
            ),
            ("a task's context", None, |on, meddler| {
                boxed_here(async {
                    let task = on.spawn_in(holding(meddler), shim::yield_now());
                    task.await.unwrap();
                })
            }),
            ("an aborted task's context", None, |on, meddler| {
                boxed_here(async {
                    let task = on.spawn_in(holding(meddler), future::pending::<()>());
                    task.abort();
                    assert!(task.await.is_err());
                })
            }),
            ("a task's shared context", None, |on, meddler| {
                boxed_here(async {
                    let task = on.spawn_in(holding(meddler).share(), shim::yield_now());
                    task.await.unwrap();
                })
            }),
            (
                "a task that waits for a shared context",
                None,
                |on, meddler| {
                    boxed_here(async {
                        let shared = Context::new().share();
                        let held = HeldElsewhere::enter(&shared, || ());
                        let task = on.spawn_in(&shared, keep(meddler));
                        shim::yield_now().await;
                        task.abort();
                        assert!(task.await.is_err());
                        held.release();
                    })
                },
            ),
            ("a future that runs out of time", Some(2), |_, meddler| {
                boxed_here(async {
                    let kept = keep(meddler).in_current_context();
                    assert!(shim::timeout(SHORT, kept).await.is_err());
                })
            }),
        ],
    );
}

pub(crate) fn r_05_destructors_of_callbacks_may_use_the_crate(on: On) {
    in_each(
        on,
        &[
            ("a callback", Some(2), |on, meddler| {
                boxed_here(async {
                    on.call_soon(move || {
                        ID.set(2);
                        drop(meddler);
                    });
                })
            }),
            ("a callback that is cancelled", Some(2), |on, meddler| {
                boxed_here(async {
                    let call = ID.sync_scope(2, || on.call_soon(|| drop(meddler)));
                    call.cancel();
                })
            }),
            ("a callback that panics", Some(2), |on, meddler| {
                boxed_here(async {
                    reports::install();
                    ID.sync_scope(2, || {
                        on.call_soon(|| panic::resume_unwind(Box::new(meddler)))
                    });
                })
            }),
            ("a timer", Some(2), |on, meddler| {
                boxed_here(async {
                    ID.sync_scope(2, || on.call_later(SHORT, || drop(meddler)));
                })
            }),
            ("a timer that is cancelled", Some(2), |on, meddler| {
                boxed_here(async {
                    let timer = ID.sync_scope(2, || on.call_later(LONG, || drop(meddler)));
                    timer.cancel();
                    assert!(timer.is_cancelled());
                })
            }),
            ("a callback's context", None, |on, meddler| {
                boxed_here(async { drop(on.call_soon_in(holding(meddler), || ())) })
            }),
            ("a callback's context, replaced", None, |on, meddler| {
                boxed_here(async {
                    on.call_soon_in(holding(meddler), || drop(MEDDLER.unset()));
                })
            }),
            ("a callback's shared context", None, |on, meddler| {
                boxed_here(async { drop(on.call_soon_in(holding(meddler).share(), || ())) })
            }),
            (
                "a shared context of cancelled callbacks",
                None,
                |on, meddler| {
                    boxed_here(async {
                        let shared = holding(meddler).share();
                        let held = HeldElsewhere::enter(&shared, || ());
                        let calls = [0, 1].map(|_| on.call_soon_in(&shared, || ()));
                        drop(shared);
                        on.callbacks_so_far().await;
                        calls.iter().for_each(CallHandle::cancel);
                        held.release();
                    })
                },
            ),
            ("a done-callback", Some(2), |on, meddler| {
                boxed_here(async {
                    let task = on.spawn(shim::yield_now());
                    ID.sync_scope(2, || task.add_done_callback(|| drop(meddler)));
                    task.await.unwrap();
                })
            }),
            ("a done-callback that is removed", Some(2), |on, meddler| {
                boxed_here(async {
                    let task = on.spawn(future::pending::<()>());
                    let id = ID.sync_scope(2, || task.add_done_callback(|| drop(meddler)));
                    assert!(task.remove_done_callback(id));
                    task.abort();
                })
            }),
            (
                "a done-callback of a task that had ended",
                Some(2),
                |on, meddler| {
                    boxed_here(async {
                        let mut task = on.spawn(async {});
                        (&mut task).await.unwrap();
                        ID.sync_scope(2, || task.add_done_callback(|| drop(meddler)));
                    })
                },
            ),
        ],
    );
}

pub(crate) fn r_05_destructors_of_jobs_and_groups_may_use_the_crate(on: On) {
    in_each(
        on,
        &[
            ("a job", Some(2), |_, meddler| {
                boxed_here(async {
                    let job = shim::spawn_blocking(move || {
                        ID.set(2);
                        drop(meddler);
                    });
                    job.await.unwrap();
                })
            }),
            ("a job's output", None, |_, meddler| {
                boxed_here(async { shim::spawn_blocking(|| meddler).detach() })
            }),
            ("a job's panic", None, |_, meddler| {
                boxed_here(async {
                    let job = shim::spawn_blocking(|| panic::resume_unwind(Box::new(meddler)));
                    let job: JoinHandle<()> = job;
                    drop(job.await.unwrap_err());
                })
            }),
            ("a job's context", None, |_, meddler| {
                boxed_here(async {
                    let job = shim::spawn_blocking_in(holding(meddler), || ());
                    job.await.unwrap();
                })
            }),
            ("a job's shared context", None, |_, meddler| {
                boxed_here(async {
                    let job = shim::spawn_blocking_in(holding(meddler).share(), || ());
                    job.await.unwrap();
                })
            }),
            ("a set", Some(2), |_, meddler| {
                boxed_here(async {
                    let mut tasks = JoinSet::new();
                    ID.sync_scope(2, || tasks.spawn(boxed(keep(meddler))));
                    drop(tasks);
                })
            }),
            ("a group", Some(2), |_, meddler| {
                boxed_here(async {
                    let result = TaskGroup::scope(async |group: TaskGroup<&str>| {
                        let kept = async {
                            keep(meddler).await;
                            Ok(())
                        };
                        ID.sync_scope(2, || group.spawn(boxed(kept))).detach();
                        Err::<(), _>("on purpose")
                    });
                    assert_eq!(result.await.unwrap_err().failures().len(), 1);
                })
            }),
            ("a failure in a group", None, |_, meddler| {
                boxed_here(async {
                    let group = TaskGroup::new();
                    group.spawn(boxed(async { Err::<(), _>(meddler) })).detach();
                    assert!(group.join().await.is_err());
                })
            }),
        ],
    );
}

/// For executors that end with their harness.
pub(crate) fn r_05_destructors_at_the_executors_end_may_use_the_crate(on: On) {
    ID.set(1);
    for operation in OPERATIONS {
        let record = Record::new();
        let make = || record.meddler(operation);
        let harness = on.start();
        harness.block_on(async {
            let task = on.spawn(keep(make()));
            let (held, also) = (make(), make());
            task.add_done_callback(|| drop(held));
            on.call_later(LONG, || drop(also));
            on.spawn_in(holding(make()), future::pending::<()>())
                .detach();
            let shared = holding(make()).share();
            on.spawn_in(&shared, keep(make())).detach();
            on.call_soon_in(&shared, || ());
            // The last of them may be dropped before it has begun.
            on.callbacks_so_far().await;
            on.call_soon_in(holding(make()), || ());
            on.spawn(keep(make())).detach();
        });
        drop(harness);
        while record.live() > 0 {
            std::thread::yield_now();
        }
        record.check("the end", operation);
        assert_eq!((ID.get(), copy_context().len()), (Some(1), 1));
    }
}

/// Awaits `future` with a waker that meddles.
async fn meddling<F: Future + Unpin>(meddler: Meddler, mut future: F) -> F::Output {
    let inner = Arc::new(AtomicWaker::new());
    let outer = Arc::clone(&inner);
    let waker = meddling_waker(meddler, move || outer.wake());
    future::poll_fn(|cx| {
        inner.register(cx.waker());
        future.poll_unpin(&mut task::Context::from_waker(&waker))
    })
    .await
}

pub(crate) fn r_05_wakers_may_use_the_crate(on: On) {
    in_each(
        on,
        &[
            ("who awaits a task", None, |on, meddler| {
                boxed_here(async {
                    let (go, going) = oneshot::channel();
                    let task = on.spawn(async move { going.await.unwrap() });
                    on.call_later(SHORT, || go.send(()).unwrap());
                    meddling(meddler, task).await.unwrap();
                })
            }),
            (
                "who awaits a task that others hear of",
                None,
                |on, meddler| {
                    boxed_here(async {
                        let task = on.spawn(future::pending::<()>());
                        task.add_done_callback(|| ());
                        let abort = task.abort_handle();
                        on.call_later(SHORT, move || abort.abort());
                        assert!(meddling(meddler, task).await.unwrap_err().is_cancelled());
                    })
                },
            ),
            ("who awaits a job", None, |_, meddler| {
                boxed_here(async {
                    let job = shim::spawn_blocking(|| std::thread::sleep(SHORT));
                    meddling(meddler, job).await.unwrap();
                })
            }),
            ("who sleeps", None, |_, meddler| {
                boxed_here(async { meddling(meddler, shim::sleep(SHORT)).await })
            }),
            ("who no longer sleeps", None, |_, meddler| {
                boxed_here(async {
                    let mut sleeps = Box::pin(meddling(meddler, shim::sleep(LONG)));
                    assert!((&mut sleeps).now_or_never().is_none());
                })
            }),
            ("who waits for a shared context", None, |_, meddler| {
                boxed_here(async {
                    let shared = Context::new().share();
                    let held = HeldElsewhere::enter(&shared, || ());
                    let wait = Box::pin(shim::yield_now().in_context(&shared));
                    let mut waits = Box::pin(meddling(meddler, wait));
                    assert!((&mut waits).now_or_never().is_none());
                    held.release();
                    waits.await;
                })
            }),
            ("who waits for a group", None, |_, meddler| {
                boxed_here(async {
                    let group = TaskGroup::<&str>::new();
                    let sleep = async {
                        shim::sleep(SHORT).await;
                        Ok(())
                    };
                    group.spawn(boxed(sleep)).detach();
                    meddling(meddler, Box::pin(group.join())).await.unwrap();
                })
            }),
        ],
    );
}
