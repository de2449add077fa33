//! Rows FU: callbacks at the end of a task.

use std::future;
use std::panic;
use std::sync::{Arc, OnceLock};
use std::thread;

use aiocontextvars::shim::{self, DoneCallbackId, JoinHandle};
use aiocontextvars::{Context, SharedContext};
use futures::channel::oneshot;

use crate::executor::{On, Task};
use crate::fixtures::{Drops, HELD, HeldElsewhere, ID, Log, SeesOnDrop, until};

/// Has a done-callback tell what it sees.
fn when_done<T>(task: &JoinHandle<T>) -> oneshot::Receiver<Option<u64>> {
    let (sender, receiver) = oneshot::channel();
    task.add_done_callback(move || {
        // Nobody hears of it if the row is over.
        let _ = sender.send(ID.get());
        ID.set(100);
    });
    receiver
}

pub(crate) fn fu_01_captured_when_added(on: On) {
    on.start().block_on(async {
        let (go, going) = oneshot::channel();
        ID.set(1);
        let task = on.spawn(async move {
            going.await.unwrap();
            ID.set(9);
        });
        let first = when_done(&task);
        ID.set(2);
        let second = when_done(&task);
        ID.set(3);
        // The context of whoever completes the task makes no difference, be it on another thread.
        let completes = thread::spawn(move || {
            ID.set(8);
            go.send(()).unwrap();
        });
        task.await.unwrap();
        assert_eq!(first.await.unwrap(), Some(1));
        assert_eq!(second.await.unwrap(), Some(2));
        assert_eq!(ID.get(), Some(3));
        completes.join().unwrap();
    });
}

pub(crate) fn fu_01_a_task_that_has_ended_schedules_at_once(on: On) {
    on.start().block_on(async {
        let mut task = on.spawn(async { 7 });
        until(|| task.is_finished()).await;
        ID.set(1);
        let order = Log::new();
        let ended = order.clone();
        task.add_done_callback(move || ended.push("ended"));
        order.push("added");
        let next = when_done(&task);
        ID.set(2);
        assert_eq!(next.await.unwrap(), Some(1));
        let order = order.take();
        // On a thread of its own, the queue may be that fast; within the call it never is.
        assert!(order.contains(&"ended") && order.len() == 2, "{order:?}");
        // The output is still there, and callbacks can be added when it has been given out.
        assert_eq!((&mut task).await.unwrap(), 7);
        let late = when_done(&task);
        ID.set(3);
        assert_eq!(late.await.unwrap(), Some(2));
        assert_eq!(ID.get(), Some(3));
    });
}

pub(crate) fn fu_01_whichever_way_the_task_ends(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let returns = on.spawn(async {});
        let panics: Task<()> = on.spawn(async { panic::resume_unwind(Box::new("on purpose")) });
        let aborted = on.spawn(std::future::pending::<()>());
        let detached = on.spawn(async {
            shim::yield_now().await;
        });
        let job = shim::spawn_blocking(|| ());
        let ends = [
            when_done(&returns),
            when_done(&panics),
            when_done(&aborted),
            when_done(&detached),
            when_done(&job),
        ];
        ID.set(2);
        aborted.abort();
        detached.detach();
        for end in ends {
            assert_eq!(end.await.unwrap(), Some(1));
        }
        returns.await.unwrap();
        assert!(panics.await.unwrap_err().is_panic());
        assert!(aborted.await.unwrap_err().is_cancelled());
        job.await.unwrap();
        assert_eq!(ID.get(), Some(2));
    });
}

pub(crate) fn fu_01_after_the_destructors_and_in_order(on: On) {
    on.start().block_on(async {
        let order = Log::new();
        struct Last(Log<u32>);
        impl Drop for Last {
            fn drop(&mut self) {
                self.0.push(0);
            }
        }
        let last = Last(order.clone());
        let task = on.spawn(async move {
            let _last = last;
            std::future::pending::<()>().await;
        });
        for n in 1..20 {
            let order = order.clone();
            task.add_done_callback(move || order.push(n));
        }
        let end = when_done(&task);
        shim::yield_now().await;
        task.abort();
        end.await.unwrap();
        assert!(order.take().into_iter().eq(0..20));
    });
}

