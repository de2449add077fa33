//! smol's own tasks, which cannot be told from the thread that runs them.

use std::rc::Rc;

use aiocontextvars::{ContextExt, shim};
use smol::LocalExecutor;

use super::fixtures::{Drops, HELD, ID};
use super::{seen, write};

#[test]
fn a_write_is_seen_by_the_next_task_of_the_thread() {
    // What refusing prevents on other runtimes.
    let executor = LocalExecutor::new();
    let drops = Drops::new();
    let value = drops.value();
    let first = executor.spawn(async move {
        ID.set(1);
        HELD.set(value);
    });
    let second = async { executor.spawn(async { (seen(), write()) }).await };
    smol::block_on(executor.run(first));
    assert_eq!(
        smol::block_on(executor.run(second)),
        ((Some(1), 2), Some(101))
    );
    // It has gone to the thread's own context, which keeps it.
    assert_eq!((seen(), drops.count()), ((Some(101), 2), 0));
    HELD.unset();
    assert_eq!(drops.count(), 1);
}

#[test]
fn inside_a_block_on_a_write_goes_to_what_that_has_entered() {
    let executor = LocalExecutor::new();
    let inside = shim::smol::block_on(executor.run(async {
        ID.set(1);
        executor.spawn(async { write() }).await;
        ID.get()
    }));
    assert_eq!((inside, seen()), (Some(101), (None, 0)));
}

#[test]
fn the_remedies_keep_a_write_in_its_task() {
    async fn write_later() -> Option<u64> {
        let first = write();
        shim::yield_now().await;
        assert_eq!(ID.get(), first);
        first
    }
    let executor = Rc::new(LocalExecutor::new());
    let run = |task| smol::block_on(executor.run(task));
    assert_eq!(run(executor.spawn(ID.scope(1, write_later()))), Some(101));
    assert_eq!(
        run(executor.spawn(write_later().in_current_context())),
        Some(100)
    );
    #[cfg(feature = "tower")]
    assert_eq!(run(executor.spawn(super::layered::call())), Some(100));
    let ours = shim::ContextAwareExecutor::new(Rc::clone(&executor));
    let task = ours.spawn_local(write_later());
    assert_eq!(smol::block_on(executor.run(task)).unwrap(), Some(100));
    assert_eq!(run(executor.spawn(async { ID.get() })), None);
    assert_eq!(seen(), (None, 0));
}
