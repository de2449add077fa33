//! `JoinSet` beyond what every executor's suite asks: the other ways to spawn into it, and its end.

#[path = "../crates/conformance/src/drops.rs"]
mod drops;
#[path = "common/threads.rs"]
mod threads;

use std::any::Any;
use std::future;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, JoinSet};
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
