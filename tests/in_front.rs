//! Executors of one's own that only pass steps and jobs on, in front of those that have an adapter.

#[path = "../crates/conformance/src/here.rs"]
mod here;
#[path = "common/leak.rs"]
mod leak;
#[path = "common/threads.rs"]
mod threads;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{
    self, Clock, ContextAwareExecutor, Executor, Job, LocalExecutor, LocalRunnable, Runnable,
};
use aiocontextvars::{context_var, copy_context};
use futures::channel::oneshot;
#[cfg(feature = "futures-executor")]
use futures::executor::{LocalPool, ThreadPool};
use futures::future::{BoxFuture, LocalBoxFuture};

use crate::here::Here;
use crate::leak::leak;

context_var! {
    static ID: u64;
}

struct InFront<E> {
    inner: E,
    steps: Arc<AtomicUsize>,
    jobs: Arc<AtomicUsize>,
}

impl<E: Executor> Executor for InFront<E> {
    fn schedule(&self, task: Runnable) {
        self.steps.fetch_add(1, Ordering::SeqCst);
        self.inner.schedule(task);
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.inner.clock()
    }

    fn spawn_blocking(&self, job: Job) {
        self.jobs.fetch_add(1, Ordering::SeqCst);
        self.inner.spawn_blocking(job);
    }
}

