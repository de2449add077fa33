//! Rows TA-18 for tokio's own combinators and spawns: what shares the context of the task, and what
//! starts with none.
#![cfg(feature = "tokio")]

use std::future::{self, Future};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiocontextvars::{Context, ContextExt, context_var, shim};
use futures::future::BoxFuture;
use tokio::runtime::Builder;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{self, JoinSet, LocalSet};

context_var! {
    static ID: u64;
}

/// Adds one to what the current context has, in its second step. Returns what it found.
async fn bump() -> u64 {
    shim::yield_now().await;
    let found = ID.get_or(0);
    ID.set(found + 1);
    found
}

/// Runs a row, whose `ID` is 1, in a task of the shim's, on two threads and on one.
fn check<F: Future<Output = ()> + Send + 'static>(row: fn() -> F) {
    let mut multi_thread = Builder::new_multi_thread();
    multi_thread.worker_threads(2);
    for mut builder in [multi_thread, Builder::new_current_thread()] {
        let runtime = builder.enable_time().build().unwrap();
        let task = async {
            let context = Context::new().with_value(&ID, 1);
            shim::spawn_in(context, row()).await.unwrap();
        };
        runtime.block_on(task);
    }
}

/// Notes the value of [`ID`] when it is dropped.
struct SeesOnDrop(Arc<Mutex<Vec<Option<u64>>>>);

impl Drop for SeesOnDrop {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(ID.get());
    }
}

async fn never(probe: SeesOnDrop) -> u64 {
    let _probe = probe;
    future::pending().await
}

#[test]
fn ta_18_tokio_join() {
    check(|| async {
        // It begins with another branch at each poll.
        let mut found = <[_; 3]>::from(tokio::join!(bump(), bump(), bump()));
        found.sort();
        assert_eq!(found, [1, 2, 3]);
        assert_eq!(ID.get(), Some(4));
        let branch = || bump().in_current_context();
        assert_eq!(tokio::join!(branch(), branch()), (4, 4));
        assert_eq!(ID.get(), Some(4));
    });
}

#[test]
fn ta_18_tokio_try_join() {
    check(|| async {
        let seen = Arc::default();
        let waits = never(SeesOnDrop(Arc::clone(&seen)));
        let waits = async { Ok::<_, u64>(waits.await) };
        let fails = async { Err::<u64, _>(bump().await) };
        assert_eq!(tokio::try_join!(waits, fails), Err(1));
        assert_eq!(
            (&*seen.lock().unwrap(), ID.get()),
            (&vec![Some(2)], Some(2))
        );
    });
}

#[test]
fn ta_18_tokio_select() {
    check(|| async {
        let seen = Arc::default();
        let bare = never(SeesOnDrop(Arc::clone(&seen)));
        let wrapped = never(SeesOnDrop(Arc::clone(&seen))).in_current_context();
        ID.set(5);
        let found = tokio::select! {
            found = bump() => found,
            found = bare => found,
            found = wrapped => found,
        };
        assert_eq!((found, ID.get()), (5, Some(6)));
        let mut seen = seen.lock().unwrap().clone();
        seen.sort();
        // The loser that was wrapped goes in its own.
        assert_eq!(seen, [Some(1), Some(6)]);
    });
}

#[test]
fn ta_18_tokio_timeout() {
    check(|| async {
        let hour = Duration::from_secs(3600);
        assert_eq!(tokio::time::timeout(hour, bump()).await, Ok(1));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(task::unconstrained(bump()).await, 2);
        let seen = Arc::default();
        let waits = never(SeesOnDrop(Arc::clone(&seen)));
        assert!(tokio::time::timeout(Duration::ZERO, waits).await.is_err());
        assert_eq!(
            (&*seen.lock().unwrap(), ID.get()),
            (&vec![Some(3)], Some(3))
        );
    });
}

#[test]
fn ta_18_tokio_scopes() {
    tokio::task_local! { static LOCAL: u64; }
    check(|| async {
        let scoped = async { bump().await + LOCAL.get() };
        assert_eq!(LOCAL.scope(100, scoped).await, 101);
        assert_eq!(ID.get(), Some(2));
        // A value of ours follows where tokio's does not.
        let child = LOCAL.scope(100, async {
            shim::spawn(async { (ID.get(), LOCAL.try_get().is_ok()) }).await
        });
        assert_eq!(child.await.unwrap(), (Some(2), false));
    });
}

