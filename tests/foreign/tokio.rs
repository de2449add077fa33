//! Tokio's own tasks, on all of its runtimes.

use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

use aiocontextvars::shim::{self, ContextAwareExecutor};
use aiocontextvars::{ContextExt, ResetErrorKind, copy_context};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{self, LocalSet};

use super::fixtures::{Drops, HELD, ID};
use super::refused::{panic_of, reads_nothing, remedies_work, writes_are_refused};
use super::{seen, write};

fn runtimes() -> [Runtime; 2] {
    let runtimes = [
        Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build(),
        current_thread(),
    ];
    runtimes.map(Result::unwrap)
}

fn current_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(1)
        .build()
}

#[test]
fn spawned_tasks() {
    for runtime in runtimes() {
        let task = runtime.spawn(async {
            reads_nothing();
            writes_are_refused();
            remedies_work().await;
            // A task of a task, and one that waited.
            tokio::spawn(async { writes_are_refused() }).await.unwrap();
            shim::yield_now().await;
            writes_are_refused();
        });
        runtime.block_on(task).unwrap();
        let mut set = task::JoinSet::new();
        set.spawn_on(async { writes_are_refused() }, runtime.handle());
        runtime.block_on(set.join_next()).unwrap().unwrap();
        assert_eq!(seen(), (None, 0));
    }
}

#[test]
fn tasks_that_block_in_place() {
    let [runtime, _] = runtimes();
    let task = runtime.spawn(async {
        task::block_in_place(|| {
            writes_are_refused();
            // A context of its own, and one that is nobody's.
            let inside = shim::block_on(async {
                let first = write();
                (first, write())
            });
            assert_eq!(inside, (Some(100), Some(200)));
            writes_are_refused();
        });
    });
    runtime.block_on(task).unwrap();
}

#[test]
fn tasks_of_a_local_set() {
    for runtime in runtimes() {
        let local = LocalSet::new();
        let task = local.spawn_local(async {
            reads_nothing();
            writes_are_refused();
            remedies_work().await;
        });
        local.block_on(&runtime, task).unwrap();
        let inside =
            local.run_until(async { task::spawn_local(async { writes_are_refused() }).await });
        runtime.block_on(inside).unwrap();
        assert_eq!(seen(), (None, 0));
    }
}

#[test]
fn blocking_jobs_of_the_runtime() {
    for runtime in runtimes() {
        let jobs = async {
            ID.set(1);
            for _ in 0..2 {
                let job = task::spawn_blocking(|| {
                    reads_nothing();
                    writes_are_refused();
                });
                job.await.unwrap();
                let bound = task::spawn_blocking(shim::bind(write));
                assert_eq!(bound.await.unwrap(), Some(101));
            }
        };
        runtime.block_on(jobs.in_current_context());
    }
}

#[test]
fn the_future_of_block_on_is_no_task_and_writes_to_its_thread() {
    // As that of `#[tokio::main]`.
    for runtime in runtimes() {
        runtime.block_on(async move {
            ID.set(1);
            let task = tokio::spawn(async move {
                // Also on a runtime of one thread, where the thread's own context has a value.
                reads_nothing();
                writes_are_refused();
                remedies_work().await;
            });
            task.await.unwrap();
            ID.set(ID.get().unwrap() + 1);
        });
        assert_eq!(ID.get(), Some(2));
        ID.unset();
        let local = LocalSet::new();
        local.block_on(&runtime, async {
            ID.set(3);
            let task = task::spawn_local(async {
                reads_nothing();
                writes_are_refused();
            });
            task.await.unwrap();
        });
        assert_eq!(ID.get(), Some(3));
        ID.unset();
    }
}

#[test]
fn tasks_beside_the_future_of_a_block_on_of_the_shim() {
    let [runtime, _] = runtimes();
    let _entered = runtime.enter();
    let local = ContextAwareExecutor::new(Rc::new(LocalSet::new()));
    let main = local.block_on_local(async {
        ID.set(1);
        let task = task::spawn_local(async {
            // The context of `block_on` is its future's.
            reads_nothing();
            writes_are_refused();
            remedies_work().await;
        });
        task.await.unwrap();
        // The future itself may go on writing, also after others have run on the thread.
        ID.set(ID.get().unwrap() + 1);
        seen()
    });
    assert_eq!((main, seen()), ((Some(2), 1), (None, 0)));
}

