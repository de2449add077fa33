//! Rows about one [`SharedContext`] in several hands.

use std::future;
use std::thread;

use aiocontextvars::{Context, ContextExt, SharedContext, context_var, copy_context, shim};
use futures::FutureExt;
use futures::channel::oneshot;

use crate::executor::On;
use crate::fixtures::{Drops, HeldElsewhere, ID, Log, SeesOnDrop, until};

context_var! { static COUNT: u64 = 0; }

fn count() -> u64 {
    let next = COUNT.get() + 1;
    COUNT.set(next);
    next
}

pub(crate) fn ta_07_tasks_continue_in_one_context(on: On) {
    on.start().block_on(async {
        let shared = SharedContext::new();
        let mut seen = Vec::new();
        for n in 1..4 {
            let before = on.spawn_in(&shared, async move {
                let before = ID.get();
                ID.set(n);
                shim::yield_now().await;
                before
            });
            seen.push(before.await.unwrap());
        }
        assert_eq!(seen, [None, Some(1), Some(2)]);
        assert_eq!((shared.get(&ID), ID.get()), (Some(3), None));
    });
}

pub(crate) fn ta_08_two_tasks_interleave_in_one_context(on: On) {
    on.start().block_on(async {
        let shared = Context::new().with_value(&ID, 1).share();
        let (to_second, second_may) = oneshot::channel();
        let (to_first, first_may) = oneshot::channel();
        let first = on.spawn_in(&shared, async move {
            let before = ID.get();
            ID.set(10);
            to_second.send(()).unwrap();
            first_may.await.unwrap();
            (before, ID.get())
        });
        let second = on.spawn_in(&shared, async move {
            second_may.await.unwrap();
            let before = ID.get();
            ID.set(20);
            to_first.send(()).unwrap();
            before
        });
        assert_eq!(second.await.unwrap(), Some(10));
        assert_eq!(first.await.unwrap(), (Some(1), Some(20)));
        assert_eq!((shared.get(&ID), ID.get()), (Some(20), None));
    });
}