#[test]
fn ta_18_tokio_local_set() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let set = LocalSet::new();
    let row = async {
        ID.set(1);
        let found = set.run_until(async {
            // The future of the set is no task, and shares; a task of the set starts with what the
            // thread has.
            let task = task::spawn_local(async { ID.get() }.in_context(Context::new()));
            let wrapped = task::spawn_local(bump().in_current_context());
            (bump().await, task.await.unwrap(), wrapped.await.unwrap())
        });
        assert_eq!(found.await, (1, None, 1));
        assert_eq!(ID.get(), Some(2));
    };
    runtime.block_on(row.in_current_context());
}

/// Whatever spawns a task of tokio's own: it has no context but its thread's, unless it is wrapped.
type Spawn = fn(BoxFuture<'static, Option<u64>>) -> BoxFuture<'static, Option<u64>>;

const SPAWNS: [(&str, Spawn); 4] = [
    ("tokio::spawn", |future| {
        let task = tokio::spawn(future);
        Box::pin(async { task.await.unwrap() })
    }),
    ("Handle::spawn", |future| {
        let task = tokio::runtime::Handle::current().spawn(future);
        Box::pin(async { task.await.unwrap() })
    }),
    ("JoinSet::spawn", |future| {
        let mut tasks = JoinSet::new();
        tasks.spawn(future);
        Box::pin(async move { tasks.join_next().await.unwrap().unwrap() })
    }),
    ("spawn_blocking", |future| {
        let job = task::spawn_blocking(|| futures::executor::block_on(future));
        Box::pin(async { job.await.unwrap() })
    }),
];

#[test]
fn ta_18_tokio_spawns() {
    check(|| async {
        for (name, spawn) in SPAWNS {
            let reads = || async { ID.get() };
            ID.set(1);
            let bare = spawn(Box::pin(reads()));
            let wrapped = spawn(Box::pin(reads().in_current_context()));
            let adds = spawn(Box::pin(async { Some(bump().await) }.in_current_context()));
            ID.set(2);
            assert_eq!(bare.await, None, "{name}");
            assert_eq!(wrapped.await, Some(1), "{name}");
            assert_eq!((adds.await, ID.get()), (Some(1), Some(2)), "{name}");
            // A write would leak into other work of that thread, and is refused.
            let writes = spawn(Box::pin(async { ID.try_set(3).is_err().then_some(4) }));
            assert_eq!(writes.await, Some(4), "{name}");
        }
    });
}

#[test]
fn ta_18_tokio_block_in_place() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let task = async {
        let task = shim::spawn_in(Context::new().with_value(&ID, 1), async {
            // The same thread and task, on a worker that others do not wait for.
            let found = task::block_in_place(|| ID.set(2).old_value().copied());
            (found, ID.get())
        });
        assert_eq!(task.await.unwrap(), (Some(1), Some(2)));
    };
    runtime.block_on(task);
}

#[test]
fn ta_18_tokio_channels() {
    check(|| async {
        let (queue, mut from_queue) = mpsc::channel(1);
        let (once, from_once) = oneshot::channel();
        let (all, mut from_all) = broadcast::channel(1);
        let (watched, mut from_watched) = watch::channel(0);
        let receives = shim::spawn(async move {
            let queued = from_queue.recv().await.unwrap();
            let all = from_all.recv().await.unwrap();
            from_watched.changed().await.unwrap();
            (queued, from_once.await.unwrap(), all, bump().await)
        });
        let sends = shim::spawn_in(Context::new().with_value(&ID, 50), async move {
            queue.send(bump().await).await.unwrap();
            once.send(bump().await).unwrap();
            all.send(bump().await).unwrap();
            watched.send(bump().await).unwrap();
            // Keeps the senders until they are not needed.
            (queue, all, watched)
        });
        let _senders = sends.await.unwrap();
        assert_eq!(receives.await.unwrap(), (50, 51, 52, 1));
        assert_eq!(ID.get(), Some(1));
    });
}
