//! Sets of tasks that stay on their thread.

use std::cell::Cell;
use std::rc::Rc;
use std::thread;

use aiocontextvars::shim::tokio::task::{self, LocalSet};
use aiocontextvars::{Context, ContextExt, copy_context};
use tokio::sync::oneshot;

use super::{ID, current_thread, multi_thread};

#[test]
fn its_tasks_stay_on_its_thread() {
    for runtime in [current_thread(), multi_thread()] {
        let here = thread::current().id();
        LocalSet::new().block_on(&runtime, async {
            let handle = task::spawn_local(async move {
                assert_eq!(thread::current().id(), here);
                task::yield_now().await;
                // On a worker, of those that are for all.
                task::spawn(async { ID.get() }).await.unwrap();
                thread::current().id()
            });
            assert_eq!(handle.await.unwrap(), here);
        });
    }
}

#[test]
fn the_set_is_a_future_that_ends_with_its_last_task() {
    let local = LocalSet::new();
    let seen = Rc::new(Cell::new(None));
    ID.sync_scope(2, || {
        let seen = Rc::clone(&seen);
        drop(local.spawn_local(async move {
            task::yield_now().await;
            drop(task::spawn_local(async move {
                task::yield_now().await;
                seen.set(ID.get());
            }));
        }));
    });
    current_thread().block_on(local);
    assert_eq!(seen.get(), Some(2));
    assert_eq!(ID.get(), None);
}

#[test]
fn what_runs_in_it_is_part_of_who_runs_it() {
    let local = LocalSet::new();
    let scoped = ID.scope(2, async {
        local.run_until(async { ID.set(3) }).await;
        ID.get()
    });
    let runtime = current_thread();
    assert_eq!(runtime.block_on(scoped), Some(3));
    let context = Context::new().with_value(&ID, 4);
    let seen = local.block_on(&runtime, async { ID.get() }.in_context(context));
    assert_eq!(seen, Some(4));
    assert!(copy_context().is_empty());
}

#[test]
fn a_task_does_not_read_who_runs_the_set() {
    let local = LocalSet::new();
    let handle = local.spawn_local(async {
        let before = ID.get();
        ID.set(5);
        task::yield_now().await;
        (before, ID.get())
    });
    let seen = current_thread().block_on(ID.scope(2, local.run_until(handle)));
    assert_eq!(seen.unwrap(), (None, Some(5)));
}

#[test]
fn a_task_is_woken_from_elsewhere() {
    let runtime = current_thread();
    LocalSet::new().block_on(&runtime, async {
        let (sender, receiver) = oneshot::channel();
        let handle = ID.sync_scope(2, || {
            task::spawn_local(async move { (receiver.await.unwrap(), ID.get()) })
        });
        thread::spawn(move || sender.send("woken").unwrap());
        assert_eq!(handle.await.unwrap(), ("woken", Some(2)));
    });
}

#[test]
fn sets_have_ids() {
    let sets = [LocalSet::new(), LocalSet::new()];
    assert_ne!(sets[0].id(), sets[1].id());
    assert!(format!("{:?}", sets[0]).starts_with("LocalSet"));
}

/// Without a runtime there is none to spawn on, and the set's tasks run all the same.
#[test]
fn a_set_that_another_executor_polls_runs_its_tasks() {
    let local = LocalSet::new();
    let handle = ID.sync_scope(2, || {
        local.spawn_local(async {
            assert!(aiocontextvars::shim::try_spawn(async {}).is_err() || cfg!(feature = "smol"));
            ID.get()
        })
    });
    let seen = futures::executor::block_on(local.run_until(handle));
    assert_eq!(seen.unwrap(), Some(2));
}
