//! async-std's own tasks.

use aiocontextvars::{ContextExt, shim};
use async_std::task;

use super::fixtures::{Drops, HELD, ID};
use super::refused::{reads_nothing, remedies_work, writes_are_refused};
use super::{seen, write};

#[test]
fn spawned_tasks() {
    task::block_on(task::spawn(async {
        reads_nothing();
        writes_are_refused();
        remedies_work().await;
        task::spawn(async { writes_are_refused() }).await;
    }));
    assert_eq!(seen(), (None, 0));
}

#[test]
fn the_future_of_its_block_on_is_a_task() {
    task::block_on(async {
        reads_nothing();
        writes_are_refused();
        remedies_work().await;
    });
    ID.set(1);
    task::block_on(async {
        // What the thread has is not its own.
        reads_nothing();
        writes_are_refused();
    });
    assert_eq!(seen(), (Some(1), 1));
}

#[test]
fn tasks_beside_the_future_of_a_block_on_of_the_shim() {
    let main = shim::async_std::block_on(async {
        ID.set(1);
        task::spawn_local(async {
            // The context of `block_on` is its future's.
            reads_nothing();
            writes_are_refused();
            remedies_work().await;
        })
        .await;
        ID.set(ID.get().unwrap() + 1);
        seen()
    });
    assert_eq!((main, seen()), ((Some(2), 1), (None, 0)));
}

#[test]
fn a_refused_write_leaves_nothing_for_the_next_task_of_the_thread() {
    let drops = Drops::new();
    let value = drops.value();
    let next = task::block_on(async {
        // Both run on this thread.
        task::spawn_local(async move { drop(HELD.try_set(value)) }).await;
        assert_eq!(drops.count(), 1);
        task::spawn_local(async { (seen(), HELD.with(|held| held.is_some())) }).await
    });
    assert_eq!((next, seen()), (((None, 0), false), (None, 0)));
}

#[test]
fn a_blocking_job_of_the_runtime_is_not_known() {
    // Its values go to the thread of the pool, unless it is bound to a context.
    let jobs = async {
        ID.set(1);
        let bound = task::spawn_blocking(shim::bind(|| (write(), seen())));
        assert_eq!(bound.await, (Some(101), (Some(101), 1)));
        let bare = task::spawn_blocking(|| {
            let token = ID.set(2);
            let written = seen();
            ID.reset(token).unwrap();
            (written, seen())
        });
        bare.await
    };
    let bare = shim::async_std::block_on(jobs.in_current_context());
    assert_eq!(bare, ((Some(2), 1), (None, 0)));
}
