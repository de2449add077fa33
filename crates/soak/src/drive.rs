//! How each runtime is started, driven and dropped.

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Instant;

use aiocontextvars::ContextExt;
use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, ContextAwareExecutor, Runnable};
use fastrand::Rng;

use crate::lock::lock;
use crate::play::Play;
use crate::round::{Local, Witness};
use crate::runtime::Runtime;
use crate::threads::check_outside;
use crate::truth::Truth;

/// Threads of the closure's executors that have not ended.
static WORKERS: AtomicUsize = AtomicUsize::new(0);

/// Whether the threads of all executors that were dropped have ended.
pub(crate) fn workers_have_ended() -> bool {
    WORKERS.load(Ordering::SeqCst) == 0
}

/// Works on this thread until `end`: on one runtime after another, or on the global one.
pub(crate) fn drive(runtime: Runtime, seed: u64, end: Instant) {
    let mut rng = Rng::with_seed(seed ^ (runtime as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut outside = Truth::NOTHING;
    if runtime.has_own_thread() {
        outside = Truth::new();
        outside.set();
    }
    while Instant::now() < end {
        play(runtime, &mut rng);
        let who = || format!("{}: the thread that drives it", runtime.name());
        outside.check(runtime, who, "after a round");
    }
}

fn play(runtime: Runtime, rng: &mut Rng) {
    match runtime {
        Runtime::EventLoop => {
            let event_loop = EventLoop::new();
            let play = Play::new(runtime, rng, Local::All, None);
            play.publish(Arc::new(event_loop.handle()));
            event_loop.run_until_complete(play.run());
            play.end(|| drop(event_loop));
        }
        Runtime::FromSchedule => from_schedule(runtime, rng),
        Runtime::ThreadPool | Runtime::LocalPool => pools::play(runtime, rng),
        Runtime::Tokio | Runtime::TokioCurrentThread | Runtime::TokioLocalSet => {
            tokio::play(runtime, rng);
        }
        Runtime::AsyncStd => {
            let witness: Witness = Box::new(|f| drop(async_std::task::spawn(async move { f() })));
            let play = Play::new(runtime, rng, Local::None, Some(witness)).until_it_is_idle();
            play.publish(Arc::new(shim::async_std::Global::default()));
            shim::async_std::block_on(play.run());
            play.end(|| ());
        }
        Runtime::Smol | Runtime::SmolExecutor | Runtime::SmolLocalExecutor => {
            smol::play(runtime, rng);
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
            // The lock ends with this function, so that the other thread works, too.
            let next = || lock(&receiver).recv();
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

    use futures::executor::{LocalPool, ThreadPool};

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

    use ::tokio::runtime::Builder;
    use ::tokio::task::LocalSet;

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

    use ::smol::{Executor, LocalExecutor};
    use futures::channel::oneshot;

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