pub(crate) fn fu_01_through_the_queue(on: On) {
    on.start().block_on(async {
        let order = Log::new();
        let (done, wait) = oneshot::channel();
        let (go, going) = oneshot::channel::<()>();
        let task = on.spawn(async move { going.await.unwrap() });
        let (first, second) = (order.clone(), order.clone());
        task.add_done_callback(move || {
            first.push("first");
            // Whose turn comes later, though it was scheduled by a callback of the same end.
            shim::call_soon(move || done.send(()).unwrap());
            panic::resume_unwind(Box::new("a callback at the end of a task"));
        });
        task.add_done_callback(move || second.push("second"));
        go.send(()).unwrap();
        task.await.unwrap();
        wait.await.unwrap();
        assert_eq!(order.take(), ["first", "second"]);
    });
}

pub(crate) fn fu_02_in_a_given_context(on: On) {
    on.start().block_on(async {
        let shared = SharedContext::new();
        ID.set(1);
        let task = on.spawn(async {});
        task.add_done_callback_in(&shared, || {
            assert_eq!(ID.get(), None);
            ID.set(2);
        });
        task.add_done_callback_in(&shared, || {
            assert_eq!(ID.get(), Some(2));
            ID.set(3);
        });
        let given = Context::new().with_value(&ID, 7);
        let (sender, receiver) = oneshot::channel();
        task.add_done_callback_in(given, move || sender.send(ID.get()).unwrap());
        task.await.unwrap();
        assert_eq!(receiver.await, Ok(Some(7)));
        assert_eq!(shared.get(&ID), Some(3));
        assert_eq!(ID.get(), Some(1));
        // It waits until a context that is taken is free.
        let held = HeldElsewhere::enter(&shared, || ());
        let task = on.spawn(async {});
        let (sender, mut receiver) = oneshot::channel();
        task.add_done_callback_in(&shared, move || sender.send(ID.get()).unwrap());
        task.await.unwrap();
        on.callbacks_so_far().await;
        assert_eq!(receiver.try_recv(), Ok(None));
        held.release();
        assert_eq!(receiver.await, Ok(Some(3)));
    });
}

pub(crate) fn fu_03_removed_by_its_id(on: On) {
    on.start().block_on(async {
        let (seen, drops) = (Log::new(), Drops::new());
        let (go, going) = oneshot::channel::<()>();
        let task = on.spawn(async move { going.await.unwrap() });
        ID.set(1);
        let held = drops.value();
        let mut context = Context::new();
        context.run(|| HELD.set(held));
        let probe = SeesOnDrop(seen.clone());
        let removed = task.add_done_callback(move || {
            let _probe = probe;
            unreachable!("it was removed");
        });
        let pinned = task.add_done_callback_in(context, || unreachable!("it was removed"));
        let stays = when_done(&task);
        ID.set(2);
        assert_ne!(removed, pinned);
        assert!(task.remove_done_callback(removed));
        assert_eq!(seen.take(), [Some(1)], "dropped at once, in its context");
        assert!(!task.remove_done_callback(removed), "once");
        assert_eq!(drops.count(), 0);
        assert!(task.remove_done_callback(pinned));
        assert_eq!(drops.count(), 1, "its context is gone too");
        go.send(()).unwrap();
        assert_eq!(stays.await.unwrap(), Some(1));
        let (sender, receiver) = oneshot::channel();
        let called = task.add_done_callback(move || sender.send(()).unwrap());
        receiver.await.unwrap();
        assert!(!task.remove_done_callback(called), "it has been called");
        task.await.unwrap();
    });
}

