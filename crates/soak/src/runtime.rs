//! The runtimes, and how each is started, driven and dropped.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{ContextAwareExecutor, Runnable};
use fastrand::Rng;

use crate::play::Play;
use crate::round::Local;
use crate::threads::check_outside;
use crate::truth::Truth;

/// One of the runtimes that are compiled in. The number is its row in the ledger.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Runtime {
    EventLoop,
    FromSchedule,
    ThreadPool,
    LocalPool,
    Tokio,
    TokioCurrentThread,
    TokioLocalSet,
    AsyncStd,
    Smol,
    SmolExecutor,
    SmolLocalExecutor,
}

/// Threads of the closure's executors that have not ended.
static WORKERS: AtomicUsize = AtomicUsize::new(0);

/// Whether the threads of all executors that were dropped have ended.
pub(crate) fn workers_have_ended() -> bool {
    WORKERS.load(Ordering::SeqCst) == 0
}

impl Runtime {
    pub(crate) const ALL: &[Runtime] = &[
        Runtime::EventLoop,
        Runtime::FromSchedule,
        Runtime::ThreadPool,
        Runtime::LocalPool,
        Runtime::Tokio,
        Runtime::TokioCurrentThread,
        Runtime::TokioLocalSet,
        Runtime::AsyncStd,
        Runtime::Smol,
        Runtime::SmolExecutor,
        Runtime::SmolLocalExecutor,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Runtime::EventLoop => "event-loop",
            Runtime::FromSchedule => "from-schedule",
            Runtime::ThreadPool => "futures-thread-pool",
            Runtime::LocalPool => "futures-local-pool",
            Runtime::Tokio => "tokio",
            Runtime::TokioCurrentThread => "tokio-current-thread",
            Runtime::TokioLocalSet => "tokio-local-set",
            Runtime::AsyncStd => "async-std",
            Runtime::Smol => "smol",
            Runtime::SmolExecutor => "smol-executor",
            Runtime::SmolLocalExecutor => "smol-local-executor",
        }
    }

    /// tokio and async-std tell which task is running.
    pub(crate) fn refuses_foreign_writes(self) -> bool {
        self.name().starts_with("tokio") || self.name() == "async-std"
    }

    /// The jobs of a local executor are out of its reach, on another thread.
    pub(crate) fn is_found_by_jobs(self) -> bool {
        !matches!(self.name(), "futures-local-pool" | "smol-local-executor")
    }

    /// Whether the thread that drives it runs nobody else's tasks, and may have a context of its
    /// own.
    fn has_own_thread(self) -> bool {
        self.name().starts_with("futures")
            || matches!(self, Runtime::EventLoop | Runtime::FromSchedule)
    }

    /// Works on this thread until `end`: on one runtime after another, or on the global one.
    pub(crate) fn drive(self, seed: u64, end: Instant) {
        let mut rng = Rng::with_seed(seed ^ (self as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut outside = Truth::NOTHING;
        if self.has_own_thread() {
            outside = Truth::new();
            outside.set();
        }
        while Instant::now() < end {
            self.play(&mut rng);
            let who = || format!("{}: the thread that drives it", self.name());
            outside.check(self, who, "after a round");
        }
    }

    fn play(self, rng: &mut Rng) {
        match self {
            Runtime::EventLoop => {
                let event_loop = EventLoop::new();
                let play = Play::new(self, rng, Local::All, None);
                play.publish(Arc::new(event_loop.handle()));
                event_loop.run_until_complete(play.run());
                play.end(|| drop(event_loop));
            }
            Runtime::FromSchedule => from_schedule(self, rng),
            Runtime::ThreadPool | Runtime::LocalPool => pools::play(self, rng),
            Runtime::Tokio | Runtime::TokioCurrentThread | Runtime::TokioLocalSet => {
                tokio::play(self, rng);
            }
            Runtime::AsyncStd => {
                use aiocontextvars::shim;

                use crate::round::Witness;

                let witness: Witness =
                    Box::new(|f| drop(async_std::task::spawn(async move { f() })));
                let play = Play::new(self, rng, Local::None, Some(witness)).until_it_is_idle();
                play.publish(Arc::new(shim::async_std::Global::default()));
                shim::async_std::block_on(play.run());
                play.end(|| ());
            }
            Runtime::Smol | Runtime::SmolExecutor | Runtime::SmolLocalExecutor => {
                smol::play(self, rng);
            }
        }
    }
}

/// Two threads that run what a closure sends them.
fn from_schedule(runtime: Runtime, rng: &mut Rng) {
    struct Worker;

    impl Drop for Worker {
        fn drop(&mut self) {
            WORKERS.fetch_sub(1, Ordering::SeqCst);
        }
    }

    let (sender, receiver) = mpsc::channel::<Runnable>();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..2 {
        let receiver = Arc::clone(&receiver);
        WORKERS.fetch_add(1, Ordering::SeqCst);
        let worker = Worker;
        thread::spawn(move || {
            let _worker = worker;
            let next = || {
                receiver
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .recv()
            };
            while let Ok(runnable) = next() {
                runnable.run();
                check_outside(runtime, "after a step");
            }
        });
    }
    let executor = ContextAwareExecutor::from_schedule(move |runnable| {
        // Whoever is left when the threads are gone is cancelled.
        drop(sender.send(runnable));
    });
    let play = Play::new(runtime, rng, Local::None, None).until_it_is_idle();
    play.publish(Arc::new(executor.get_ref().clone()));
    executor.block_on(play.run());
    play.end(|| drop(executor));
}

mod pools {
    use super::*;

    use aiocontextvars::ContextExt;
    use futures::executor::{LocalPool, ThreadPool};

    use crate::round::Witness;

    pub(super) fn play(this: Runtime, rng: &mut Rng) {
        if this == Runtime::ThreadPool {
            let pool = ThreadPool::builder().pool_size(2).create();
            let pool = pool.expect("threads can be started");
            let spawner = pool.clone();
            let witness: Witness = Box::new(move |f| spawner.spawn_ok(async move { f() }));
            let play = Play::new(this, rng, Local::None, Some(witness)).until_it_is_idle();
            play.publish(Arc::new(pool.clone()));
            let executor = ContextAwareExecutor::new(pool);
            executor.block_on(play.run());
            play.end(|| drop(executor));
        } else {
            let mut pool = LocalPool::new();
            let executor = ContextAwareExecutor::new(pool.spawner());
            let play = Play::new(this, rng, Local::All, None);
            {
                let _entered = executor.enter_local();
                pool.run_until(play.run().in_current_context());
            }
            play.end(|| drop((pool, executor)));
        }
    }
}

mod tokio {
    use super::*;

    use std::rc::Rc;

    use ::tokio::runtime::Builder;
    use ::tokio::task::LocalSet;
    use aiocontextvars::ContextExt;

    use crate::round::Witness;

    pub(super) fn play(this: Runtime, rng: &mut Rng) {
        let mut builder = match this {
            Runtime::Tokio => Builder::new_multi_thread(),
            _ => Builder::new_current_thread(),
        };
        let runtime = builder
            .worker_threads(2)
            .enable_time()
            .on_thread_park(move || check_outside(this, "that parks"))
            .on_thread_unpark(move || check_outside(this, "that goes on"))
            .build()
            .expect("a runtime can be started");
        let handle = runtime.handle().clone();
        let witness: Witness = Box::new(move |f| drop(handle.spawn(async move { f() })));
        let local = match this {
            Runtime::TokioLocalSet => Local::Own,
            _ => Local::None,
        };
        let play = Play::new(this, rng, local, Some(witness));
        match this {
            Runtime::Tokio => {
                play.publish(Arc::new(runtime.handle().clone()));
                ContextAwareExecutor::new(runtime.handle().clone()).block_on(play.run());
                play.end(|| drop(runtime));
            }
            Runtime::TokioCurrentThread => {
                play.publish(Arc::new(runtime.handle().clone()));
                runtime.block_on(play.run().in_current_context());
                play.end(|| drop(runtime));
            }
            _ => {
                // Tasks of others would be told that there is a local executor.
                let set = Rc::new(LocalSet::new());
                let executor = ContextAwareExecutor::new(Rc::clone(&set));
                {
                    let _entered = executor.enter_local();
                    set.block_on(&runtime, play.run().in_current_context());
                }
                play.end(|| drop((executor, set, runtime)));
            }
        }
    }
}

mod smol {
    use super::*;

    use std::rc::Rc;

    use ::smol::{Executor, LocalExecutor};
    use aiocontextvars::shim;
    use futures::channel::oneshot;

    use crate::round::Witness;

    // smol's executors are not dropped in the middle of work: a task that another thread, such as
    // that of the timers, is waking just then is handed to the queue of an executor that is gone,
    // where it stays.
    pub(super) fn play(this: Runtime, rng: &mut Rng) {
        match this {
            Runtime::Smol => {
                let witness: Witness = Box::new(|f| ::smol::spawn(async move { f() }).detach());
                let play = Play::new(this, rng, Local::None, Some(witness)).until_it_is_idle();
                play.publish(Arc::new(shim::smol::Global::default()));
                shim::smol::block_on(play.run());
                play.end(|| ());
            }
            Runtime::SmolExecutor => {
                let executor = Arc::new(Executor::new());
                let weak = Arc::downgrade(&executor);
                let witness: Witness = Box::new(move |f| {
                    if let Some(executor) = weak.upgrade() {
                        executor.spawn(async move { f() }).detach();
                    }
                });
                let play = Play::new(this, rng, Local::None, Some(witness)).until_it_is_idle();
                play.publish(Arc::clone(&executor) as Arc<dyn shim::Executor>);
                // A second thread runs it, too.
                let (stop, stopped) = oneshot::channel::<()>();
                let second = Arc::clone(&executor);
                let second = thread::spawn(move || {
                    let _stopped = ::smol::block_on(second.run(stopped));
                    check_outside(this, "after a run");
                });
                let aware = ContextAwareExecutor::new(executor);
                aware.block_on(play.run());
                drop(stop);
                second.join().expect("running an executor does not panic");
                play.end(|| drop(aware));
            }
            _ => {
                let executor = ContextAwareExecutor::new(Rc::new(LocalExecutor::new()));
                let play = Play::new(this, rng, Local::All, None).until_it_is_idle();
                executor.block_on_local(play.run());
                play.end(|| drop(executor));
            }
        }
    }
}
