//! What a row needs of an executor, and how a row is run.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::io::{self, Write};
use std::panic;
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use aiocontextvars::shim::{
    self, CallHandle, ContextAwareExecutor, Executor, JoinHandle, LocalExecutor, Runner,
    TimerHandle,
};
use aiocontextvars::{Context, TaskContext};
use futures::future::{BoxFuture, LocalBoxFuture};
use futures::task::{LocalSpawnExt, SpawnExt};

use super::Row;

/// An executor under test, as a row uses it.
///
/// The functions without `self` are called inside [`block_on`](Harness::block_on), in the executor's tasks and
/// in its callbacks.
pub trait Harness: 'static {
    /// How `block_on` in one of the executor's own tasks fares.
    const NESTED_BLOCK_ON: Nested;

    /// Whether `shim::spawn_local` finds a local executor in the executor's tasks.
    const HAS_LOCAL: bool;

    /// Whether what `spawn` and `call_soon` are given stays on the thread.
    const STAYS: bool;

    fn start() -> Self;

    /// Runs `future` in a copy of the current context, with the executor as the current one.
    fn block_on<F: Future>(&self, future: F) -> F::Output;

    fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    fn spawn_in<C: TaskContext, F>(context: C, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    #[track_caller]
    fn call_soon(f: impl FnOnce() + Send + 'static) -> CallHandle;

    #[track_caller]
    fn call_soon_in<C: TaskContext>(context: C, f: impl FnOnce() + Send + 'static) -> CallHandle;

    #[track_caller]
    fn call_later(delay: Duration, f: impl FnOnce() + Send + 'static) -> TimerHandle;

    #[track_caller]
    fn call_at(when: Instant, f: impl FnOnce() + Send + 'static) -> TimerHandle;

    /// A runner on the executor.
    fn runner(self) -> Runner
    where
        Self: Sized,
    {
        Runner::from_block_on(move |future| self.block_on(future))
    }

    /// Spawns through the wrapper's `futures::task::Spawn` or `LocalSpawn`.
    fn spawn_obj(&self, future: BoxFuture<'static, ()>);

    /// Spawns on a wrapper that starts everything in a copy of `context`.
    fn spawn_fixed<F>(&self, context: Context, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;
}

// The suite has thousands of futures, and each runtime's machinery is compiled for each type of them. So what
// they are is hidden here, which makes the difference between seconds and minutes.

pub fn boxed<F: Future + Send + 'static>(future: F) -> BoxFuture<'static, F::Output> {
    Box::pin(future)
}

pub fn boxed_here<'a, F: Future + 'a>(future: F) -> LocalBoxFuture<'a, F::Output> {
    Box::pin(future)
}

/// How `block_on` fares in a task of the same executor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Nested {
    Works,
    /// Works, but not while it waits for another task: that one needs the thread that blocks.
    WorksAlone,
    Refused,
}

/// An executor that other threads can submit work to.
pub trait Remote: 'static {
    const NESTED_BLOCK_ON: Nested;

    const HAS_LOCAL: bool = false;

    type Executor: Executor + Clone;

    fn start() -> Self;

    fn wrapper(&self) -> ContextAwareExecutor<Self::Executor>;

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.wrapper().block_on(future)
    }
}

/// The harness of a [`Remote`] executor: the free functions of the shim find it.
#[derive(Debug)]
pub struct Anywhere<R>(pub(crate) R);

impl<R: Remote> Harness for Anywhere<R> {
    const NESTED_BLOCK_ON: Nested = R::NESTED_BLOCK_ON;

    const HAS_LOCAL: bool = R::HAS_LOCAL;

    const STAYS: bool = false;

    fn start() -> Self {
        Anywhere(R::start())
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(boxed_here(future))
    }

    fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        shim::spawn(boxed(future))
    }

    fn spawn_in<C: TaskContext, F>(context: C, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        shim::spawn_in(context, boxed(future))
    }

    #[track_caller]
    fn call_soon(f: impl FnOnce() + Send + 'static) -> CallHandle {
        shim::call_soon(f)
    }

    #[track_caller]
    fn call_soon_in<C: TaskContext>(context: C, f: impl FnOnce() + Send + 'static) -> CallHandle {
        shim::call_soon_in(context, f)
    }

    #[track_caller]
    fn call_later(delay: Duration, f: impl FnOnce() + Send + 'static) -> TimerHandle {
        shim::call_later(delay, f)
    }

    #[track_caller]
    fn call_at(when: Instant, f: impl FnOnce() + Send + 'static) -> TimerHandle {
        shim::call_at(when, f)
    }

    fn spawn_obj(&self, future: BoxFuture<'static, ()>) {
        SpawnExt::spawn(&self.0.wrapper(), future).unwrap();
    }

    fn spawn_fixed<F>(&self, context: Context, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        ContextAwareExecutor::fixed(self.0.wrapper().into_inner(), context).spawn(boxed(future))
    }
}

/// A harness that other threads can submit work to.
pub trait FromOtherThreads: Harness {
    type Remote: Remote;

    fn remote(&self) -> &Self::Remote;
}

impl<R: Remote> FromOtherThreads for Anywhere<R> {
    type Remote = R;

    fn remote(&self) -> &R {
        &self.0
    }
}

/// An executor of one thread.
pub trait Local: 'static {
    const NESTED_BLOCK_ON: Nested;

    type Executor: LocalExecutor + Clone;

    fn start() -> Self;

    fn wrapper(&self) -> ContextAwareExecutor<Self::Executor>;

    fn block_on<F: Future>(&self, future: F) -> F::Output;
}

