//! `Runner` beyond what every executor's suite asks: its own loop, runners on an executor, and
//! refusals.

#[path = "../crates/conformance/src/drops.rs"]
mod drops;
#[path = "common/threads.rs"]
mod threads;

use std::panic::{self, AssertUnwindSafe};
use std::thread;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, ContextAwareExecutor, FromSchedule, Runner};
use aiocontextvars::{Context, ContextExt, SharedContext, context_var};
use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;

use drops::Drops;

context_var! {
    static ID: u64;
}

fn pool() -> ContextAwareExecutor<FromSchedule> {
    threads::threads(1)
}

#[test]
fn on_an_executor_runs_share_a_context_and_know_the_executor() {
    let mut runner = Runner::on(pool());
    ID.set(1);
    let seen = runner.run(async {
        let here = thread::current().id();
        let task = shim::spawn(async move { (thread::current().id() != here, ID.get()) });
        let inherited = ID.get();
        ID.set(2);
        (inherited, task.await.unwrap())
    });
    assert_eq!(seen, (Some(1), (true, Some(1))));
    assert_eq!(runner.run(async { ID.get() }), Some(2));
    assert_eq!((runner.context().get(&ID), ID.get()), (Some(2), Some(1)));
    let other = SharedContext::new();
    assert_eq!(runner.run_in(&other, async { ID.get() }), None);
}

#[allow(clippy::async_yields_async, reason = "it is awaited in the next run")]
#[test]
fn tasks_that_a_run_leaves_go_on_in_the_next() {
    let mut runner = Runner::default();
    ID.set(1);
    let task = runner.run(async {
        shim::spawn(async {
            shim::yield_now().await;
            ID.get()
        })
    });
    assert!(!task.is_finished());
    assert_eq!(runner.run(task).unwrap(), Some(1));
    // What is left then goes with the runner, in its context.
    let drops = Drops::new();
    let value = drops.value();
    let task = runner.run(async { shim::spawn(holds(value)) });
    assert_eq!(drops.count(), 0);
    drop(runner);
    assert_eq!((drops.count(), task.is_finished()), (1, true));
}

async fn holds<T>(value: T) {
    let _value = value;
    std::future::pending().await
}

#[test]
fn a_run_where_blocking_is_refused() {
    let drops = Drops::new();
    ID.set(1);
    EventLoop::new().run_until_complete(async {
        let mut runner = Runner::new();
        let value = drops.value();
        let refused = runner.try_run(async move { drop(value) });
        let text = refused.unwrap_err().to_string();
        assert!(
            text.starts_with("cannot block on a future here: "),
            "{text}"
        );
        assert_eq!(drops.count(), 1);
        let value = drops.value();
        let run = || runner.run_in(Context::new(), async move { drop(value) });
        let payload = panic::catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&text));
        assert_eq!((drops.count(), ID.get()), (2, Some(1)));
    });
    // Allowed again, a run goes well.
    assert_eq!(Runner::new().try_run(async { ID.get() }), Ok(Some(1)));
}

#[test]
fn a_run_on_an_executor_where_blocking_is_refused() {
    let outer = pool();
    let task = outer.spawn(async { Runner::on(pool()).try_run(async { 1 }) });
    let refused = outer.block_on(task).unwrap();
    assert!(refused.unwrap_err().to_string().contains("await"));
    let executor = outer.clone();
    let block = move || {
        let task = || executor.block_on(async {});
        panic::catch_unwind(AssertUnwindSafe(task)).unwrap_err()
    };
    let payload = outer.block_on(outer.spawn(async move { block() })).unwrap();
    let text = payload.downcast_ref::<String>().unwrap();
    assert!(
        text.starts_with("cannot block on a future here: "),
        "{text}"
    );
}

#[test]
fn a_runtime_that_is_run_by_its_own_means_runs_apart() {
    let mut pool = LocalPool::new();
    let spawner = pool.spawner();
    ID.set(1);
    let mut runner = Runner::from_block_on(move |future| pool.run_until(future));
    let bare = || {
        let task = async { (ID.get(), ID.try_set(3).is_ok()) };
        spawner.spawn_local_with_handle(task).unwrap()
    };
    // One that was there, and one of the run.
    let other = bare();
    let seen = runner.run(async {
        let inside = bare();
        let seen = (other.await, inside.await, ID.get());
        ID.set(2);
        seen
    });
    assert_eq!(seen, ((None, false), (None, false), Some(1)));
    assert_eq!((runner.context().get(&ID), ID.get()), (Some(2), Some(1)));
    // One in a context of its own can write, and is alone with it.
    let own = async { (ID.try_set(3).is_ok(), ID.get()) }.in_context(Context::new());
    let own = spawner.spawn_local_with_handle(own).unwrap();
    assert_eq!(runner.run(own), (true, Some(3)));
    assert_eq!((runner.context().get(&ID), ID.get()), (Some(2), Some(1)));
}

#[test]
fn a_block_on_that_returns_early_is_an_error() {
    let drops = Drops::new();
    let value = drops.value();
    let mut runner = Runner::from_block_on(|_future| ());
    let outcome = runner.try_run(async move { drop(value) });
    assert!(outcome.unwrap_err().to_string().contains("returned before"));
    assert_eq!(drops.count(), 1);
}
