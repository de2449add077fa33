//! Work in a shared context that the executor is run in as well: it is in the context already, but
//! not as whoever entered it.

use aiocontextvars::{ContextExt, SetErrorKind, SharedContext};

use super::fixtures::ID;

/// What a task finds, and whether it may write.
fn add_one() -> (Option<u64>, Result<(), SetErrorKind>) {
    let found = ID.get();
    let written = ID.try_set(found.unwrap_or(0) + 1);
    (found, written.map(drop).map_err(|error| error.kind()))
}

/// A context in which [`ID`] is 1.
fn shared() -> SharedContext {
    let shared = SharedContext::new();
    shared.run(|| drop(ID.set(1))).unwrap();
    shared
}

/// Adds one when it is dropped.
struct AddsOnDrop;

impl Drop for AddsOnDrop {
    fn drop(&mut self) {
        let (_, written) = add_one();
        written.unwrap();
    }
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use std::future;

    use aiocontextvars::shim;
    use tokio::runtime::{Builder, Runtime};
    use tokio::task::{self, LocalSet};

    use super::*;

    fn current_thread() -> Runtime {
        Builder::new_current_thread().build().unwrap()
    }

    const REFUSED: (Option<u64>, Result<(), SetErrorKind>) =
        (Some(3), Err(SetErrorKind::ForeignTask));

    #[test]
    fn tasks_of_a_runtime_that_is_run_inside() {
        let shared = shared();
        let inside = shared.clone();
        let work = async move {
            let wrapped = task::spawn(async { add_one() }.in_context(&inside));
            assert_eq!(wrapped.await.unwrap(), (Some(1), Ok(())));
            let spawned = shim::spawn_in(&inside, async { add_one() });
            assert_eq!(spawned.await.unwrap(), (Some(2), Ok(())));
            // A bare task reads what the runtime is run in, and cannot write.
            assert_eq!(task::spawn(async { add_one() }).await.unwrap(), REFUSED);
            assert_eq!(add_one(), (Some(3), Ok(())));
            ID.get()
        };
        let last = shared.run(|| current_thread().block_on(work)).unwrap();
        assert_eq!((last, shared.get(&ID)), (Some(4), Some(4)));
    }

    #[test]
    fn bare_tasks_that_run_inside_of_such_a_task() {
        let shared = shared();
        let inside = shared.clone();
        let work = async move {
            let task = async {
                assert_eq!(add_one(), (Some(1), Ok(())));
                assert_eq!(add_one(), (Some(2), Ok(())));
                let set = LocalSet::new();
                let bare = set.run_until(async {
                    let bare = task::spawn_local(async { add_one() });
                    bare.await.unwrap()
                });
                assert_eq!(bare.await, REFUSED);
                add_one()
            };
            let set = LocalSet::new();
            let task = set.run_until(async {
                let task = task::spawn_local(task.in_context(inside));
                task.await.unwrap()
            });
            assert_eq!(task.await, (Some(3), Ok(())));
        };
        shared.run(|| current_thread().block_on(work)).unwrap();
        assert_eq!(shared.get(&ID), Some(4));
    }

    #[test]
    fn tasks_of_a_local_set_that_is_run_inside() {
        let shared = shared();
        let (first, second) = (shared.clone(), shared.clone());
        let work = async move {
            let wrapped = task::spawn_local(async { add_one() }.in_context(first));
            assert_eq!(wrapped.await.unwrap(), (Some(1), Ok(())));
            let another = task::spawn_local(async { add_one() }.in_context(second));
            assert_eq!(another.await.unwrap(), (Some(2), Ok(())));
            let bare = task::spawn_local(async { add_one() });
            assert_eq!(bare.await.unwrap(), REFUSED);
        };
        let run = || LocalSet::new().block_on(&current_thread(), work);
        shared.run(run).unwrap();
        assert_eq!(shared.get(&ID), Some(3));
    }

    #[test]
    fn the_drop_of_a_task_inside() {
        let shared = shared();
        let inside = shared.clone();
        let work = async move {
            let probe = AddsOnDrop;
            let task = async move {
                let _probe = probe;
                future::pending::<()>().await;
            };
            let task = task::spawn(task.in_context(inside));
            task::yield_now().await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        };
        shared.run(|| current_thread().block_on(work)).unwrap();
        assert_eq!(shared.get(&ID), Some(2));
    }

    #[test]
    fn tasks_of_a_block_on_whose_future_is_in_it() {
        let shared = shared();
        let inside = shared.clone();
        let work = async move {
            let wrapped = async { add_one() }.in_context(&inside);
            assert_eq!(wrapped.await, (Some(1), Ok(())));
            let set = LocalSet::new();
            let bare = set.run_until(async {
                let wrapped = task::spawn_local(async { add_one() }.in_context(inside));
                wrapped.await.unwrap()
            });
            assert_eq!(bare.await, (Some(2), Ok(())));
        };
        current_thread().block_on(work.in_context(&shared));
        assert_eq!(shared.get(&ID), Some(3));
    }
}

#[cfg(feature = "async-std")]
#[test]
fn the_task_of_a_block_on_of_async_std() {
    let shared = shared();
    shared
        .run(|| {
            // async-std makes a task of the future, which was not there when the context was
            // entered.
            let wrapped = async {
                let probe = AddsOnDrop;
                let found = add_one();
                drop(probe);
                found
            };
            let found = async_std::task::block_on(wrapped.in_context(&shared));
            assert_eq!(found, (Some(1), Ok(())));
            let bare = async_std::task::block_on(async { add_one() });
            assert_eq!(bare, (Some(3), Err(SetErrorKind::ForeignTask)));
        })
        .unwrap();
    assert_eq!(shared.get(&ID), Some(3));
}
