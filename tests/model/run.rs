//! Runs a program on the crate and on the reference model side by side, and compares them after
//! every step.

use std::any::Any;
use std::fmt::{self, Debug};
use std::io::{self, Write};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::slice;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aiocontextvars::shim::{BlockOnError, JoinHandle};
use aiocontextvars::{Context, Scoped, SharedContext, Token, copy_context};
use futures::future::BoxFuture;

use crate::any_var::{AnyVar, on};
use crate::program::{Action, Back, OWNED, Program, SHARED, Step, Var};
use crate::reference::{self, ContextId, Entry, Frame, Model, Values};
use crate::values::Value;

/// Runs a future on an executor of this thread.
pub(crate) type BlockOn = fn(BoxFuture<'_, ()>) -> Result<(), BlockOnError>;

/// A program under way. Whoever runs a part of it has it: threads, tasks and callbacks.
pub(crate) struct Run {
    state: Mutex<State>,
    alive: Arc<()>,
    block_on: BlockOn,
}

pub(crate) struct State {
    pub(crate) model: Model,
    pub(crate) owned: [(Context, ContextId); OWNED],
    pub(crate) shared: [(SharedContext, ContextId); SHARED],
    pub(crate) snapshots: Vec<(u32, Context, Values)>,
    pub(crate) tokens: Vec<(u32, Token<Value>, reference::Token)>,
    pub(crate) guards: Vec<(Scoped<'static, Value>, reference::Guard)>,
    pub(crate) works: Vec<(u32, Hand)>,
    /// The units of each executor that is running, the innermost last.
    pub(crate) executors: Vec<Units>,
    /// How many polls have reached their future.
    pub(crate) polls: usize,
    /// The last step that has begun, until the program is at its end.
    pub(crate) step: Option<u32>,
    /// Which step used what an earlier one had made.
    pub(crate) uses: Vec<(u32, u32)>,
    failure: Option<String>,
}

/// Work that is done by hand.
pub(crate) enum Hand {
    Future(BoxFuture<'static, ()>, Entry),
    Call(Box<dyn FnOnce() + Send>),
}

#[derive(Default)]
pub(crate) struct Units {
    pub(crate) tasks: Vec<Task>,
    pub(crate) alive: usize,
}

pub(crate) struct Task {
    pub(crate) handle: JoinHandle<()>,
    pub(crate) aborted: bool,
}

/// What a `Panic` step unwinds with: how many blocks more.
pub(crate) struct Planned(pub(crate) usize);

impl Planned {
    pub(crate) fn go_on(unwinding: Option<Planned>) {
        if let Some(planned) = unwinding {
            // Not `panic!`, whose hook would write a line for each.
            panic::resume_unwind(Box::new(planned));
        }
    }
}

/// Where the model has been entered, until it is dropped.
pub(crate) struct Inside<'a>(&'a Run);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.state().model.leave();
    }
}

/// How long a program may take: one that hangs must not hide.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `program` on a thread of its own. An error says what went wrong.
pub(crate) fn run(program: &Program, block_on: BlockOn) -> Result<(), String> {
    let alive = Arc::new(());
    let run = Arc::new(Run::new(block_on, Arc::clone(&alive)));
    let steps = program.steps.clone();
    let (done, wait) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let _done = done;
        run.check();
        for step in &steps {
            // Nothing is left to unwind out of.
            let _planned = run.attempt(|| run.steps(slice::from_ref(step)));
        }
        run.finish();
        run.report()
    });
    if wait.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
        // Not `eprintln`, whose text would be captured and die with the process.
        let _ = writeln!(io::stderr(), "not ended within {PATIENCE:?}:\n{program:?}");
        process::abort();
    }
    thread.join().map_err(|payload| message(&*payload))??;
    // The thread of a blocking job may not be done with it; all else has been waited for.
    let patience = if has_jobs(&program.steps) {
        PATIENCE
    } else {
        Duration::ZERO
    };
    let start = Instant::now();
    while Arc::strong_count(&alive) > 1 {
        if start.elapsed() > patience {
            let left = Arc::strong_count(&alive) - 1;
            return Err(format!(
                "in the end: {left} values or runs are never dropped"
            ));
        }
        thread::yield_now();
    }
    Ok(())
}

fn has_jobs(steps: &[Step]) -> bool {
    let mut steps = steps.iter();
    steps.any(|step| matches!(step.action, Action::SpawnBlocking) || has_jobs(&step.body))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    format!("a panic: {}", text.unwrap_or_default())
}

impl Run {
    fn new(block_on: BlockOn, alive: Arc<()>) -> Run {
        let mut model = Model::new();
        Run {
            alive,
            block_on,
            state: Mutex::new(State {
                owned: std::array::from_fn(|_| (Context::new(), model.new_context())),
                shared: std::array::from_fn(|_| (SharedContext::new(), model.new_context())),
                model,
                snapshots: Vec::new(),
                tokens: Vec::new(),
                guards: Vec::new(),
                works: Vec::new(),
                executors: Vec::new(),
                polls: 0,
                step: Some(0),
                uses: Vec::new(),
                failure: None,
            }),
        }
    }