pub(crate) fn ta_08_many_tasks_lose_no_update(on: On) {
    const TASKS: u64 = 20;
    const STEPS: u64 = 50;
    on.start().block_on(async {
        let shared = SharedContext::new();
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                on.spawn_in(&shared, async {
                    for _ in 0..STEPS {
                        // Read and written within one poll, which has the context to itself.
                        count();
                        shim::yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(shared.get(&COUNT), Some(TASKS * STEPS));
        assert_eq!(COUNT.get(), 0);
    });
}

pub(crate) fn ta_08_a_waiter_that_does_not_come_holds_nobody_up(on: On) {
    on.start().block_on(async {
        let shared = SharedContext::new();
        let held = HeldElsewhere::enter(&shared, || ());
        // Both wait. One is dropped, and the other is kept and never polled again.
        let waits = || {
            let mut future = Box::pin(future::ready(()).map(|()| count()).in_context(&shared));
            assert!((&mut future).now_or_never().is_none());
            future
        };
        let (dropped, idle) = (waits(), waits());
        let aborted = on.spawn_in(&shared, async { count() });
        let task = on.spawn_in(&shared, async { count() });
        aborted.abort();
        assert!(aborted.await.unwrap_err().is_cancelled());
        drop(dropped);
        held.release();
        assert_eq!(task.await.unwrap(), 1);
        assert_eq!(idle.await, 2);
        assert_eq!(shared.get(&COUNT), Some(2));
    });
}

pub(crate) fn ta_10_a_suspended_task_sees_outside_writes(on: On) {
    on.start().block_on(async {
        let shared = Context::new().with_value(&ID, 1).share();
        let (suspended, wait) = oneshot::channel();
        let (resume, resumed) = oneshot::channel::<()>();
        let inner = shared.clone();
        let task = on.spawn_in(&shared, async move {
            assert!(inner.run(|| ()).is_err(), "entered: by this very task");
            suspended.send(()).unwrap();
            resumed.await.unwrap();
            ID.get()
        });
        wait.await.unwrap();
        // The poll that sent the signal may still be on its way out.
        until(|| shared.run(|| ID.set(2)).is_ok()).await;
        resume.send(()).unwrap();
        assert_eq!(task.await.unwrap(), Some(2));
        assert_eq!(ID.get(), None);
    });
}

pub(crate) fn cs_04_callbacks_share_a_context(on: On) {
    on.start().block_on(async {
        let shared = Context::new().with_value(&ID, 1).share();
        let seen = Log::new();
        for n in 2..4 {
            let seen = seen.clone();
            on.call_soon_in(&shared, move || {
                seen.push(ID.get());
                ID.set(n);
            });
        }
        let (done, wait) = oneshot::channel();
        on.call_soon_in(&shared, move || done.send(ID.get()).unwrap());
        assert_eq!(wait.await, Ok(Some(3)));
        assert_eq!(seen.take(), [Some(1), Some(2)]);
        assert_eq!((shared.get(&ID), ID.get()), (Some(3), None));
    });
}

pub(crate) fn cs_07_a_callback_steps_aside(on: On) {
    on.start().block_on(async {
        let shared = SharedContext::new();
        let held = HeldElsewhere::enter(&shared, || ());
        let order = Log::new();
        let note = |name: &'static str| {
            let order = order.clone();
            move || order.push(name)
        };
        let drops = Drops::new();
        let dropped = drops.value();
        let cancelled = on.call_soon_in(&shared, move || drop(dropped));
        on.call_soon_in(&shared, note("first"));
        on.call_soon_in(&shared, note("second"));
        let (done, wait) = oneshot::channel();
        on.call_soon(move || done.send(()).unwrap());
        wait.await.unwrap();
        assert_eq!(order.take(), [] as [&str; 0], "the others go on meanwhile");
        // One that waits aside can still be cancelled.
        cancelled.cancel();
        assert!(cancelled.is_cancelled());
        assert_eq!(drops.count(), 1);
        let (done, wait) = oneshot::channel();
        on.call_soon_in(&shared, move || done.send(()).unwrap());
        held.release();
        wait.await.unwrap();
        assert_eq!(order.take(), ["first", "second"]);
    });
}

pub(crate) fn cs_07_callbacks_of_two_contexts_wait_apart(on: On) {
    on.start().block_on(async {
        let contexts = [1, 2].map(|id| Context::new().with_value(&ID, id).share());
        let [first, second] = contexts.each_ref();
        let held = [first, second].map(|shared| HeldElsewhere::enter(shared, || ()));
        let [first, second] = [first, second].map(|shared| {
            let (done, wait) = oneshot::channel();
            on.call_soon_in(shared, move || done.send(ID.get()).unwrap());
            wait
        });
        let (done, wait) = oneshot::channel();
        on.call_soon(move || done.send(()).unwrap());
        wait.await.unwrap();
        // Not in the order in which they were scheduled.
        let [hold_first, hold_second] = held;
        hold_second.release();
        assert_eq!(second.await, Ok(Some(2)));
        hold_first.release();
        assert_eq!(first.await, Ok(Some(1)));
    });
}

pub(crate) fn th_06_blocking_jobs_take_turns(on: On) {
    on.start().block_on(async {
        let shared = SharedContext::new();
        let jobs: Vec<_> = (0..8)
            .map(|_| {
                shim::spawn_blocking_in(&shared, || {
                    let first = count();
                    thread::yield_now();
                    assert_eq!(count(), first + 1);
                })
            })
            .collect();
        for job in jobs {
            job.await.unwrap();
        }
        assert_eq!((shared.get(&COUNT), COUNT.get()), (Some(16), 0));
    });
}

pub(crate) fn r_03_dropped_while_entered_elsewhere(on: On) {
    let seen = Log::new();
    let probe = SeesOnDrop(seen.clone());
    on.start().block_on(async {
        let shared = Context::new().with_value(&ID, 1).share();
        let future = async move {
            let _probe = probe;
            future::pending::<()>().await;
        };
        let mut future = Box::pin(future.in_context(&shared));
        assert!((&mut future).now_or_never().is_none());
        let held = HeldElsewhere::enter(&shared, || drop(ID.set(2)));
        drop(future);
        assert_eq!(seen.take(), [Some(2)], "in a copy of what is there by then");
        held.release();
        // In a frame of the context itself the drop passes through.
        struct SetsOnDrop;
        impl Drop for SetsOnDrop {
            fn drop(&mut self) {
                ID.set(ID.get().unwrap() + 10);
            }
        }
        let sets = SetsOnDrop;
        let future = async move { drop(sets) }.in_context(&shared);
        let polled = async { ID.set(ID.get().unwrap() + 100) }.in_context(&shared);
        shared
            .run(|| {
                ID.set(3);
                drop(future);
                assert_eq!(ID.get(), Some(13));
                assert!(polled.now_or_never().is_some());
                assert_eq!(ID.get(), Some(113));
            })
            .unwrap();
        assert_eq!(shared.get(&ID), Some(113));
        // A guard that goes with a future in the copy is gone from the context as well.
        let mut future = Box::pin(
            async {
                let _guard = ID.scoped(4);
                future::pending::<()>().await;
            }
            .in_context(&shared),
        );
        assert!((&mut future).now_or_never().is_none());
        assert_eq!(shared.get(&ID), Some(4));
        let held = HeldElsewhere::enter(&shared, || ());
        drop(future);
        assert_eq!(shared.get(&ID), Some(113));
        held.release();
        assert!(copy_context().is_empty());
    });
}
