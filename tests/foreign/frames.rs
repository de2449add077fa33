//! A runtime or a `LocalSet` that is run, or dropped, inside each synchronous frame: its bare tasks
//! see the frame's values, which nobody but the frame's own code can have written, and cannot write
//! to them.

use std::future::pending;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, ContextAwareExecutor, Runner};
use aiocontextvars::{Context, ContextExt, ContextVar, ResetErrorKind, context_var, copy_context};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use super::fixtures::ID;
use super::refused::writes_are_refused;
use super::seen;

context_var! {
    static OTHER: u64;
}

type Frame = fn(Box<dyn FnOnce() + Send>);

/// Every way to call a function in a context in which `ID` is 1 and nothing else is set.
const FRAMES: [(&str, Frame); 10] = [
    ("Context::run", |f| context().run(f)),
    ("Context::call", |f| context().call(f)),
    ("sync_scope", |f| Context::new().run(|| ID.sync_scope(1, f))),
    ("SharedContext::run", |f| context().share().run(f).unwrap()),
    ("a bound function", |f| context().bind(f)()),
    ("a function bound to all its calls", |f| {
        let mut f = Some(f);
        context().bind_mut(|()| f.take().unwrap()())(());
    }),
    ("a blocking job", |f| {
        let job = shim::block_on(async { shim::spawn_blocking_in(context(), f).await });
        job.unwrap();
    }),
    ("a callback", |f| {
        let (done, wait) = mpsc::channel::<()>();
        let threads = ContextAwareExecutor::from_schedule(|step| {
            thread::spawn(|| step.run());
        });
        threads.call_soon_in(context(), move || {
            let _done = done;
            f();
        });
        // The callback's panic is reported by the thread's hook; then it sends nothing, too.
        assert!(wait.recv().is_err());
    }),
    ("a thread", |f| {
        shim::thread::spawn_in(context(), f).join().unwrap()
    }),
    ("a thread in a shared context", |f| {
        shim::thread::spawn_in(context().share(), f).join().unwrap();
    }),
];

fn context() -> Context {
    Context::new().with_value(&ID, 1)
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// What a bare task may do inside of a frame.
async fn bare() {
    // It may read: what is here was set by the frame's code.
    assert_eq!((ID.get(), copy_context().get(&ID)), (Some(1), Some(&1)));
    writes_are_refused();
    shim::yield_now().await;
    writes_are_refused();
    // What it enters is its own.
    assert_eq!(
        ID.scope(2, async { ID.set(3).old_value().copied() }).await,
        Some(2)
    );
    assert_eq!(
        copy_context().run(|| ID.set(4).old_value().copied()),
        Some(1)
    );
    assert_eq!(ID.get(), Some(1));
}

/// Writes when it is dropped.
struct WritesOnDrop(mpsc::Sender<bool>);

impl Drop for WritesOnDrop {
    fn drop(&mut self) {
        let written = ID.try_set(9).is_ok() || OTHER.try_set(9).is_ok();
        self.0.send(written).unwrap();
    }
}

fn in_each(f: fn()) {
    for (name, frame) in FRAMES {
        let (sender, receiver) = mpsc::channel();
        frame(Box::new(move || {
            f();
            // The frame's own code may write, before and after.
            assert_eq!((ID.get(), OTHER.get()), (Some(1), None));
            ID.set(2);
            assert_eq!(ID.get(), Some(2));
            sender.send(()).unwrap();
        }));
        assert_eq!(receiver.recv(), Ok(()), "{name}");
    }
    assert_eq!((ID.get(), OTHER.get()), (None, None));
}

#[test]
fn a_runtime_that_is_run_inside() {
    in_each(|| {
        let runtime = current_thread();
        runtime.block_on(async {
            // This future is no task, and the frame's own.
            let token = OTHER.set(1);
            tokio::spawn(bare_after_other(1)).await.unwrap();
            OTHER.reset(token).unwrap();
            tokio::spawn(bare()).await.unwrap();
        });
    });
}

async fn bare_after_other(expected: u64) {
    assert_eq!(OTHER.get(), Some(expected));
    assert!(OTHER.try_set(2).is_err());
}

#[test]
fn a_local_set_that_is_run_inside() {
    in_each(|| {
        let (runtime, local) = (current_thread(), LocalSet::new());
        local.spawn_local(bare());
        local.block_on(&runtime, async {
            tokio::task::spawn_local(bare()).await.unwrap()
        });
    });
}

#[test]
fn a_runtime_of_other_threads_that_is_run_inside() {
    in_each(|| {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let elsewhere = tokio::spawn(async {
                assert_eq!(ID.get(), None);
                writes_are_refused();
            });
            elsewhere.await.unwrap();
        });
    });
}

#[test]
fn a_runtime_that_is_dropped_inside() {
    in_each(|| {
        let runtime = current_thread();
        let (sender, receiver) = mpsc::channel();
        let witness = WritesOnDrop(sender);
        runtime.spawn(async move {
            let _witness = witness;
            pending::<()>().await;
        });
        runtime.block_on(tokio::task::yield_now());
        drop(runtime);
        assert_eq!(receiver.recv(), Ok(false));
    });
}

#[test]
fn a_local_set_that_is_dropped_inside() {
    in_each(|| {
        let (runtime, local) = (current_thread(), LocalSet::new());
        let (sender, receiver) = mpsc::channel();
        let witness = WritesOnDrop(sender);
        local.spawn_local(async move {
            let _witness = witness;
            pending::<()>().await;
        });
        local.block_on(&runtime, tokio::task::yield_now());
        drop(local);
        assert_eq!(receiver.recv(), Ok(false));
    });
}