pub(crate) fn fu_03_in_the_tasks_own_destructor(on: On) {
    /// A task has not ended while its destructors run.
    struct Meddles {
        task: Arc<OnceLock<Task<()>>>,
        removed: DoneCallbackId,
        seen: Log<&'static str>,
        ended: oneshot::Sender<()>,
    }
    struct OnDrop(Option<Meddles>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            let Some(Meddles {
                task,
                removed,
                seen,
                ended,
            }) = self.0.take()
            else {
                return;
            };
            let task = task.get().unwrap();
            assert!(!task.is_finished() && !task.abort_handle().is_finished());
            assert!(task.remove_done_callback(removed));
            let last = seen.clone();
            task.add_done_callback(move || {
                last.push("last");
                ended.send(()).unwrap();
            });
            seen.push("dropped");
        }
    }
    on.start().block_on(async {
        let seen = Log::new();
        let handle = Arc::new(OnceLock::new());
        let (sender, receiver) = oneshot::channel();
        let (started, has_started) = oneshot::channel();
        let task = on.spawn(async move {
            let _meddles = OnDrop(Some(receiver.await.unwrap()));
            started.send(()).unwrap();
            future::pending().await
        });
        let first = seen.clone();
        task.add_done_callback(move || first.push("first"));
        let removed = task.add_done_callback(|| unreachable!("it was removed"));
        let task = handle.get_or_init(|| task);
        let (ended, has_ended) = oneshot::channel();
        let meddles = Meddles {
            task: Arc::clone(&handle),
            removed,
            seen: seen.clone(),
            ended,
        };
        assert!(sender.send(meddles).is_ok());
        has_started.await.unwrap();
        task.abort();
        has_ended.await.unwrap();
        assert_eq!(seen.take(), ["dropped", "first", "last"]);
        until(|| task.is_finished()).await;
    });
}

pub(crate) fn fu_04_a_task_is_woken_in_its_own_context(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let (go, going) = oneshot::channel::<Option<u64>>();
        let inner = on.spawn(async move {
            ID.set(2);
            let sent = going.await.unwrap();
            (sent, ID.get())
        });
        let outer = on.spawn(async move {
            ID.set(3);
            let inner = inner.await.unwrap();
            (inner, ID.get())
        });
        on.call_soon(move || {
            ID.set(4);
            go.send(ID.get()).unwrap();
        });
        assert_eq!(outer.await.unwrap(), ((Some(4), Some(2)), Some(3)));
        assert_eq!(ID.get(), Some(1));
    });
}

pub(crate) fn fu_05_released_when_the_task_has_ended(on: On) {
    on.start().block_on(async {
        let drops = Drops::new();
        let (go, going) = oneshot::channel::<()>();
        let task = on.spawn(async move { going.await.unwrap() });
        for _ in 0..10 {
            HELD.set(drops.value());
            let held = drops.value();
            task.add_done_callback(move || drop(held));
        }
        HELD.unset();
        on.callbacks_so_far().await;
        assert_eq!(drops.count(), 0, "a pending task keeps them");
        go.send(()).unwrap();
        until(|| task.is_finished()).await;
        // Nobody has awaited the task, and its handle stays.
        until(|| drops.count() >= 20).await;
        task.await.unwrap();
    });
}

pub(crate) fn fu_05_dropped_with_the_executor(on: On) {
    let harness = on.start();
    let seen = Log::new();
    let probe = SeesOnDrop(seen.clone());
    let mut kept = None;
    harness.block_on(async {
        ID.set(1);
        let task = on.spawn(std::future::pending::<()>());
        task.add_done_callback(move || {
            let _probe = probe;
        });
        ID.set(2);
        shim::yield_now().await;
        kept = Some(task);
    });
    drop(harness);
    // Dropped with the task, or with the queue; in its context either way.
    assert_eq!(seen.take(), [Some(1)]);
    drop(kept);
}
