//! Spawning, callbacks and timers in which values follow the work, on any executor.
//!
//! Every unit of work (task, callback, timer, blocking job, thread) starts in a copy of the context
//! that scheduled it, taken at the call, and what it sets stays in that copy. The same on every
//! runtime:
//!
//! | | the runtimes' own functions | through the shim |
//! |---|---|---|
//! | context of a new task | none, or the thread's | copy of the scheduler's, at the call |
//! | dropping the [`JoinHandle`] | tokio, async-std: runs on; smol: cancels | runs on; `abort`, `abort_handle` and `detach` are explicit |
//! | the task panics | tokio: `Err`; smol, async-std: unwinds in the awaiter | `Err(JoinError)` |
//! | abort | sync, async, or by dropping | `abort()` starts it; awaiting the handle waits until the destructors have run, inside the task's context |
//! | blocking job | context lost; pool threads keep residue | copy of the caller's context; the worker keeps nothing |
//! | `block_on` in a task | panics or works | multi-thread tokio: works; smol, async-std: works while another of their threads is free, and may never return otherwise (smol has one thread unless `SMOL_THREADS` says more); elsewhere it panics at the call, [`try_block_on`] returns the error |
//! | callbacks | no such thing | FIFO, one at a time, each in its own copy; cancellable; a panic is reported and the next one runs |
//!
//! # Which executor
//!
//! The free functions go to, in this order: the executor of the innermost frame (a task or callback
//! of the shim, [`block_on`], [`ContextAwareExecutor::enter`]), the tokio runtime of this thread,
//! async-std's current task, in JavaScript its event loop, the one given to [`set_default`], and
//! the global executor of smol or async-std if its feature is the only one of `tokio`, `async-std`
//! and `smol` that is on. If there is none, they panic, and [`try_spawn`] returns [`NoRuntime`].
//! [`block_on`] then runs a runtime of tokio's if that feature is the only one, and the event loop
//! otherwise. So a program with one of them has its `main` in `shim::block_on`, and runs on another
//! runtime by another feature.
//!
//! In a frame that knows a local executor and no other, as in tasks on smol's `LocalExecutor`, all
//! work goes there, also what could go anywhere. A `LocalSet` and the part of async-std that
//! belongs to a thread know their runtime, and only the `_local` forms go to them.
//!
//! # Callbacks
//!
//! [`call_soon`] keeps asyncio's contract on every executor, multi-threaded ones included:
//! callbacks run in the order in which they were scheduled, never two at once, never inside the
//! call, and one scheduled by a callback has to wait for a later turn. A callback that blocks
//! delays the others: heavy work belongs in [`spawn`] or [`spawn_blocking`].
//!
//! [`JoinHandle::add_done_callback`] puts a callback into the line when a task has ended.
//!
//! # Groups and runs
//!
//! [`TaskGroup`] ties tasks together: the failure of one aborts the others, and the scope ends when
//! all have ended; [`JoinSet`] gives the results of tasks in the order in which they end.
//! [`Runner`] runs several futures in one context, one after another.
//!
//! # Bringing values back
//!
//! What a task sets is seen by its children only. To bring it back, a task returns its context, as
//! in `spawn(async { (work().await, copy_context()) })`, which
//! [`Context::apply`](crate::Context::apply) adopts. In a [`SharedContext`](crate::SharedContext)
//! several units of work see what each sets.
//!
#![doc = include_str!("../docs/sharing.md")]
//!
//! # Tasks that the shim did not spawn
//!
//! A task of tokio or async-std that the shim did not spawn has an *empty, read-only* context, on
//! every flavour of the runtime and whatever was called before: otherwise it would read another
//! task's values on its thread, and other tasks would read what it wrote there.
//!
//! - Reads give the default or `None`, [`copy_context`](crate::copy_context) is empty, and what
//!   such a task spawns through the shim inherits nothing.
//! - [`set`](crate::ContextVar::set), `unset`, `update` and `scoped` panic with a message that
//!   names the variable and what to write instead; the `try_` forms return an error. `reset`
//!   refuses the token.
//! - What enters a context of its own may write there: `VAR.scope(value, future)`,
//!   [`in_current_context`](crate::ContextExt::in_current_context),
//!   [`Context::run`](crate::Context::run), bound functions, an `HttpContextLayer` (features
//!   `tower` and `http-body`) or a `ContextLayer` (feature `tower`).
//!
//! tokio's blocking jobs are such tasks too. The future of tokio's `Runtime::block_on`, as that of
//! `#[tokio::main]`, is none: it has the context of its thread. So has that of each
//! `#[tokio::test]`, and with `--test-threads=1` all tests run on one thread. async-std's
//! `block_on` makes a task of its future.
//!
//! A runtime that is run inside of [`Context::run`](crate::Context::run), a callback, a job or a
//! future that has a context of its own runs its bare tasks there. It matters what the context is
//! around:
//!
//! | | bare tasks of the `LocalSet` |
//! |---|---|
//! | `local_set.run_until(f).in_current_context()` | read the values of the context, and cannot set any |
//! | `local_set.run_until(f.in_current_context())` | read nothing, and cannot set anything |
//!
//! In the poll of a task that the shim has spawned, the runtime is not asked, because that would
//! double the cost of a `set`: a `LocalSet` or a runtime that such a task runs, shuts down or drops
//! is part of it, destructors of bare tasks included.
//!
//! smol and JavaScript cannot be asked which task is running, nor can async-std about its blocking
//! jobs; `SECURITY.md` says what becomes of a write there.
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//! use aiocontextvars::{context_var, shim};
//!
//! context_var! { static REQUEST_ID: u64; }
//!
//! shim::block_on(async {
//!     REQUEST_ID.set(7);
//!     let task = shim::spawn(async { REQUEST_ID.get() });
//!     let digest = shim::spawn_blocking(|| REQUEST_ID.get());
//!     shim::call_later(Duration::from_millis(1), || assert_eq!(REQUEST_ID.get(), Some(7)));
//!     REQUEST_ID.set(8);
//!     assert_eq!(task.await.unwrap(), Some(7));
//!     assert_eq!(digest.await.unwrap(), Some(7));
//!     shim::sleep(Duration::from_millis(5)).await;
//! });
//! ```