#[test]
fn tasks_that_run_inside_the_future_of_a_block_on_of_the_shim() {
    let [runtime, _] = runtimes();
    let _entered = runtime.enter();
    let main = shim::tokio::block_on(async {
        ID.set(1);
        let local = LocalSet::new();
        let inside = local.run_until(async {
            let task = task::spawn_local(async {
                // What `block_on` has entered is not theirs.
                reads_nothing();
                writes_are_refused();
                remedies_work().await;
            });
            task.await.unwrap();
            ID.set(ID.get().unwrap() + 1);
        });
        inside.await;
        seen()
    });
    assert_eq!((main, seen()), ((Some(2), 1), (None, 0)));
}

#[test]
fn tasks_that_run_inside_a_context_around_their_executor_read_it_and_cannot_write_it() {
    for runtime in runtimes() {
        let local = LocalSet::new();
        let inside = local.run_until(async {
            ID.set(1);
            let bare = task::spawn_local(async {
                assert_eq!(ID.get(), Some(1));
                writes_are_refused();
                remedies_work().await;
            });
            bare.await.unwrap();
            let wrapped = task::spawn_local(async { write() }.in_current_context());
            assert_eq!(wrapped.await.unwrap(), Some(101));
            ID.set(ID.get().unwrap() + 1);
            ID.get()
        });
        let after = runtime.block_on(inside.in_current_context());
        assert_eq!((after, seen()), (Some(2), (None, 0)));
    }
}

#[test]
fn a_refused_write_leaves_nothing_for_the_next_task_of_the_thread() {
    let runtime = current_thread().unwrap();
    let drops = Drops::new();
    let value = drops.value();
    let on = thread::current().id();
    let first = async move {
        assert_eq!(thread::current().id(), on);
        drop(HELD.try_set(value));
        panic_of(|| drop(ID.set(1)));
    };
    let second = async move {
        assert_eq!(thread::current().id(), on);
        (seen(), HELD.with(|held| held.is_some()))
    };
    let seen_by_next = runtime.block_on(async {
        tokio::spawn(first).await.unwrap();
        assert_eq!(drops.count(), 1);
        tokio::spawn(second).await.unwrap()
    });
    assert_eq!(seen_by_next, ((None, 0), false));
    assert_eq!((seen(), drops.count()), ((None, 0), 1));

    // The only blocking thread there is.
    let job = runtime.spawn_blocking(|| panic_of(|| drop(ID.set(1))));
    runtime.block_on(job).unwrap();
    let next = runtime.block_on(runtime.spawn_blocking(seen));
    assert_eq!(next.unwrap(), (None, 0));
}

#[test]
fn a_panic_of_a_refused_write_is_the_tasks() {
    for runtime in runtimes() {
        let task = runtime.spawn(async { drop(ID.set(1)) });
        let error = runtime.block_on(task).unwrap_err();
        let payload = error.into_panic();
        let text = payload.downcast_ref::<String>().unwrap();
        assert!(
            text.starts_with("context variable `ID` cannot be set here"),
            "{text}"
        );
        assert_eq!(
            runtime.block_on(runtime.spawn(async { seen() })).unwrap(),
            (None, 0)
        );
    }
}

#[test]
fn tokens_and_guards_of_elsewhere_change_nothing() {
    for runtime in runtimes() {
        let (token, guard) = runtime.block_on(async {
            let task = shim::spawn(async {
                let guard = ID.scoped(1);
                (ID.set(2), guard)
            });
            task.await.unwrap()
        });
        let task = runtime.spawn(async move {
            drop(guard);
            let error = ID.reset(token).unwrap_err();
            assert_eq!(error.kind(), ResetErrorKind::DifferentContext);
            seen()
        });
        assert_eq!(runtime.block_on(task).unwrap(), (None, 0));
    }
}

#[test]
fn threads_of_ones_own_may_write_while_a_runtime_is_in_use() {
    let [runtime, _] = runtimes();
    let (sender, receiver) = mpsc::channel();
    let _entered = runtime.enter();
    let handle = runtime.handle().clone();
    thread::spawn(move || {
        ID.set(1);
        // In the runtime, and in no task of it.
        handle.block_on(async { ID.set(ID.get().unwrap() + 1) });
        sender.send((ID.get(), copy_context().len())).unwrap();
    });
    assert_eq!(receiver.recv().unwrap(), (Some(2), 1));
}
