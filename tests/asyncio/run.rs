//! Runs a program on the executor of the caller, by the shim's free functions.

use std::mem;
use std::panic;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aiocontextvars::shim::{self, CallError};
use aiocontextvars::{Context, ContextVar, SharedContext, TaskContext, Token};
use futures::channel::oneshot;

use crate::any_var::{AnyVar, on};
use crate::comparison::nth_back;
use crate::program::{Callback, Operation, Place, Program, SHARED, VARIABLES, When};

/// What is seen, a line each.
pub(crate) type Trace = Vec<String>;

/// The clock of an executor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Time {
    Virtual,
    /// No two runs would agree on it, so it does not run programs that have delays.
    Real,
}

/// Tokio's clock knows whole milliseconds.
const TICK: Duration = Duration::from_millis(1);

static VARS: [AnyVar<i64>; VARIABLES] = [
    AnyVar::Plain(ContextVar::new("A")),
    AnyVar::Plain(ContextVar::new("B")),
    AnyVar::Plain(ContextVar::new("C")),
    AnyVar::Defaulted(ContextVar::with_default("D", || -1)),
];

/// A run under way. Every callback that waits or runs has it, and so has a panic until it is
/// reported: the last of them ends the run.
struct Run {
    time: Time,
    start: Instant,
    shared: [SharedContext; SHARED],
    progress: Mutex<Progress>,
    done: Option<oneshot::Sender<Trace>>,
}

#[derive(Default)]
struct Progress {
    trace: Trace,
    cancels: Vec<(usize, Box<dyn Fn() + Send>)>,
    tokens: Vec<(usize, Token<i64>)>,
}

/// What a callback panics with.
struct Failure {
    run: Arc<Run>,
    callback: usize,
}

/// Runs `program` to its end: no callback is left.
pub(crate) async fn run(program: Program, time: Time) -> Trace {
    let (done, trace) = oneshot::channel();
    let run = Arc::new(Run {
        time,
        start: shim::now(),
        shared: Default::default(),
        progress: Mutex::default(),
        done: Some(done),
    });
    shim::call_soon_in(Context::new(), move || run.call(program.root));
    trace.await.expect("a run ends with its trace")
}

/// Handles the panics of all runs.
pub(crate) fn handle(error: &CallError) {
    let failure = error.payload().downcast_ref::<Failure>();
    // If it is another panic, this one makes the shim report it.
    let Failure { run, callback } = failure.expect("callbacks panic on purpose only");
    run.log(*callback, &format!("failed {}", values()));
}

impl Run {
    fn call(self: Arc<Run>, callback: Callback) {
        let id = callback.id;
        self.log(id, &format!("begins {}", values()));
        for operation in callback.operations {
            match operation {
                Operation::Get { variable } => {
                    let value = show(VARS[variable].get());
                    self.log(id, &format!("get {variable}: {value}"));
                }
                Operation::Set { variable, value } => {
                    let token = on!(&VARS[variable], |var| var.set(value.into()));
                    self.progress().tokens.push((variable, token));
                }
                Operation::Reset { back } => self.reset(id, back),
                Operation::Read { shared, variable } => {
                    let shared_context = &self.shared[shared];
                    let value = show(on!(&VARS[variable], |var| shared_context.get(var)));
                    self.log(id, &format!("read {shared} {variable}: {value}"));
                }
                Operation::Schedule {
                    when,
                    place,
                    callback,
                } => self.schedule(when, place, callback),
                Operation::Cancel { back } => self.cancel(id, back),
                // Not `panic!`, whose hook would write a line for each.
                Operation::Fail {} => panic::resume_unwind(Box::new(Failure {
                    run: self,
                    callback: id,
                })),
            }
        }
    }

    fn reset(&self, id: usize, back: usize) {
        let mut progress = self.progress();
        let Some(at) = nth_back(&progress.tokens, back) else {
            return;
        };
        let (variable, token) = progress.tokens.remove(at);
        let var = &VARS[variable];
        let seen = match on!(var, |var| var.reset(token)) {
            Ok(()) => show(var.get()),
            Err(error) => {
                let token = error.into_token();
                progress.tokens.insert(at, (variable, token));
                "refused".to_owned()
            }
        };
        drop(progress);
        self.log(id, &format!("reset: {seen}"));
    }

    fn schedule(self: &Arc<Run>, when: When, place: Place, callback: Callback) {
        let (id, run) = (callback.id, Arc::clone(self));
        let f = move || run.call(callback);
        let cancel = match place {
            Place::Inherited => schedule(when, f),
            Place::New => schedule_in(Context::new(), when, f),
            Place::Shared(shared) => schedule_in(&self.shared[shared], when, f),
            Place::Copied(shared) => schedule_in(self.shared[shared].copy(), when, f),
        };
        self.progress().cancels.push((id, cancel));
    }

    fn cancel(&self, id: usize, back: usize) {
        let progress = self.progress();
        let Some(at) = nth_back(&progress.cancels, back) else {
            return;
        };
        let callback = progress.cancels[at].0;
        // What is dropped with the closure cannot be the last of the run: its caller has the run.
        progress.cancels[at].1();
        drop(progress);
        self.log(id, &format!("cancel #{callback}"));
    }

    fn log(&self, id: usize, event: &str) {
        let ticks = match self.time {
            Time::Virtual => (shim::now() - self.start).as_nanos() / TICK.as_nanos(),
            Time::Real => 0,
        };
        let line = format!("t={ticks} #{id} {event}");
        self.progress().trace.push(line);
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let trace = mem::take(&mut self.progress().trace);
        if let Some(done) = self.done.take() {
            // Fails if the test has failed and does not wait.
            let _ = done.send(trace);
        }
    }
}

/// Schedules `f` in the context that the shim captures, and returns what cancels it.
fn schedule(when: When, f: impl FnOnce() + Send + 'static) -> Box<dyn Fn() + Send> {
    match when {
        When::Soon => {
            let handle = shim::call_soon(f);
            Box::new(move || handle.cancel())
        }
        When::Later(ticks) => {
            let handle = shim::call_later(TICK * ticks, f);
            Box::new(move || handle.cancel())
        }
        When::At(ticks) => {
            let handle = shim::call_at(moment(ticks), f);
            Box::new(move || handle.cancel())
        }
    }
}

/// As [`schedule`], in `context`.
fn schedule_in<C: TaskContext>(
    context: C,
    when: When,
    f: impl FnOnce() + Send + 'static,
) -> Box<dyn Fn() + Send> {
    match when {
        When::Soon => {
            let handle = shim::call_soon_in(context, f);
            Box::new(move || handle.cancel())
        }
        When::Later(ticks) => {
            let handle = shim::call_later_in(context, TICK * ticks, f);
            Box::new(move || handle.cancel())
        }
        When::At(ticks) => {
            let handle = shim::call_at_in(context, moment(ticks), f);
            Box::new(move || handle.cancel())
        }
    }
}

fn moment(ticks: i32) -> Instant {
    let distance = TICK * ticks.unsigned_abs();
    if ticks < 0 {
        shim::now() - distance
    } else {
        shim::now() + distance
    }
}

fn values() -> String {
    VARS.each_ref().map(|var| show(var.get())).join(" ")
}

fn show(value: Option<i64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