    /// Not to be held while the program goes on, nor while values are dropped.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fail(&self, what: impl fmt::Display) {
        let mut state = self.state();
        let when = match state.step {
            Some(step) => format!("at step {step}"),
            None => "in the end".to_owned(),
        };
        state
            .failure
            .get_or_insert_with(|| format!("{when}: {what}"));
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.state().failure.is_some()
    }

    pub(crate) fn block_on(&self, future: BoxFuture<'_, ()>) -> Result<(), BlockOnError> {
        (self.block_on)(future)
    }

    fn report(&self) -> Result<(), String> {
        let state = self.state();
        let Some(failure) = &state.failure else {
            return Ok(());
        };
        let mut report = failure.clone();
        for (step, made_by) in &state.uses {
            report += &format!("\n(step {step} used what step {made_by} had made)");
        }
        Err(report)
    }

    pub(crate) fn expect<T: Debug + PartialEq>(&self, what: &str, seen: T, model: T) {
        if seen != model {
            self.fail(format_args!(
                "{what}: {seen:?}, but the model says {model:?}"
            ));
        }
    }

    /// Compares all that can be seen from here.
    pub(crate) fn check(&self) {
        if self.has_failed() {
            return;
        }
        let state = self.state();
        let values = state.model.values(state.model.current());
        let shared = state.shared.each_ref();
        let shared = shared.map(|(real, id)| {
            let entered = state.model.is_entered(*id);
            (real.clone(), state.model.values(*id), entered)
        });
        let step = state.step.unwrap_or(0) as usize;
        drop(state);
        for var in Var::ALL {
            let expected = values.get(&var).copied().or(var.default());
            let number = |value: Option<&Value>| value.map(|value| value.number);
            let seen = on!(var.real(), |var| var.with(number));
            if seen != expected {
                self.expect(&format!("{var:?}"), seen, expected);
            }
        }
        // The other ways to read clone the value, so each has its turn.
        let (var, number) = (Var::ALL[step % Var::ALL.len()], |value: Value| value.number);
        let (own, real) = (values.get(&var).copied(), var.real());
        let value = own.or(var.default());
        match step % 5 {
            0 => self.expect("get", real.get().map(number), value),
            1 => {
                // Where there is a default, there is no `try_get`.
                if let AnyVar::Plain(real) = real {
                    self.expect("try_get", real.try_get().ok().map(number), value);
                }
            }
            2 => {
                let fallback = self.value(u32::MAX);
                let seen = on!(real, |var| var.get_or(fallback));
                self.expect("get_or", number(seen), own.unwrap_or(u32::MAX));
            }
            _ => {}
        }
        self.check_context("the current context", &copy_context(), &values);
        for (real, values, entered) in &shared {
            let refused = real.run(|| ()).is_err();
            self.expect("is a shared context entered", refused, *entered);
            self.check_context("a shared context", &real.copy(), values);
            let var = Var::ALL[step % Var::ALL.len()];
            let seen = (real.len(), on!(var.real(), |var| real.contains(var)));
            let expected = (values.len(), values.contains_key(&var));
            self.expect("a shared context's length and contents", seen, expected);
        }
    }

    pub(crate) fn check_context(&self, what: &str, real: &Context, values: &Values) {
        let seen = |var: Var| {
            let value = on!(var.real(), |var| real.get(var));
            Some((var, value?.number))
        };
        let seen: Values = Var::ALL.into_iter().filter_map(seen).collect();
        self.expect(what, &seen, values);
        let lengths = (real.len(), real.iter().len(), real.iter().count());
        let len = values.len();
        self.expect(
            what,
            (lengths, real.is_empty()),
            ((len, len, len), len == 0),
        );
    }

    pub(crate) fn enter(&self, frame: Frame, context: ContextId) -> Inside<'_> {
        self.state().model.enter(frame, context);
        Inside(self)
    }

    pub(crate) fn steps(self: &Arc<Self>, steps: &[Step]) {
        for step in steps {
            if self.has_failed() {
                return;
            }
            self.state().step = Some(step.number);
            self.step(step);
            self.check();
        }
    }

    /// The body of a block, in a context that the crate has just entered.
    pub(crate) fn body(self: &Arc<Self>, step: &Step, frame: Frame, context: ContextId) {
        let _inside = self.enter(frame, context);
        self.check();
        self.steps(&step.body);
    }

    /// Calls `f`, and returns the panic that goes on from here, if any.
    pub(crate) fn attempt(&self, f: impl FnOnce()) -> Option<Planned> {
        let payload = panic::catch_unwind(AssertUnwindSafe(f)).err()?;
        match payload.downcast::<Planned>() {
            Ok(planned) => Some(Planned(planned.0.checked_sub(1)?)),
            Err(other) => {
                self.fail(message(&*other));
                None
            }
        }
    }

    /// Runs a block that a planned panic may unwind out of.
    pub(crate) fn block(&self, f: impl FnOnce()) {
        Planned::go_on(self.attempt(f));
    }

    pub(crate) fn value(&self, number: u32) -> Value {
        let alive = Arc::clone(&self.alive);
        Value { number, alive }
    }

    /// Drops what is left and checks what is kept.
    fn finish(self: &Arc<Self>) {
        self.state().step = None;
        let works = mem::take(&mut self.state().works);
        drop(works);
        while !self.state().guards.is_empty() {
            self.end_guard(Back::NEWEST, drop);
            self.check();
        }
        let (snapshots, tokens) = {
            let mut state = self.state();
            (
                mem::take(&mut state.snapshots),
                mem::take(&mut state.tokens),
            )
        };
        drop(tokens);
        for (made_by, context, values) in &snapshots {
            let what = format!("the snapshot of step {made_by}");
            self.check_context(&what, context, values);
        }
        for owned in 0..OWNED {
            let context = self.take_owned(owned);
            self.put_owned(owned, context);
        }
        self.check();
    }
}