/// The harness of a [`Local`] executor: its tasks and callbacks need not be `Send`, and stay on the thread.
#[derive(Debug)]
pub struct OneThread<L>(L);

thread_local! {
    /// The wrapper of the executor that this thread runs.
    static CURRENT: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

impl<L: Local> OneThread<L> {
    fn current() -> ContextAwareExecutor<L::Executor> {
        CURRENT.with_borrow(|current| {
            let current = current.as_ref().expect("the executor is running");
            current
                .downcast_ref::<ContextAwareExecutor<L::Executor>>()
                .expect("a thread runs one executor")
                .clone()
        })
    }
}

impl<L: Local> Harness for OneThread<L> {
    const NESTED_BLOCK_ON: Nested = L::NESTED_BLOCK_ON;

    const HAS_LOCAL: bool = true;

    const STAYS: bool = true;

    fn start() -> Self {
        OneThread(L::start())
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let outer = CURRENT.replace(Some(Box::new(self.0.wrapper())));
        let output = self.0.block_on(boxed_here(future));
        CURRENT.set(outer);
        output
    }

    fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        shim::spawn_local(boxed(future))
    }

    fn spawn_in<C: TaskContext, F>(context: C, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Self::current().spawn_local_in(context, boxed(future))
    }

    #[track_caller]
    fn call_soon(f: impl FnOnce() + Send + 'static) -> CallHandle {
        shim::call_soon_local(f)
    }

    #[track_caller]
    fn call_soon_in<C: TaskContext>(context: C, f: impl FnOnce() + Send + 'static) -> CallHandle {
        Self::current().call_soon_local_in(context, f)
    }

    #[track_caller]
    fn call_later(delay: Duration, f: impl FnOnce() + Send + 'static) -> TimerHandle {
        Self::current().call_later_local(delay, f)
    }

    #[track_caller]
    fn call_at(when: Instant, f: impl FnOnce() + Send + 'static) -> TimerHandle {
        Self::current().call_at_local(when, f)
    }

    fn spawn_obj(&self, future: BoxFuture<'static, ()>) {
        LocalSpawnExt::spawn_local(&self.0.wrapper(), future).unwrap();
    }

    fn spawn_fixed<F>(&self, context: Context, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        ContextAwareExecutor::fixed(self.0.wrapper().into_inner(), context)
            .spawn_local(boxed(future))
    }
}

/// How long a row may take before the whole test run is ended: a row that hangs must not hide.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs the row of that name on a thread of its own, whose context nobody has written to, and ends the process if it
/// hangs.
pub fn run(name: &str, rows: &[Row]) {
    let row = rows.iter().find(|row| row.name == name);
    let row = row.expect("there is such a row").run;
    let (done, wait) = mpsc::channel::<()>();
    let row = thread::spawn(move || {
        row();
        drop(done);
    });
    if wait.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
        // Not `eprintln`, whose text would be captured and die with the process.
        let _ = writeln!(io::stderr(), "{name} did not end within {LIMIT:?}");
        process::abort();
    }
    if let Err(payload) = row.join() {
        panic::resume_unwind(payload);
    }
}

/// The text of a panic.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<&'static str>() {
        Some(message) => message,
        None => payload.downcast_ref::<String>().map_or("", String::as_str),
    }
}
