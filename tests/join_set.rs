//! `JoinSet` beyond what every executor's suite asks: the other ways to spawn into it, and its end.

#[path = "../crates/conformance/src/drops.rs"]
mod drops;
#[path = "common/threads.rs"]
mod threads;

use std::any::Any;
use std::future;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, JoinError, JoinSet, TaskGroup};
use aiocontextvars::{Context, context_var};
use futures::channel::oneshot;

use drops::Drops;

context_var! {
    static ID: u64;
}

#[test]
fn each_way_to_spawn_takes_its_context_at_the_call() {
    let pool = threads::threads(1);
    EventLoop::new().run_until_complete(async {
        let mut tasks = JoinSet::default();
        ID.set(1);
        tasks.spawn(async { ID.get() });
        ID.set(2);
        tasks.spawn_in(Context::new().with_value(&ID, 10), async { ID.get() });
        tasks.spawn_on(&pool, async { ID.get() });
        ID.set(3);
        tasks.spawn_local(async {
            let id = Rc::new(ID.get());
            shim::yield_now().await;
            *id
        });
        ID.set(4);
        tasks.spawn_blocking(|| ID.get());
        ID.set(5);
        assert_eq!(tasks.len(), 5);
        let mut seen = tasks.join_all().await;
        seen.sort();
        assert_eq!(seen, [1, 2, 3, 4, 10].map(Some));
        assert_eq!(ID.get(), Some(5));
    });
}

#[test]
fn outputs_that_stay_on_the_thread() {
    EventLoop::new().run_until_complete(async {
        let mut tasks = JoinSet::new();
        let output = Rc::new(1);
        let given = Rc::clone(&output);
        tasks.spawn_local(async move { given });
        let seen = tasks.join_all().await;
        assert!(Rc::ptr_eq(&seen[0], &output));
        assert_eq!(Rc::strong_count(&output), 2);
    });
}

#[test]
fn each_way_to_spawn_gives_a_handle_that_aborts() {
    let drops = Drops::new();
    let hang = || {
        let value = drops.value();
        async move {
            let _value = value;
            future::pending::<()>().await
        }
    };
    let pool = threads::threads(1);
    EventLoop::new().run_until_complete(async {
        let mut tasks = JoinSet::new();
        let handles = [
            tasks.spawn(hang()),
            tasks.spawn_in(Context::new(), hang()),
            tasks.spawn_on(&pool, hang()),
            tasks.spawn_local(hang()),
        ];
        for (n, handle) in handles.iter().enumerate() {
            assert_eq!((drops.count(), handle.is_finished()), (n, false));
            handle.abort();
            let result = tasks.join_next().await.unwrap();
            assert!(result.unwrap_err().is_cancelled());
            assert_eq!((drops.count(), handle.is_finished()), (n + 1, true));
        }
        assert!(tasks.join_next().await.is_none());
    });
}

#[test]
fn detached_tasks_run_on() {
    EventLoop::new().run_until_complete(async {
        let mut tasks = JoinSet::new();
        assert!(tasks.is_empty());
        let (sender, receiver) = oneshot::channel();
        tasks.spawn(async move {
            shim::yield_now().await;
            sender.send(7).unwrap();
        });
        assert_eq!((tasks.len(), tasks.is_empty()), (1, false));
        tasks.detach_all();
        assert_eq!((tasks.len(), tasks.is_empty()), (0, true));
        drop(tasks);
        assert_eq!(receiver.await, Ok(7));
    });
}

/// Fails one of two tasks and has `join_all` fail with it. Gives the payload.
fn join_all_fails(fail: impl FnOnce(&mut JoinSet<()>)) -> Box<dyn Any + Send> {
    let drops = Drops::new();
    let value = drops.value();
    let event_loop = EventLoop::new();
    let mut tasks = JoinSet::new();
    let join = async {
        let other = tasks.spawn(async move {
            let _value = value;
            future::pending().await
        });
        fail(&mut tasks);
        let joined = AssertUnwindSafe(tasks.join_all());
        let outcome = futures::FutureExt::catch_unwind(joined).await;
        // Its other tasks have been aborted.
        while !other.is_finished() {
            shim::yield_now().await;
        }
        assert_eq!(drops.count(), 1);
        outcome.unwrap_err()
    };
    event_loop.run_until_complete(join)
}