/// Runs work on an executor in front of `inner`, kept by the pointer that `point` makes; `drive`
/// waits for it.
fn passes_on<E: Executor, P: Executor>(
    inner: E,
    point: impl FnOnce(InFront<E>) -> P,
    drive: impl FnOnce(BoxFuture<'static, ()>),
) {
    let (steps, jobs) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let executor = ContextAwareExecutor::new(point(InFront {
        inner,
        steps: Arc::clone(&steps),
        jobs: Arc::clone(&jobs),
    }));
    ID.set(1);
    let (outer, outer_called) = oneshot::channel();
    executor.call_soon(move || outer.send(ID.get()).unwrap());
    let task = executor.spawn(async {
        let before = ID.get();
        ID.set(2);
        let child = shim::spawn(async { ID.get() });
        let job = shim::spawn_blocking(|| ID.get());
        let (inner, inner_called) = oneshot::channel();
        shim::call_soon(move || inner.send(ID.get()).unwrap());
        ID.set(3);
        let start = shim::now();
        shim::sleep(Duration::from_millis(1)).await;
        assert!(shim::now() - start >= Duration::from_millis(1));
        let seen = [
            child.await.unwrap(),
            job.await.unwrap(),
            inner_called.await.unwrap(),
        ];
        (before, seen, ID.get())
    });
    ID.set(4);
    drive(Box::pin(async move {
        let seen = task.await.unwrap();
        assert_eq!(seen, (Some(1), [Some(2); 3], Some(3)));
        assert_eq!(outer_called.await, Ok(Some(1)));
    }));
    // The task in two steps at least, its child, and the callbacks.
    let steps = steps.load(Ordering::SeqCst);
    assert!(steps >= 4, "{steps}");
    assert_eq!(jobs.load(Ordering::SeqCst), 1);
    assert_eq!((ID.get(), copy_context().len()), (Some(4), 1));
}

#[test]
fn of_threads() {
    let pool = || threads::threads(1).into_inner();
    passes_on(pool(), Arc::new, futures::executor::block_on);
    passes_on(pool(), leak, futures::executor::block_on);
    // Of one that is kept behind a pointer itself.
    passes_on(Arc::new(pool()), Arc::new, futures::executor::block_on);
    let dynamic: Arc<dyn Executor> = Arc::new(pool());
    passes_on(dynamic, Arc::new, futures::executor::block_on);
}

#[cfg(feature = "futures-executor")]
#[test]
fn of_a_thread_pool() {
    let pool = ThreadPool::builder().pool_size(1).create().unwrap();
    passes_on(pool, Arc::new, futures::executor::block_on);
}

#[test]
fn of_an_event_loop() {
    let event_loop = EventLoop::new();
    passes_on(event_loop.handle(), Arc::new, |work| {
        event_loop.run_until_complete(work)
    });
}

#[cfg(feature = "tokio")]
#[test]
fn of_a_tokio_runtime() {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().build().unwrap();
    passes_on(runtime.handle().clone(), Arc::new, |work| {
        runtime.block_on(work)
    });
}

#[cfg(feature = "smol")]
#[test]
fn of_smols_executors() {
    passes_on(shim::smol::Global::default(), Arc::new, smol::block_on);
    let executor = Arc::new(smol::Executor::new());
    passes_on(Arc::clone(&executor), Arc::new, |work| {
        smol::block_on(executor.run(work))
    });
}

#[cfg(feature = "async-std")]
#[test]
fn of_async_stds_executor() {
    passes_on(
        shim::async_std::Global::default(),
        Arc::new,
        futures::executor::block_on,
    );
}

struct InFrontHere<E> {
    inner: E,
    steps: Rc<Cell<usize>>,
}

impl<E: LocalExecutor> LocalExecutor for InFrontHere<E> {
    fn schedule_local(&self, task: LocalRunnable) {
        self.steps.set(self.steps.get() + 1);
        self.inner.schedule_local(task);
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.inner.clock()
    }
}

/// The same for an executor of tasks that stay on their thread.
fn passes_on_here<E: LocalExecutor>(inner: E, drive: impl FnOnce(LocalBoxFuture<'static, ()>)) {
    let steps = Rc::new(Cell::new(0));
    let executor = ContextAwareExecutor::new(Rc::new(InFrontHere {
        inner,
        steps: Rc::clone(&steps),
    }));
    ID.set(1);
    let (outer, outer_called) = oneshot::channel();
    executor.call_soon_local(move || outer.send(ID.get()).unwrap());
    let task = executor.spawn_local(async {
        let before = ID.get();
        ID.set(2);
        let here = Rc::new(ID.get());
        let child = shim::spawn_local(async move { (here, ID.get()) });
        ID.set(3);
        let start = shim::now();
        shim::yield_now().await;
        assert!(shim::now() >= start);
        (before, child.await.unwrap(), ID.get())
    });
    ID.set(4);
    drive(Box::pin(async move {
        let seen = task.await.unwrap();
        assert_eq!(seen, (Some(1), (Rc::new(Some(2)), Some(2)), Some(3)));
        assert_eq!(outer_called.await, Ok(Some(1)));
    }));
    assert!(steps.get() >= 4, "{}", steps.get());
    assert_eq!((ID.get(), copy_context().len()), (Some(4), 1));
}

#[test]
fn of_one_thread() {
    let here = Rc::new(Here::default());
    passes_on_here(Rc::clone(&here), |work| here.run_until(work));
}

#[cfg(feature = "futures-executor")]
#[test]
fn of_a_local_pool() {
    let mut pool = LocalPool::new();
    passes_on_here(pool.spawner(), |work| pool.run_until(work));
    let spawner = Rc::new(pool.spawner());
    passes_on_here(spawner, |work| pool.run_until(work));
}

#[cfg(feature = "tokio")]
#[test]
fn of_a_local_set() {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().build().unwrap();
    let set = Rc::new(tokio::task::LocalSet::new());
    passes_on_here(Rc::clone(&set), |work| {
        tokio::task::LocalSet::block_on(&set, &runtime, work)
    });
}

#[cfg(feature = "smol")]
#[test]
fn of_smols_local_executor() {
    let executor = Rc::new(smol::LocalExecutor::new());
    passes_on_here(Rc::clone(&executor), |work| {
        smol::block_on(executor.run(work))
    });
}

#[cfg(feature = "async-std")]
#[test]
fn of_async_stds_local_tasks() {
    passes_on_here(shim::async_std::Local::default(), |work| {
        shim::async_std::block_on(work)
    });
}
