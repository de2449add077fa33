//! The same programs of callbacks on CPython's asyncio and on the executors here: order and values
//! agree.
//!
//! Programs are random trees of callbacks that set, read, reset, schedule, cancel and panic, on a
//! virtual clock ([`program`]). One `python3` runs them all on asyncio ([`oracle`], `oracle.py`);
//! each test runs them on an executor ([`run`]) and compares the traces.
//!
//! `ASYNCIO_PROGRAMS` says how many programs there are, 500 by default, and `ASYNCIO_SEED` the seed
//! of the first, 1; the others count up from it. Without a `python3` the tests say so and pass,
//! unless `REQUIRE_PYTHON` is set.

#[path = "../common/any_var.rs"]
mod any_var;
#[path = "../common/comparison.rs"]
mod comparison;
mod oracle;
mod program;
mod run;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{Clock, ContextAwareExecutor, Executor, Runnable};
use futures::executor::ThreadPool;
use futures::future::BoxFuture;

use crate::oracle::agrees;
use crate::run::Time;

/// An executor that hands its steps to `schedule`, with a virtual clock.
struct Steps<F> {
    schedule: F,
    clock: VirtualClock,
}

impl<F: Fn(Runnable) + Send + Sync + 'static> Executor for Steps<F> {
    fn schedule(&self, task: Runnable) {
        (self.schedule)(task);
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }
}

/// Time that jumps.
#[derive(Clone)]
struct VirtualClock(Arc<Mutex<Instant>>);

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        // Only when polled: the queue asks for a sleep, unpolled, when it is given its first timer,
        // and polls one when nothing else is left to run.
        Box::pin(async move {
            let mut now = clock.0.lock().unwrap_or_else(PoisonError::into_inner);
            *now = at.max(*now);
        })
    }
}

fn steps_agree(executor: &str, schedule: impl Fn(Runnable) + Send + Sync + 'static) {
    let steps = ContextAwareExecutor::new(Arc::new(Steps {
        schedule,
        clock: VirtualClock(Arc::new(Mutex::new(Instant::now()))),
    }));
    agrees(executor, Time::Virtual, |run| steps.block_on(run));
}

#[test]
fn event_loop_agrees_with_asyncio() {
    agrees("event loop", Time::Virtual, |run| {
        EventLoop::with_virtual_clock().run_until_complete(run)
    });
}

#[test]
fn inline_steps_agree_with_asyncio() {
    steps_agree("inline steps", |step| step.run());
}

#[test]
fn steps_on_a_thread_pool_agree_with_asyncio() {
    let pool = ThreadPool::builder().pool_size(2).create().unwrap();
    steps_agree("steps on a thread pool", move |step| {
        pool.spawn_ok(async move { step.run() });
    });
}

#[cfg(feature = "async-std")]
#[test]
fn async_std_agrees_with_asyncio() {
    let executor = aiocontextvars::shim::async_std::executor();
    agrees("async-std", Time::Real, |run| executor.block_on(run));
}

#[cfg(feature = "smol")]
mod smol {
    use super::*;
    use aiocontextvars::shim;

    #[test]
    fn smol_agrees_with_asyncio() {
        let executor = shim::smol::executor();
        agrees("smol", Time::Real, |run| executor.block_on(run));
    }

    #[test]
    fn smol_executor_on_two_threads_agrees_with_asyncio() {
        let executor = Arc::new(::smol::Executor::new());
        let (stop, stopped) = ::smol::channel::bounded::<()>(1);
        std::thread::scope(|scope| {
            let _stop = stop;
            for _ in 0..2 {
                scope.spawn(|| ::smol::block_on(executor.run(stopped.recv())));
            }
            let executor = ContextAwareExecutor::new(Arc::clone(&executor));
            agrees("smol::Executor", Time::Real, |run| executor.block_on(run));
        });
    }

    #[test]
    fn steps_on_smol_agree_with_asyncio() {
        steps_agree("steps on smol", |step| {
            ::smol::spawn(async move { step.run() }).detach();
        });
    }
}

#[cfg(feature = "tokio")]
mod tokio {
    use super::*;
    use ::tokio::runtime::{Builder, Runtime};

    fn multi_thread() -> Runtime {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2).build().unwrap()
    }

    #[test]
    fn tokio_current_thread_agrees_with_asyncio() {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(true);
        agrees("tokio, paused", Time::Virtual, |run| {
            builder.build().unwrap().block_on(run)
        });
    }

    #[test]
    fn tokio_multi_thread_agrees_with_asyncio() {
        let runtime = multi_thread();
        let executor = ContextAwareExecutor::new(runtime.handle().clone());
        agrees("tokio", Time::Real, |run| executor.block_on(run));
    }

    #[test]
    fn steps_on_tokio_agree_with_asyncio() {
        let runtime = multi_thread();
        let handle = runtime.handle().clone();
        steps_agree("steps on tokio", move |step| {
            drop(handle.spawn(async move { step.run() }));
        });
    }
}