#[test]
fn join_all_passes_a_panic_on() {
    let payload = join_all_fails(|tasks| {
        // In silence: the panic hook is not called.
        tasks.spawn(async { panic::resume_unwind(Box::new("on purpose")) });
    });
    assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
}

#[test]
fn join_all_panics_for_a_task_that_was_aborted() {
    let payload = join_all_fails(|tasks| tasks.spawn(future::pending()).abort());
    let text = payload.downcast_ref::<String>().unwrap();
    assert_eq!(text, "`JoinSet::join_all`: the task was cancelled");
}

#[test]
fn tasks_on_other_executors_take_their_context_at_the_call() {
    let pool = threads::threads(1);
    EventLoop::new().run_until_complete(async {
        let mut tasks = JoinSet::new();
        ID.set(1);
        tasks.spawn_blocking_on(&pool, || ID.get());
        ID.set(2);
        tasks.extend((0..2).map(|_| async { ID.get() }));
        ID.set(3);
        let mut seen = tasks.join_all().await;
        seen.sort();
        assert_eq!((seen, ID.get()), (vec![Some(1), Some(2), Some(2)], Some(3)));
    });
}

#[test]
fn ids_come_with_results_and_with_errors() {
    EventLoop::new().run_until_complete(async {
        let mut tasks = JoinSet::new();
        let ended = tasks.spawn(async { 1 }).id();
        let aborted = tasks.spawn(future::pending());
        aborted.abort();
        let local = tasks.spawn_local(async { 2 });
        assert_ne!(ended, aborted.id());
        let mut seen = Vec::new();
        while let Some((id, result)) = tasks.join_next_with_id().await {
            seen.push((id, result.ok()));
        }
        seen.sort();
        assert_eq!(
            seen,
            [
                (ended, Some(1)),
                (aborted.id(), None),
                (local.id(), Some(2))
            ]
        );
        assert!(tasks.try_join_next_with_id().is_none());
        // Of a handle that is not in a set, from the handle or before it.
        let task = shim::spawn(async {});
        let abort = task.abort_handle();
        assert_eq!(
            (abort.id(), task.abort_handle().id()),
            (task.id(), task.id())
        );
        task.await.unwrap();
        assert!(abort.is_finished());
    });
}

#[test]
fn an_error_of_a_task_is_one_of_io() {
    let error = EventLoop::new().run_until_complete(async {
        let task = shim::spawn(future::pending::<()>());
        task.abort();
        async { Ok::<_, io::Error>(task.await?) }.await.unwrap_err()
    });
    assert_eq!(error.kind(), io::ErrorKind::Other);
    assert_eq!(error.to_string(), "the task was cancelled");
    let inner = error.into_inner().unwrap().downcast::<JoinError>().unwrap();
    assert!(inner.is_cancelled());
}

#[test]
fn a_task_of_a_group_gives_its_output_or_none() {
    let outputs = EventLoop::new().run_until_complete(async {
        let group = TaskGroup::<&str>::new();
        let (done, aborted) = (group.spawn(async { Ok(1) }), group.spawn(future::pending()));
        let failed = {
            aborted.abort();
            let outputs: (Option<u8>, Option<u8>) = (done.output().await, aborted.output().await);
            (outputs, group.spawn(async { Err::<u8, _>("no") }))
        };
        (failed.0, failed.1.output().await)
    });
    assert_eq!(outputs, ((Some(1), None), None));
}

#[test]
fn who_waits_for_the_next_task_is_not_forgotten_for_one_who_asks() {
    EventLoop::new().run_until_complete(async {
        let mut tasks = JoinSet::new();
        let (end, ended) = oneshot::channel::<()>();
        tasks.spawn(async { ended.await.is_ok() });
        let mut end = Some(end);
        let next = future::poll_fn(|cx| {
            let next = tasks.poll_join_next(cx);
            if next.is_pending() {
                assert!(tasks.try_join_next().is_none());
                // What the poll has left is a task that is to be woken by this alone.
                end.take().into_iter().for_each(|end| end.send(()).unwrap());
            }
            next
        });
        assert!(next.await.unwrap().unwrap());
    });
}