/// Tokens and guards of the frame, in a bare task that the frame runs.
#[test]
fn a_token_and_a_guard_of_the_frame() {
    in_each(|| {
        let runtime = current_thread();
        let token = ID.set(5);
        let guard = ID.scoped(6);
        let task = async move {
            let error = ID.reset(token).unwrap_err();
            assert_eq!(error.kind(), ResetErrorKind::DifferentContext);
            drop(guard);
            // The guard has ended, as it would anywhere.
            assert_eq!(ID.get(), Some(5));
            error.into_token()
        };
        let token = runtime.block_on(async { tokio::spawn(task).await.unwrap() });
        ID.reset(token).unwrap();
    });
}

/// Adds 1 to `OTHER` when it is dropped.
struct Writing;

impl Drop for Writing {
    fn drop(&mut self) {
        OTHER.set(OTHER.get().unwrap_or(0) + 1);
    }
}

/// A guard ends in a bare task, where its value's destructor could not write: the value is dropped
/// later.
#[test]
fn a_guard_of_the_frame_whose_value_writes() {
    context_var! { static WRITES: Option<Writing>; }

    in_each(|| {
        let runtime = current_thread();
        WRITES.set(None);
        let guard = WRITES.scoped(Some(Writing));
        let task = async move {
            drop(guard);
            (WRITES.with(|value| value.unwrap().is_some()), OTHER.get())
        };
        let seen = runtime.block_on(async { tokio::spawn(task).await.unwrap() });
        assert_eq!(seen, (false, None));
        // The value goes where it may write.
        WRITES.set(None);
        assert_eq!(OTHER.unset().old_value(), Some(&1));
    });
}

/// The remedy for a future that a runtime runs in a context: the context goes with the future, and
/// not around the runtime.
#[test]
fn a_future_in_its_context_on_a_runtime() {
    let runtime = current_thread();
    let main = async {
        ID.set(2);
        tokio::spawn(async { assert_eq!(ID.get(), None) })
            .await
            .unwrap();
        shim::spawn(async { ID.get() }).await.unwrap()
    };
    assert_eq!(runtime.block_on(main.in_context(context())), Some(2));
}

/// A frame that a task of the shim enters, on a worker: what the task calls is its own, also across
/// a nested `block_on`.
#[test]
fn a_frame_inside_a_task() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let task = shim::tokio::spawn(async {
        context().run(|| {
            ID.set(2);
            let nested = thread::scope(|scope| {
                let inner =
                    || current_thread().block_on(async { tokio::spawn(async { ID.get() }).await });
                scope.spawn(inner).join().unwrap().unwrap()
            });
            assert_eq!(nested, None);
            let inside = tokio::task::block_in_place(|| {
                current_thread().block_on(async {
                    ID.set(3);
                    tokio::spawn(async { (ID.get(), ID.try_set(4).is_err()) })
                        .await
                        .unwrap()
                })
            });
            assert_eq!((inside, ID.get()), ((Some(3), true), Some(3)));
        });
    });
    runtime.block_on(task).unwrap();
}

/// The frame of a `block_on` is its future's. A bare task that a runtime runs inside of it does not
/// find what the future has just read.
#[test]
fn a_bare_task_inside_the_frame_of_a_block_on() {
    let main = async {
        assert_eq!(seen(), (Some(1), 1));
        let bare = current_thread().block_on(async {
            tokio::spawn(async { (seen(), ID.try_set(2).is_err()) })
                .await
                .unwrap()
        });
        (bare, seen())
    };
    let (bare, after) = context().run(|| EventLoop::new().try_run_until_complete(main).unwrap());
    assert_eq!((bare, after), (((None, 0), true), (Some(1), 1)));
}

/// A runner's context is its runs': bare tasks that the runs drive neither see nor change it.
#[test]
fn bare_tasks_beside_the_run_of_a_runner() {
    let runtime = current_thread();
    let _entered = runtime.enter();
    for kind in ["its executor", "a function"] {
        let mut runner = match kind {
            "its executor" => Runner::on_local(ContextAwareExecutor::new(Rc::new(LocalSet::new()))),
            _ => {
                let runtime = current_thread();
                Runner::from_block_on(move |future| runtime.block_on(future))
            }
        };
        for run in 1..=2 {
            runner.run(async {
                let bare = async {
                    assert_eq!((ID.get(), copy_context().len()), (None, 0));
                    writes_are_refused();
                };
                match kind {
                    "its executor" => tokio::task::spawn_local(bare).await.unwrap(),
                    _ => tokio::spawn(bare).await.unwrap(),
                }
                ID.update(|id| id.map_or(1, |id| id + 1));
                assert_eq!(ID.get(), Some(run), "{kind}");
            });
        }
        assert_eq!(runner.context().get(&ID), Some(2));
    }
}

/// Its result is everybody's, so that no task may have had a say in it.
#[test]
fn a_runtime_that_is_run_in_a_default() {
    fn tasks() -> [(Option<u64>, bool); 2] {
        let runtime = Builder::new_current_thread().build().unwrap();
        [2, 3].map(|id| {
            let bare = async move { (ID.get(), ID.try_set(id).is_err()) };
            runtime.block_on(runtime.spawn(bare)).unwrap()
        })
    }
    let refused = [(None, true); 2];
    let at_the_root = ContextVar::with_default("at the root", tasks);
    assert_eq!(at_the_root.get(), refused);
    for (name, frame) in FRAMES {
        frame(Box::new(move || {
            let inside = ContextVar::with_default("inside", tasks);
            assert_eq!(inside.get(), refused, "{name}");
            assert_eq!(ID.get(), Some(1), "{name}");
        }));
    }
}
