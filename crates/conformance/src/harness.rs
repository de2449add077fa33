//! What a row needs of an executor.

use std::any::Any;
use std::future::Future;
use std::time::{Duration, Instant};

use aiocontextvars::shim::{
    self, CallHandle, ContextAwareExecutor, Executor, JoinHandle, Runner, TimerHandle,
};
use aiocontextvars::{Context, TaskContext};
use futures::future::{BoxFuture, LocalBoxFuture};

/// An executor under test, as a row uses it.
///
/// This is the general form, for a runtime with functions of its own that spawn and schedule. Each
/// default is the free function of [`shim`] with that name; a runtime's harness has its own
/// functions instead. An executor that is wrapped in a [`ContextAwareExecutor`] needs no harness:
/// see [`check`](crate::check) and [`Driven`](crate::Driven).
///
/// All rows but two spawn futures of one type, which hide what is in them; so the functions are
/// compiled for few types, and the rows once, whatever the executors.
///
/// The functions without `self` are called inside [`block_on`](Harness::block_on), in the
/// executor's tasks and in its callbacks. [`shim`]'s functions have to find the executor there.
///
/// # Examples
///
/// ```
/// use std::future::Future;
/// use aiocontextvars_conformance::{Harness, Suite};
/// use aiocontextvars::event_loop::{EventLoop, LoopHandle};
/// use aiocontextvars::shim::{ContextAwareExecutor, JoinHandle};
///
/// // A runtime that is built on the event loop, and spawns by a function of its own.
/// struct MyRuntime(EventLoop);
///
/// impl MyRuntime {
///     fn spawn<F>(future: F) -> JoinHandle<F::Output>
///     where
///         F: Future + Send + 'static,
///         F::Output: Send + 'static,
///     {
///         aiocontextvars::shim::spawn(future)
///     }
/// }
///
/// impl Harness for MyRuntime {
///     fn start() -> Self {
///         MyRuntime(EventLoop::new())
///     }
///
///     fn block_on<F: Future>(&self, future: F) -> F::Output {
///         self.0.run_until_complete(future)
///     }
///
///     fn spawn<F>(future: F) -> JoinHandle<F::Output>
///     where
///         F: Future + Send + 'static,
///         F::Output: Send + 'static,
///     {
///         MyRuntime::spawn(future)
///     }
/// }
///
/// let report = Suite::of::<MyRuntime>().only("ta_05").check();
/// assert_eq!(report.passed(), 1);
/// ```
pub trait Harness: Sized + 'static {
    /// How `block_on` in one of the executor's own tasks fares.
    const NESTED_BLOCK_ON: Nested = Nested::Either;

    /// Whether [`shim::spawn_local`] finds a local executor in the executor's tasks; `None` if that
    /// is not known.
    const HAS_LOCAL: Option<bool> = None;

    /// Whether what `spawn` and `call_soon` are given is polled, called and dropped on the thread
    /// that blocks.
    const STAYS: bool = false;

    /// A new executor, for one row.
    fn start() -> Self;

    /// Runs `future` in a copy of the current context, with the executor as the current one.
    fn block_on<F: Future>(&self, future: F) -> F::Output;

    /// Spawns a task in a copy of the current context.
    fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        shim::spawn(future)
    }

    /// Spawns a task in that context.
    fn spawn_in<C: TaskContext, F>(context: C, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        shim::spawn_in(context, future)
    }

    /// Schedules a callback in a copy of the current context. Reports of its panics name the
    /// caller.
    #[track_caller]
    fn call_soon(f: impl FnOnce() + Send + 'static) -> CallHandle {
        shim::call_soon(f)
    }

    /// Schedules a callback in that context.
    #[track_caller]
    fn call_soon_in<C: TaskContext>(context: C, f: impl FnOnce() + Send + 'static) -> CallHandle {
        shim::call_soon_in(context, f)
    }

    /// Schedules a timer's callback.
    #[track_caller]
    fn call_later(delay: Duration, f: impl FnOnce() + Send + 'static) -> TimerHandle {
        shim::call_later(delay, f)
    }

    /// Schedules a timer's callback by the clock of [`shim::now`].
    #[track_caller]
    fn call_at(when: Instant, f: impl FnOnce() + Send + 'static) -> TimerHandle {
        shim::call_at(when, f)
    }

    /// A runner on the executor.
    fn runner(self) -> Runner {
        Runner::from_block_on(move |future| self.block_on(future))
    }
}

/// A harness of what is wrapped in a [`ContextAwareExecutor`].
pub trait Wrapped: Harness {
    /// Spawns through the wrapper's `futures::task::Spawn` or `LocalSpawn`.
    fn spawn_obj(&self, future: BoxFuture<'static, ()>);

    /// Spawns on a wrapper that starts everything in a copy of `context`.
    fn spawn_fixed<F>(&self, context: Context, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;
}

/// A harness that other threads can submit work to.
pub trait FromOtherThreads: Harness {
    type Executor: Executor + Clone;

    fn wrapper(&self) -> ContextAwareExecutor<Self::Executor>;
}

// What spawns is compiled for each type of future that it is given. Where a row calls it directly,
// and not through its executor, the type is hidden here.

/// Hides the type of a future.
pub(crate) fn boxed<F: Future + Send + 'static>(future: F) -> BoxFuture<'static, F::Output> {
    Box::pin(future)
}

/// Hides the type of a future that stays.
pub(crate) fn boxed_here<'a, F: Future + 'a>(future: F) -> LocalBoxFuture<'a, F::Output> {
    Box::pin(future)
}

/// How `block_on` fares in a task of the same executor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Nested {
    /// It works.
    Works,
    /// It works, but not while it waits for another task: that one needs the thread that blocks.
    WorksAlone,
    /// It is an error at the call.
    Refused,
    /// One of these; which one is not checked.
    Either,
}

/// The text of a panic.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<&'static str>() {
        Some(message) => message,
        None => payload.downcast_ref::<String>().map_or("", String::as_str),
    }
}
