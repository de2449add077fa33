//! A runtime whose own way to spawn has a fault.

use std::future::Future;
use std::pin::Pin;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll};

use aiocontextvars::shim::{self, ContextAwareExecutor, FromSchedule, JoinHandle};
use aiocontextvars::{Context, ContextExt, SharedContext, copy_context};
use aiocontextvars_conformance::{Harness, Suite};
use futures::future::BoxFuture;

use crate::expect;

/// How the runtime spawns. The rows would be compiled for each of several runtimes.
#[derive(Clone, Copy)]
enum Spawns {
    Soundly,
    /// Captures the context at the first poll.
    Lazily,
    /// Drops the future wherever that happens.
    DropsOutside,
    /// In a copy of what the worker has, and not of the spawner's.
    WithResidue,
}

static SPAWNS: Mutex<Spawns> = Mutex::new(Spawns::Soundly);

/// Has the runtime spawn like that until dropped.
fn spawning(how: Spawns) -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    *SPAWNS.lock().unwrap() = how;
    alone
}

struct Runtime(ContextAwareExecutor<FromSchedule>);

impl Harness for Runtime {
    fn start() -> Self {
        Runtime(crate::threads::threads(2))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn(Box::pin(future))
    }
}

fn spawn<T: Send + 'static>(future: BoxFuture<'static, T>) -> JoinHandle<T> {
    let context = match *SPAWNS.lock().unwrap() {
        Spawns::Soundly => return shim::spawn(future),
        Spawns::Lazily => {
            let late = async { future.in_current_context().await };
            return shim::spawn_in(Context::new(), late);
        }
        Spawns::DropsOutside => copy_context(),
        Spawns::WithResidue => {
            static WORKER: LazyLock<SharedContext> = LazyLock::new(SharedContext::new);
            WORKER.copy()
        }
    };
    shim::spawn_in(Context::new(), PollsInside { context, future })
}

/// Polls in a context, and is dropped outside of it.
struct PollsInside<T> {
    context: Context,
    future: BoxFuture<'static, T>,
}

impl<T> Future for PollsInside<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<T> {
        let Self { context, future } = self.get_mut();
        context.run(|| future.as_mut().poll(cx))
    }
}

#[test]
fn without_a_fault() {
    let _spawns = spawning(Spawns::Soundly);
    let report = Suite::of::<Runtime>().check();
    assert!(report.passed() > 200, "{report}");
}

#[test]
fn captured_at_the_first_poll() {
    let _spawns = spawning(Spawns::Lazily);
    let suite = Suite::of::<Runtime>();
    expect(&suite, &["ta_01", "ta_05"], &["cs_01", "th_03"]);
}

#[test]
fn dropped_outside_of_the_context() {
    let _spawns = spawning(Spawns::DropsOutside);
    let suite = Suite::of::<Runtime>();
    let fail = &["ta_12", "exit_a_task_aborted_while_pending"];
    expect(&suite, fail, &["ta_01", "ta_05", "th_03"]);
}

#[test]
fn residue_on_the_worker() {
    let _spawns = spawning(Spawns::WithResidue);
    let suite = Suite::of::<Runtime>();
    expect(&suite, &["ta_01", "ta_05"], &["cs_01", "th_03"]);
}
