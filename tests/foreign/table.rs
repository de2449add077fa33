//! Every kind of bare work on tokio, on every flavour, and what each may do: read, write, reset,
//! drop a guard, copy, spawn.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::thread;

use aiocontextvars::shim;
use aiocontextvars::{ResetErrorKind, Scoped, SharedContext, Token, copy_context, inherit_context};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{self, JoinSet, LocalSet};

use super::fixtures::ID;
use super::refused::{reads_nothing, writes_are_refused};
use super::seen;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What bare work is given of the thread's own context: a token and a guard.
struct Given {
    token: Token<u64>,
    guard: Scoped<'static, u64>,
}

/// Runs work on a runtime, in one kind of unit that the shim knows nothing of.
type Place = fn(&Runtime, Work);

const PLACES: [(&str, Place); 7] = [
    ("tokio::spawn", |runtime, work| {
        runtime.block_on(runtime.spawn(work)).unwrap();
    }),
    ("tokio::spawn in a task", |runtime, work| {
        let outer = runtime.spawn(async { tokio::spawn(work).await.unwrap() });
        runtime.block_on(outer).unwrap();
    }),
    ("JoinSet", |runtime, work| {
        let mut set = JoinSet::new();
        set.spawn_on(work, runtime.handle());
        runtime.block_on(set.join_next()).unwrap().unwrap();
    }),
    ("LocalSet", |runtime, work| {
        let local = LocalSet::new();
        let task = local.spawn_local(work);
        local.block_on(runtime, task).unwrap();
    }),
    ("spawn_blocking", |runtime, work| {
        // With a handle of the runtime's entered, as on any of its threads.
        let job = runtime.spawn_blocking(|| futures::executor::block_on(work));
        runtime.block_on(job).unwrap();
    }),
    ("Handle::enter", |runtime, work| {
        let _entered = runtime.enter();
        let task = tokio::spawn(work);
        runtime.block_on(task).unwrap();
    }),
    // As actix-web's: a runtime and a `LocalSet` for each worker thread.
    ("a runtime of a thread of its own", |_, work| {
        let worker = thread::spawn(|| {
            let runtime = Builder::new_current_thread().enable_time().build().unwrap();
            let local = LocalSet::new();
            local.block_on(&runtime, async { task::spawn_local(work).await.unwrap() });
            assert_eq!(seen(), (None, 0));
        });
        worker.join().unwrap();
    }),
];

fn flavours() -> [(&'static str, Runtime); 2] {
    let multi_thread = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build();
    let current_thread = Builder::new_current_thread().enable_time().build();
    [
        ("multi-thread", multi_thread.unwrap()),
        ("current-thread", current_thread.unwrap()),
    ]
}

type Operation = fn(Given) -> Work;

/// Guards that outlive what they were given to.
static KEPT: Mutex<Vec<Scoped<'static, u64>>> = Mutex::new(Vec::new());

/// What is done in the bare work, with a token and a guard of the thread's own context. `true`: the
/// guard is gone after it.
const OPERATIONS: [(&str, bool, Operation); 7] = [
    ("read", true, |_| Box::pin(async { reads_nothing() })),
    ("write", true, |_| {
        Box::pin(async {
            writes_are_refused();
            shim::yield_now().await;
            writes_are_refused();
        })
    }),
    ("reset", true, |Given { token, guard }| {
        Box::pin(async move {
            let error = ID.reset(token).unwrap_err();
            assert_eq!(error.kind(), ResetErrorKind::DifferentContext);
            drop(guard);
        })
    }),
    ("drop a guard", true, |Given { guard, .. }| {
        Box::pin(async move {
            drop(guard);
            reads_nothing();
        })
    }),
    ("copy", true, |_| {
        Box::pin(async {
            assert_eq!((copy_context().len(), inherit_context().len()), (0, 0));
            copy_context().run(|| assert_eq!(ID.set(5).old_value(), None));
            let shared = SharedContext::new();
            shared.run(|| drop(ID.set(5))).unwrap();
            assert_eq!((ID.get(), shared.get(&ID)), (None, Some(5)));
        })
    }),
    ("spawn", true, |_| {
        Box::pin(async {
            let task = shim::spawn(async {
                let inherited = seen();
                ID.set(7);
                (inherited, shim::spawn(async { seen() }).await.unwrap())
            });
            assert_eq!(task.await.unwrap(), ((None, 0), (Some(7), 1)));
            assert_eq!(shim::spawn_blocking(seen).await.unwrap(), (None, 0));
            assert_eq!(seen(), (None, 0));
        })
    }),
    ("keep the guard", false, |Given { guard, .. }| {
        Box::pin(async move {
            KEPT.lock().unwrap().push(guard);
            reads_nothing();
        })
    }),
];

#[test]
fn bare_work_has_an_empty_context_that_it_cannot_write() {
    for (place, run) in PLACES {
        for (operation, ends_guard, work) in OPERATIONS {
            for (flavour, runtime) in flavours() {
                let case = format!("{operation} in {place}, {flavour}");
                eprintln!("{case}");
                // A thread of its own, whose context has a value, set before and after the token
                // was made.
                let thread = thread::spawn(move || {
                    let token = ID.set(1);
                    let guard = ID.scoped(2);
                    run(&runtime, work(Given { token, guard }));
                    // All that may change is that the guard has ended.
                    let left = if ends_guard { 1 } else { 2 };
                    assert_eq!(seen(), (Some(left), 1), "{case}");
                    ID.set(3);
                    assert_eq!(ID.get(), Some(3), "{case}");
                });
                thread.join().unwrap();
            }
        }
    }
}

/// The future of `Runtime::block_on` is in no task: it has the thread's context.
#[test]
fn what_is_no_task_reads_and_writes_the_threads_context() {
    for (_, runtime) in flavours() {
        let thread = thread::spawn(move || {
            let token = ID.set(1);
            runtime.block_on(async {
                assert_eq!(seen(), (Some(1), 1));
                ID.update(|id| id.unwrap() + 1);
                let inherited = shim::spawn(async { ID.get() });
                assert_eq!(inherited.await.unwrap(), Some(2));
                ID.reset(token).unwrap();
            });
            let _entered = runtime.enter();
            assert_eq!(ID.set(4).old_value(), None);
            assert_eq!(seen(), (Some(4), 1));
        });
        thread.join().unwrap();
    }
}
