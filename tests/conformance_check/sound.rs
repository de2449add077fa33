//! Executors without faults.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use aiocontextvars::event_loop::{EventLoop, LoopHandle};
use aiocontextvars::shim::{Clock, ContextAwareExecutor, Executor, Job, Runnable};
use aiocontextvars_conformance::{Driven, Suite, check};
use futures::channel::oneshot;
use futures::future::{BoxFuture, FutureExt};

use crate::pool::Pool;

/// Two threads, and what is shared by all executors.
struct Plain(Pool);

impl Executor for Plain {
    fn schedule(&self, task: Runnable) {
        self.0.post(Box::new(|| task.run()));
    }
}

#[test]
fn a_pool_conforms() {
    let report = check(|| Plain(Pool::new(2)));
    assert!(report.is_ok() && report.failures().is_empty());
    assert!(report.passed() > 200, "{report}");
    let text = report.to_string();
    assert!(
        text.starts_with("conformance_check::sound::Plain conforms: "),
        "{text}"
    );
    assert!(text.contains("9 rows are left out"), "{text}");
}

#[test]
fn a_single_worker_conforms() {
    check(|| Plain(Pool::new(1)));
}

/// Runs each step where it is scheduled.
struct Inline;

impl Executor for Inline {
    fn schedule(&self, task: Runnable) {
        task.run();
    }
}

#[test]
fn an_executor_that_runs_steps_inline_conforms() {
    check(|| Inline);
}

/// A thread that completes sleeps.
#[derive(Default)]
struct Alarms {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    due: BTreeMap<Instant, Vec<oneshot::Sender<()>>>,
    ends: bool,
}

impl Alarms {
    fn start() -> Arc<Alarms> {
        let alarms = Arc::new(Alarms::default());
        let shared = Arc::clone(&alarms);
        thread::spawn(move || shared.run());
        alarms
    }

    fn run(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.ends {
            let now = Instant::now();
            let later = state.due.split_off(&now);
            let due = std::mem::replace(&mut state.due, later);
            if !due.is_empty() {
                drop(state);
                // Wakes tasks, which may come back here.
                due.into_values().flatten().for_each(|alarm| {
                    // Whoever slept may have gone.
                    let _ = alarm.send(());
                });
                state = self.state.lock().unwrap();
                continue;
            }
            state = match state.due.first_key_value() {
                Some((&at, _)) => {
                    let wait = at.saturating_duration_since(now);
                    self.changed.wait_timeout(state, wait).unwrap().0
                }
                None => self.changed.wait(state).unwrap(),
            };
        }
    }
}

struct OwnClock(Arc<Alarms>);

impl Clock for OwnClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.0.state.lock().unwrap();
        state.due.entry(at).or_default().push(sender);
        drop(state);
        self.0.changed.notify_one();
        receiver.map(drop).boxed()
    }
}

/// With a clock and blocking threads of its own, and handles that own nothing.
#[derive(Clone)]
struct Everything {
    workers: Pool,
    blocking: Pool,
    alarms: Arc<Alarms>,
}

impl Executor for Everything {
    fn schedule(&self, task: Runnable) {
        self.workers.post(Box::new(|| task.run()));
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(OwnClock(Arc::clone(&self.alarms)))
    }

    fn spawn_blocking(&self, job: Job) {
        self.blocking.post(Box::new(|| job.run()));
    }
}

#[test]
fn an_executor_with_everything_of_its_own_conforms() {
    let everything = Everything {
        workers: Pool::new(2),
        blocking: Pool::new(8),
        alarms: Alarms::start(),
    };
    let alarms = Arc::clone(&everything.alarms);
    // All rows on one executor, which none of them ends.
    check(move || everything.clone());
    alarms.state.lock().unwrap().ends = true;
    alarms.changed.notify_one();
}

/// Joins its threads at its end.
struct Joins {
    pool: Option<Pool>,
    threads: Arc<Mutex<Vec<thread::JoinHandle<()>>>>,
}

impl Joins {
    fn new() -> Joins {
        let threads = Arc::new(Mutex::new(Vec::new()));
        let started = Arc::clone(&threads);
        let pool = Pool::started_by(2, move |run| {
            started.lock().unwrap().push(thread::spawn(run));
        });
        Joins {
            pool: Some(pool),
            threads,
        }
    }
}

impl Executor for Joins {
    fn schedule(&self, task: Runnable) {
        self.pool.as_ref().unwrap().post(Box::new(|| task.run()));
    }
}

impl Drop for Joins {
    fn drop(&mut self) {
        self.pool = None;
        for thread in self.threads.lock().unwrap().drain(..) {
            // The last owner may be a worker.
            if thread.thread().id() != thread::current().id() {
                thread.join().unwrap();
            }
        }
    }
}

#[test]
fn an_executor_that_joins_its_threads_conforms() {
    check(Joins::new);
}

/// The crate's own loop, which its handle alone does not run.
struct Loop(EventLoop);

impl Driven for Loop {
    type Executor = LoopHandle;

    fn start() -> Self {
        Loop(EventLoop::new())
    }

    fn executor(&self) -> LoopHandle {
        self.0.handle()
    }

    fn block_on<F: Future>(&self, _: &ContextAwareExecutor<LoopHandle>, future: F) -> F::Output {
        self.0.run_until_complete(future)
    }
}

#[test]
fn the_event_loop_conforms_to_its_end() {
    let report = Suite::driven::<Loop>().ending().check();
    assert!(!report.to_string().contains("left out"), "{report}");
}

#[cfg(feature = "futures-executor")]
#[test]
fn futures_thread_pool_conforms() {
    use futures::executor::ThreadPool;
    check(|| ThreadPool::builder().pool_size(2).create().unwrap());
}

#[cfg(feature = "tokio")]
#[test]
fn tokio_conforms() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_time().build().unwrap();
    let handle = runtime.handle().clone();
    check(move || handle.clone());
}

#[cfg(feature = "smol")]
#[test]
fn smol_conforms_to_its_end() {
    Suite::new(smol::Executor::new).ending().check();
}
