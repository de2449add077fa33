//! What the models of `aiocontextvars`' protocols between threads share.
//!
//! loom runs a model once for each order in which its threads may go, and each value that an atomic
//! may give. The library is built with loom's locks, atomics, threads and thread-locals
//! (`src/sync.rs`). What dependencies do inside, `async-task` above all, is one step to loom and
//! orders nothing, so a model that looks at what came through a task's handle counts with the
//! standard library's atomics.
//!
//! Where a model says what it fails for, these faults were put into the library to see it fail.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use aiocontextvars::shim::{ContextAwareExecutor, FromSchedule, Runnable};
use loom::sync::{Condvar, Mutex};

/// Runs a model in all its orders, but for those with more than two preemptions.
///
/// Two are what nearly all known races need; `LOOM_MAX_PREEMPTIONS` allows more.
pub fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// What only one thread at a time may touch. Two that do without an order between them fail the
/// model.
#[derive(Clone)]
pub struct Exclusive(Arc<Cell>);

struct Cell {
    touched: loom::cell::UnsafeCell<()>,
    times: AtomicUsize,
}

// SAFETY: nothing is ever read or written through the cell, which holds nothing; loom only notes
// who has it.
unsafe impl Sync for Cell {}

impl Exclusive {
    #[allow(clippy::new_without_default, reason = "only within a model")]
    pub fn new() -> Exclusive {
        Exclusive(Arc::new(Cell {
            touched: loom::cell::UnsafeCell::new(()),
            times: AtomicUsize::new(0),
        }))
    }

    pub fn touch(&self) {
        self.0.touched.with_mut(|_| ());
        self.0.times.fetch_add(1, Ordering::SeqCst);
    }

    /// How often it was touched.
    pub fn times(&self) -> usize {
        self.0.times.load(Ordering::SeqCst)
    }
}

/// Touches when it is dropped.
pub struct TouchedOnDrop(pub Exclusive);

impl Drop for TouchedOnDrop {
    fn drop(&mut self) {
        self.0.touch();
    }
}

/// Counts drops.
#[derive(Clone, Default)]
pub struct Drops(Arc<AtomicUsize>);

impl Drops {
    pub fn new() -> Drops {
        Drops::default()
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// A value whose drop is counted.
    pub fn value(&self) -> Counted {
        Counted(Arc::clone(&self.0))
    }
}

pub struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// An executor whose steps wait until a thread of the model runs them.
#[derive(Clone)]
pub struct Steps(Arc<Line>);

struct Line {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    steps: VecDeque<Runnable>,
    finished: bool,
}

impl Steps {
    #[allow(clippy::new_without_default, reason = "only within a model")]
    pub fn new() -> Steps {
        Steps(Arc::new(Line {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        }))
    }

    pub fn executor(&self) -> ContextAwareExecutor<FromSchedule> {
        let line = Arc::clone(&self.0);
        ContextAwareExecutor::from_schedule(move |step| line.add(step))
    }

    pub fn schedule(&self, step: Runnable) {
        self.0.add(step);
    }

    /// Runs steps until [`finish`](Self::finish) is called. A wake-up that is lost lets it wait for
    /// ever, which loom reports.
    pub fn run(&self) {
        while let Some(step) = self.0.next() {
            step.run();
        }
    }

    /// Another thread that [runs](Self::run) steps.
    pub fn worker(&self) -> loom::thread::JoinHandle<()> {
        let steps = self.clone();
        loom::thread::spawn(move || steps.run())
    }

    /// Runs the steps that wait now and those that they schedule.
    pub fn run_ready(&self) {
        loop {
            let step = self.0.state.lock().unwrap().steps.pop_front();
            let Some(step) = step else { return };
            step.run();
        }
    }

    /// Has the threads in [`run`](Self::run) return.
    pub fn finish(&self) {
        self.0.state.lock().unwrap().finished = true;
        self.0.changed.notify_all();
    }

    /// The executor ends: drops the steps that wait, and those that come from now on.
    pub fn end(&self) {
        self.finish();
        let steps = std::mem::take(&mut self.0.state.lock().unwrap().steps);
        drop(steps);
    }
}

impl Line {
    fn add(&self, step: Runnable) {
        let mut state = self.state.lock().unwrap();
        if state.finished {
            drop(state);
            drop(step);
            return;
        }
        state.steps.push_back(step);
        drop(state);
        self.changed.notify_one();
    }

    fn next(&self) -> Option<Runnable> {
        let mut state = self.state.lock().unwrap();
        loop {
            if state.finished {
                return None;
            }
            if let Some(step) = state.steps.pop_front() {
                return Some(step);
            }
            state = self.changed.wait(state).unwrap();
        }
    }
}

/// Is pending once, and has itself polled again.
pub async fn yield_once() {
    struct YieldOnce(bool);

    impl Future for YieldOnce {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }

    YieldOnce(false).await;
}
