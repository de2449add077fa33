//! Many tasks that wait, with ten variables each and without, and the memory that each takes.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Waker};
use std::time::Instant;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::{Context, ContextVar, shim};

use crate::lock::lock;
use crate::memory::live_bytes;
use crate::report::{complain, mebibytes, print};

/// So many tasks are spawned by one request.
const SIBLINGS: usize = 1_000;

/// What a runtime may keep of its own until the end of the process.
const SLACK: usize = 256 << 10;

static VARIABLES: [ContextVar<Number>; 10] = [
    ContextVar::new("0"),
    ContextVar::new("1"),
    ContextVar::new("2"),
    ContextVar::new("3"),
    ContextVar::new("4"),
    ContextVar::new("5"),
    ContextVar::new("6"),
    ContextVar::new("7"),
    ContextVar::new("8"),
    ContextVar::new("9"),
];

/// A value that is counted.
struct Number(usize);

static NUMBERS: AtomicUsize = AtomicUsize::new(0);

impl Number {
    fn new(number: usize) -> Number {
        NUMBERS.fetch_add(1, Ordering::Relaxed);
        Number(number)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        NUMBERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The context of the requests' tasks.
fn context(request: usize) -> Context {
    (0..)
        .zip(&VARIABLES)
        .fold(Context::new(), |context, (place, var)| {
            context.with_value(var, Number::new(request * VARIABLES.len() + place))
        })
}

/// Whether each variable has the value that it has for the tasks of `request`.
fn is_right(request: Option<usize>) -> bool {
    let first = request.map(|request| request * VARIABLES.len());
    (0..).zip(&VARIABLES).all(|(place, var)| {
        let seen = var.with(|seen| seen.map(|number| number.0));
        seen == first.map(|first| first + place)
    })
}

/// What all tasks wait for.
struct Gate {
    is_open: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
    passed: AtomicUsize,
    wrong: AtomicU64,
}

impl Gate {
    fn new(tasks: usize) -> Gate {
        Gate {
            is_open: AtomicBool::new(false),
            waiting: Mutex::new(Vec::with_capacity(tasks)),
            passed: AtomicUsize::new(0),
            wrong: AtomicU64::new(0),
        }
    }

    fn waiting(&self) -> usize {
        lock(&self.waiting).len()
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// A task: it waits at the gate, and looks at its variables when that opens.
struct Waits {
    gate: Arc<Gate>,
    request: Option<usize>,
}

impl Future for Waits {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        if !self.gate.is_open.load(Ordering::Acquire) {
            lock(&self.gate.waiting).push(cx.waker().clone());
            return Poll::Pending;
        }
        if !is_right(self.request) {
            self.gate.wrong.fetch_add(1, Ordering::Relaxed);
        }
        self.gate.passed.fetch_add(1, Ordering::Release);
        Poll::Ready(())
    }
}

/// Spawns the tasks, those of a request in its context.
fn spawn_all(gate: &Arc<Gate>, tasks: usize, with_variables: bool, mut spawn: impl FnMut(Waits)) {
    for start in (0..tasks).step_by(SIBLINGS) {
        let request = with_variables.then_some(start / SIBLINGS);
        let mut spawn_some = || {
            for _ in start..tasks.min(start + SIBLINGS) {
                let gate = Arc::clone(gate);
                spawn(Waits { gate, request });
            }
        };
        match request {
            Some(request) => context(request).run(spawn_some),
            None => spawn_some(),
        }
    }
}

/// Lets others run until `is_done`.
async fn wait_until(is_done: impl Fn() -> bool) {
    while !is_done() {
        shim::yield_now().await;
    }
}

/// Parks `tasks` tasks on each runtime. Whether all saw their values and nothing is left.
pub(crate) fn run(tasks: usize) -> io::Result<bool> {
    print(format_args!(
        "{tasks} tasks, parked; with variables, {SIBLINGS} share the values of a request"
    ))?;
    print(format_args!(
        "{:<40} {:>12} {:>14} {:>10} {:>8} {:>12}",
        "", "memory", "bytes per task", "wrong", "seconds", "left"
    ))?;
    let mut all = true;
    all &= row("tokio::spawn", tasks, |gate| {
        tokio::run(gate, tasks, false, |task| drop(::tokio::spawn(task)))
    })?;
    for with_variables in [false, true] {
        let name = name("tokio, shim::spawn", with_variables);
        all &= row(&name, tasks, |gate| {
            tokio::run(gate, tasks, with_variables, |task| {
                shim::spawn(task).detach()
            })
        })?;
    }
    all &= row("async_task::spawn, for comparison", tasks, |gate| {
        bare_steps(gate, tasks)
    })?;
    for with_variables in [false, true] {
        let name = name("event loop, shim::spawn", with_variables);
        all &= row(&name, tasks, |gate| event_loop(gate, tasks, with_variables))?;
    }
    Ok(all)
}

fn name(how: &str, with_variables: bool) -> String {
    format!(
        "{how}, {}",
        if with_variables {
            "10 variables"
        } else {
            "no variables"
        }
    )
}

/// One row: `run` parks the tasks, tells how much memory is in use then, and releases them.
fn row(name: &str, tasks: usize, run: impl FnOnce(&Arc<Gate>) -> usize) -> io::Result<bool> {
    let before = live_bytes();
    let start = Instant::now();
    let gate = Arc::new(Gate::new(tasks));
    let empty = live_bytes();
    let full = run(&gate);
    let (passed, wrong) = (
        gate.passed.load(Ordering::Acquire),
        gate.wrong.load(Ordering::Relaxed),
    );
    drop(gate);
    let seconds = start.elapsed().as_secs_f64();
    let memory = full.saturating_sub(empty);
    let left = live_bytes().saturating_sub(before);
    print(format_args!(
        "{name:<40} {:>12} {:>14.1} {wrong:>10} {seconds:>8.2} {:>12}",
        mebibytes(memory),
        memory as f64 / tasks as f64,
        mebibytes(left)
    ))?;
    let mut is_clean = true;
    let mut fault = |text: String| {
        is_clean = false;
        complain(&format!("{name}: {text}"));
    };
    if passed != tasks {
        fault(format!("{passed} tasks of {tasks} came to their end"));
    }
    if wrong > 0 {
        fault(format!("{wrong} tasks saw values that were not theirs"));
    }
    let numbers = NUMBERS.load(Ordering::Relaxed);
    if numbers > 0 {
        fault(format!("{numbers} values have not been dropped"));
    }
    if left > SLACK {
        fault(format!("{} have not been freed", mebibytes(left)));
    }
    Ok(is_clean)
}

mod tokio {
    use super::*;

    use ::tokio::runtime::Builder;

    pub(super) fn run(
        gate: &Arc<Gate>,
        tasks: usize,
        with_variables: bool,
        spawn: impl FnMut(Waits),
    ) -> usize {
        let runtime = Builder::new_multi_thread().enable_time().build();
        let runtime = runtime.expect("a runtime can be started");
        runtime.block_on(async {
            spawn_all(gate, tasks, with_variables, spawn);
            wait_until(|| gate.waiting() == tasks).await;
            let full = live_bytes();
            gate.open();
            wait_until(|| gate.passed.load(Ordering::Acquire) == tasks).await;
            full
        })
    }
}

fn event_loop(gate: &Arc<Gate>, tasks: usize, with_variables: bool) -> usize {
    EventLoop::new().run_until_complete(async {
        spawn_all(gate, tasks, with_variables, |task| {
            shim::spawn(task).detach()
        });
        wait_until(|| gate.waiting() == tasks).await;
        let full = live_bytes();
        gate.open();
        wait_until(|| gate.passed.load(Ordering::Acquire) == tasks).await;
        full
    })
}

/// What the tasks of the event loop are made of, with nothing around.
fn bare_steps(gate: &Arc<Gate>, tasks: usize) -> usize {
    thread_local! {
        static READY: Rc<RefCell<Vec<async_task::Runnable>>> = Rc::default();
    }

    let run_all = || {
        let ready = READY.with(|ready| ready.take());
        for runnable in ready {
            runnable.run();
        }
    };
    spawn_all(gate, tasks, false, |task| {
        let schedule = |runnable| READY.with(|ready| ready.borrow_mut().push(runnable));
        let (runnable, task) = async_task::spawn(task, schedule);
        runnable.schedule();
        task.detach();
    });
    run_all();
    let full = live_bytes();
    gate.open();
    run_all();
    full
}