mod adapters;
mod block;
mod call_handle;
mod callback;
mod clock;
mod context_aware;
mod destination;
mod dispatch;
mod done_callback;
mod enter;
#[doc(hidden)]
pub mod event_loop;
mod executor;
mod executor_ref;
mod facade;
mod inline;
mod job;
mod join;
mod join_error;
mod join_set;
mod join_task;
mod listed;
mod local;
mod onto_list;
mod outcome;
mod parker;
// By the target and not by the list: who runs work there does not matter, and the clock's moments
// are part of the API.
#[cfg_attr(
    all(feature = "wasm", target_family = "wasm", target_os = "unknown"),
    path = "../shims/browser.rs"
)]
mod platform;
mod queue;
mod remote_wakes;
mod runnable;
mod runnable_join;
mod runner;
pub(crate) mod runtime;
mod scheduling;
mod scope;
mod search;
mod spawning;
mod task;
mod task_group;
mod task_list;
pub mod thread;
mod thread_state;
mod time;

#[cfg(feature = "futures-executor")]
#[path = "../shims/futures_executor.rs"]
mod futures_executor;
#[cfg(feature = "http")]
#[path = "../shims/http.rs"]
mod http;
#[cfg(feature = "http-body")]
#[path = "../shims/http_body.rs"]
mod http_body;
#[cfg(feature = "hyper")]
#[path = "../shims/hyper.rs"]
mod hyper;
#[cfg(feature = "rayon")]
#[path = "../shims/rayon.rs"]
pub mod rayon;
#[cfg(feature = "tokio")]
#[path = "../shims/tokio_channel.rs"]
mod tokio_channel;
#[cfg(feature = "tokio")]
#[path = "../shims/tokio_io.rs"]
mod tokio_io;
#[cfg(feature = "tower")]
#[path = "../shims/tower.rs"]
pub mod tower;

