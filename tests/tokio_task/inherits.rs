//! What each way to spawn inherits, and what is not seen outside of it.

use std::rc::Rc;
use std::thread;

use aiocontextvars::shim::tokio::task::{self, JoinHandle, JoinSet, LocalSet};
use aiocontextvars::{ContextVar, shim};
use tokio::runtime::Builder;

use super::{ID, multi_thread, on_each};

/// Reads, writes, reads what a child sees, and is still the same after an await.
async fn unit() -> (Option<u64>, Option<u64>, Option<u64>) {
    let before = ID.get();
    ID.update(|id| id.copied().unwrap_or_default() + 100);
    task::yield_now().await;
    let child = task::spawn(async { ID.get() }).await.unwrap();
    let job = task::spawn_blocking(|| ID.get()).await.unwrap();
    assert_eq!(child, job);
    (before, child, ID.get())
}

const SEEN: (Option<u64>, Option<u64>, Option<u64>) = (Some(2), Some(102), Some(102));

#[test]
fn a_task_starts_in_a_copy_taken_at_the_call() {
    on_each(|| async {
        let handle: tokio::task::JoinHandle<_> = ID.sync_scope(2, || task::spawn(unit()));
        ID.set(3);
        assert_eq!(handle.await.unwrap(), SEEN);
        assert_eq!(ID.get(), Some(3));
    });
}

#[test]
fn a_blocking_job_starts_in_a_copy_and_leaves_nothing_behind() {
    for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let runtime = builder.max_blocking_threads(1).build().unwrap();
        runtime.block_on(ID.scope(1, async {
            let mut threads = Vec::new();
            for id in [2, 3] {
                let job: JoinHandle<_> = ID.sync_scope(id, || {
                    task::spawn_blocking(|| {
                        let before = ID.get();
                        ID.set(100);
                        (thread::current().id(), before, ID.get())
                    })
                });
                let (thread, before, after) = job.await.unwrap();
                assert_eq!((before, after), (Some(id), Some(100)));
                threads.push(thread);
            }
            let bare = tokio::task::spawn_blocking(|| (thread::current().id(), ID.get()));
            assert_eq!(bare.await.unwrap(), (threads[0], None));
            assert_eq!((threads[1], ID.get()), (threads[0], Some(1)));
        }));
    }
}

#[test]
fn a_local_task_starts_in_a_copy_taken_at_the_call() {
    for local in [LocalSet::new(), LocalSet::default()] {
        let runtime = multi_thread();
        // Before the set runs, within it, and by a guard.
        let early = ID.sync_scope(2, || local.spawn_local(unit()));
        let entered = local.enter();
        let guarded = ID.sync_scope(2, || task::spawn_local(unit()));
        drop(entered);
        local.block_on(&runtime, async {
            let within = ID.sync_scope(2, || {
                task::spawn_local(async {
                    let here = Rc::new(ID.get());
                    let nested = task::spawn_local(async move { *here });
                    assert_eq!(nested.await.unwrap(), Some(2));
                    unit().await
                })
            });
            for handle in [early, guarded, within] {
                assert_eq!(handle.await.unwrap(), SEEN);
            }
            assert_eq!(ID.get(), None);
        });
    }
}

#[test]
fn a_local_task_inherits_in_a_set_of_tokios_own() {
    let local = tokio::task::LocalSet::new();
    local.block_on(&multi_thread(), async {
        let handle = ID.sync_scope(2, || task::spawn_local(unit()));
        let bare = tokio::task::spawn_local(async { ID.get() });
        assert_eq!(handle.await.unwrap(), SEEN);
        assert_eq!(bare.await.unwrap(), None);
    });
}

#[test]
fn each_way_of_a_join_set_takes_its_context_at_the_call() {
    for runtime in [super::current_thread(), multi_thread()] {
        let local = LocalSet::new();
        local.block_on(&runtime, async {
            let handle = tokio::runtime::Handle::current();
            let mut tasks = JoinSet::new();
            let mut next = 0..;
            let mut scoped = |spawn: &mut dyn FnMut(&mut JoinSet<Option<u64>>)| {
                ID.sync_scope(next.next().unwrap(), || spawn(&mut tasks));
            };
            async fn late() -> Option<u64> {
                task::yield_now().await;
                ID.get()
            }
            scoped(&mut |tasks| drop(tasks.spawn(late())));
            scoped(&mut |tasks| drop(tasks.spawn_on(late(), &handle)));
            scoped(&mut |tasks| drop(tasks.spawn_local(late())));
            scoped(&mut |tasks| drop(tasks.spawn_local_on(late(), &local)));
            scoped(&mut |tasks| drop(tasks.spawn_blocking(|| ID.get())));
            scoped(&mut |tasks| drop(tasks.spawn_blocking_on(|| ID.get(), &handle)));
            // One type of future, so that it can be of an iterator.
            scoped(&mut |tasks| tasks.extend([late()]));
            ID.set(99);
            let mut seen = tasks.join_all().await;
            seen.sort();
            assert_eq!(seen, (0..7).map(Some).collect::<Vec<_>>());

            let collected: JoinSet<_> = [late(), late()].into_iter().collect();
            assert_eq!(collected.join_all().await, [Some(99); 2]);
        });
        ID.unset();
    }
}

#[test]
fn the_shims_own_functions_work_in_these_tasks() {
    on_each(|| async {
        let handle = task::spawn(async {
            ID.set(5);
            let task = shim::spawn(async { ID.get() });
            let (sender, receiver) = tokio::sync::oneshot::channel();
            shim::call_soon(move || sender.send(ID.get()).unwrap());
            (task.await.unwrap(), receiver.await.unwrap())
        });
        assert_eq!(handle.await.unwrap(), (Some(5), Some(5)));
        // On a thread that may block, others can be waited for.
        let job = task::spawn_blocking(|| {
            ID.set(6);
            shim::block_on(async { shim::spawn(async { ID.get() }).await.unwrap() })
        });
        assert_eq!(job.await.unwrap(), Some(6));
    });
}

#[test]
fn a_variable_that_is_local_is_not_inherited() {
    static LOCAL: ContextVar<u8> = ContextVar::new("LOCAL").local();
    on_each(|| async {
        LOCAL.set(1);
        assert_eq!(task::spawn(async { LOCAL.get() }).await.unwrap(), None);
        assert_eq!(task::spawn_blocking(|| LOCAL.get()).await.unwrap(), None);
        assert_eq!(LOCAL.get(), Some(1));
    });
}

#[test]
fn what_the_current_thread_blocks_in_place_on_has_the_tasks_context() {
    multi_thread().block_on(async {
        ID.set(1);
        let handle = task::spawn(async {
            ID.set(2);
            task::block_in_place(|| ID.set(3));
            ID.get()
        });
        assert_eq!(handle.await.unwrap(), Some(3));
        assert_eq!(ID.get(), Some(1));
        ID.unset();
    });
}