macro_rules! modules {
    ($(
        $(#[$doc:meta])*
        $module:ident $Variant:ident $feature:literal $target:meta $probe:tt
    )*) => {
        $(
            #[cfg(all(feature = $feature, $target))]
            $(#[$doc])*
            pub mod $module {
                super::facade::functions!($module);
            }
        )*
    };
}

runtimes!(modules);

use std::future::Future;

pub use self::block::BlockOnError;
pub use self::call_handle::{CallHandle, TimerHandle};
pub use self::callback::{CallError, ExceptionHandler, set_exception_handler};
pub use self::clock::Clock;
pub use self::context_aware::{ContextAwareExecutor, FromSchedule};
pub use self::executor::{Executor, LocalExecutor};
pub use self::join::{AbortHandle, DoneCallbackId, JoinHandle, TaskId};
pub use self::join_error::JoinError;
pub use self::join_set::JoinSet;
pub use self::platform::Instant;
pub use self::remote_wakes::deliver_remote_wakes;
pub use self::runnable::{Job, LocalRunnable, Runnable};
pub use self::runner::Runner;
pub use self::scheduling::{
    call_at, call_at_in, call_later, call_later_in, call_soon, call_soon_in, call_soon_local,
};
pub use self::scope::EnterGuard;
pub use self::search::NoRuntime;
pub use self::spawning::{
    spawn, spawn_blocking, spawn_blocking_in, spawn_in, spawn_local, try_spawn,
};
pub use self::task_group::{TaskFailure, TaskGroup, TaskGroupError};
pub use self::time::{
    Elapsed, Sleep, Timeout, YieldNow, now, sleep, sleep_until, timeout, yield_now,
};

use self::destination::Destination;
use self::event_loop::EventLoop;
use self::task::TaskFuture;
use crate::current;
use crate::runtimes::runtimes;

/// Runs `future` to completion on the calling thread: on the current executor, or else on the
/// runtime of the one feature of `tokio`, `async-std` and `smol` that is on. With several of them
/// on, or none, a new event loop runs it.
///
/// It runs in a copy of the current context: what it sets stays inside, and a second call starts
/// afresh.
///
/// A task that blocks holds its thread: on smol and async-std nested calls never return where no
/// other thread of theirs is free to run what they wait for.
///
/// It is not for wakers, nor for destructors that a waker runs, or a spawn at a shutdown: the
/// thread may be executing its runtime's own code then. On a worker thread of tokio that may end the
/// process.
///
/// # The runtime of the one feature
///
/// So the same text of `main` runs on each runtime by its feature alone. smol's and async-std's are
/// their global executors. tokio's is a multi-thread runtime of the process, with all drivers that
/// tokio is compiled with; the first such call makes it, and it is never shut down. What is spawned
/// there runs on when `block_on` returns; the tasks and callbacks that are left on the event loop
/// are dropped then.
///
/// Two things are not the same everywhere: [`spawn_local`] needs an executor that is local to the
/// thread, which the event loop has and these runtimes have not; and the threads of a runtime are
/// not there in a forked child.
///
/// # Panics
///
/// Where [`try_block_on`] gives an error.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// assert_eq!(shim::block_on(async { 1 }), 1);
/// ```
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    match try_block_on(future) {
        Ok(output) => output,
        Err(error) => panic!("{error}"),
    }
}

/// As [`block_on`]: on the current executor, or else on the runtime of the one feature of `tokio`,
/// `async-std` and `smol` that is on, or else on a new event loop.
///
/// # Errors
///
/// If this thread may not block on the current executor: in a task of the event loop, of a
/// current-thread tokio runtime, of a `LocalSet`, or of a `futures` pool; and if tokio's runtime of
/// the process cannot be started. Nothing has been entered then, and the future has not been
/// polled.
///
/// Some runtimes refuse by a panic only, as tokio does in its `block_on`. That is caught, so that
/// the panic hook hears of it, and with `panic = "abort"` it ends the process.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// let nested = shim::block_on(async { shim::try_block_on(async { 1 }) });
/// assert!(nested.is_err() || nested == Ok(1));
/// ```
pub fn try_block_on<F: Future>(future: F) -> Result<F::Output, BlockOnError> {
    // A thread that is inside a local executor is asked there.
    let destination = search::local()
        .map(Destination::Local)
        .or_else(|_| search::destination());
    let destination = match destination {
        Ok(destination) => Some(destination),
        Err(NoRuntime { .. }) => search::of_the_process()?,
    };
    match destination {
        Some(Destination::Local(local)) => match local.upgrade() {
            Some(executor) => {
                let context = local.scope.new_context();
                let future = TaskFuture::to_block_on(context, local, future);
                block::run(|future| executor.hooks().block_on(future), future)
            }
            None => Err(BlockOnError::unsupported()),
        },
        Some(Destination::Executor(on)) => {
            let future = TaskFuture::to_block_on(on.new_context(), on.scope(), future);
            let executor = on.executor.to_value();
            block::run(|future| executor.hooks().block_on(future), future)
        }
        None => EventLoop::new().try_run_until_complete(future),
    }
}

/// A function that calls `f` in a copy of the current context, taken now, wherever it is called. It
/// takes no argument. See [`Context::bind`](crate::Context::bind).
///
/// # Examples
///
/// ```
/// use aiocontextvars::{context_var, shim};
///
/// context_var! { static LEVEL: u8; }
///
/// LEVEL.set(1);
/// let read = shim::bind(|| LEVEL.get());
/// assert_eq!(std::thread::spawn(read).join().unwrap(), Some(1));
/// ```
pub fn bind<R>(f: impl FnOnce() -> R) -> impl FnOnce() -> R {
    current::inherit().bind(f)
}

/// A function that makes all calls of `f` in one copy of the current context, taken now. See
/// [`Context::bind_mut`](crate::Context::bind_mut).
///
/// # Examples
///
/// ```
/// use aiocontextvars::{context_var, shim};
///
/// context_var! { static COUNT: u32 = 0; }
///
/// let mut next = shim::bind_mut(|()| { COUNT.set(COUNT.get() + 1); COUNT.get() });
/// assert_eq!((next(()), next(())), (1, 2));
/// ```
pub fn bind_mut<A, R>(f: impl FnMut(A) -> R) -> impl FnMut(A) -> R {
    current::inherit().bind_mut(f)
}

/// A function that makes each call of `f` in its own copy of the current context, taken now. It is
/// not `Clone`, even if `f` is: put it in an `Arc`. See
/// [`Context::bind_fn`](crate::Context::bind_fn).
///
/// # Examples
///
/// ```
/// use aiocontextvars::{context_var, shim};
///
/// context_var! { static COUNT: u32 = 0; }
///
/// let next = shim::bind_fn(|()| { COUNT.set(COUNT.get() + 1); COUNT.get() });
/// assert_eq!((next(()), next(())), (1, 1));
/// ```
pub fn bind_fn<A, R>(f: impl Fn(A) -> R) -> impl Fn(A) -> R {
    current::inherit().bind_fn(f)
}

/// Sets the executor that the free functions go to when nothing nearer is found. A second call
/// replaces the first.
///
/// For the `main` of a program; a library leaves the choice to its user.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "futures-executor")] {
/// use aiocontextvars::shim::{self, ContextAwareExecutor};
/// use futures::executor::ThreadPool;
///
/// shim::set_default(ContextAwareExecutor::new(ThreadPool::new().unwrap()));
/// let (sender, receiver) = std::sync::mpsc::channel();
/// shim::spawn(async move { sender.send(1) }).detach();
/// assert_eq!(receiver.recv().unwrap(), 1);
/// # }
/// ```
pub fn set_default(executor: ContextAwareExecutor<impl Executor>) {
    drop(search::set_default(executor.on_executor()));
}
