//! Runs a program on this crate: Python's `Context` object is a [`SharedContext`] here.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use aiocontextvars::{
    AlreadyEntered, Context, ContextVar, ResetErrorKind, SharedContext, Token, copy_context, shim,
};

use crate::any_var::{AnyVar, on};
use crate::comparison::nth_back;
use crate::drops::{Counted, Drops};
use crate::program::{CONTEXTS, Operation, Place, Program};

/// What is seen, a line for each step, and in the end one for each frame and context that is left.
pub(crate) type Trace = Vec<String>;

/// Python's `None` is a value like any other. An `Arc`, so that a value is one object however often
/// it is read.
type Bound = Option<Arc<Value>>;

struct Value {
    number: i64,
    /// Defaults are not counted.
    _counted: Option<Counted>,
}

fn uncounted(number: i64) -> Bound {
    let value = Value {
        number,
        _counted: None,
    };
    Some(Arc::new(value))
}

struct Run {
    program: Program,
    variables: Vec<AnyVar<Bound>>,
    drops: Drops,
    progress: Mutex<Progress>,
    /// It is another actor's turn.
    turn: Condvar,
}

#[derive(Default)]
struct Progress {
    at: usize,
    /// How many actors have ended.
    ended: usize,
    contexts: [SharedContext; CONTEXTS],
    tokens: Vec<(usize, Slot)>,
    /// How many values were made that are counted.
    made: usize,
    trace: Trace,
}

/// A token works once. Python says so at run time, and here it is moved: that it was used has to be
/// noted to be said at all.
enum Slot {
    Unused(Token<Bound>),
    Used,
}

/// Where an actor is: how many frames in.
#[derive(Clone, Copy)]
struct At {
    actor: usize,
    depth: usize,
}

/// What a step panics with on purpose.
struct Failure;

/// Runs `program` to its end.
pub(crate) fn run(program: Program) -> Trace {
    let variables = (0..program.variables).map(variable).collect();
    let run = Run {
        program,
        variables,
        drops: Drops::new(),
        progress: Mutex::default(),
        turn: Condvar::new(),
    };
    thread::scope(|scope| {
        let run = &run;
        let actors: Vec<_> = (0..run.program.actors)
            .map(|actor| scope.spawn(move || run.act(actor)))
            .collect();
        // The end of the scope would not wait until the threads' own contexts are gone.
        for actor in actors {
            actor.join().expect("actors catch panics");
        }
    });
    run.finish();
    mem::take(&mut run.progress().trace)
}

fn variable(number: usize) -> AnyVar<Bound> {
    match number {
        2 => AnyVar::Defaulted(ContextVar::with_default("v2", || uncounted(-1))),
        3 => AnyVar::Defaulted(ContextVar::with_default("v3", || None)),
        _ => AnyVar::Plain(ContextVar::named(format!("v{number}"))),
    }
}

impl Run {
    fn act(&self, actor: usize) {
        let at = At { actor, depth: 0 };
        loop {
            match panic::catch_unwind(AssertUnwindSafe(|| self.frame(at))) {
                Ok(()) => break,
                Err(payload) if payload.is::<Failure>() => self.log(at, "caught"),
                Err(_) => {
                    // The others may wait for this actor. So this ends the program, and the trace
                    // tells.
                    self.log(at, "panicked");
                    self.progress().at = self.program.steps.len();
                }
            }
        }
        self.progress().ended += 1;
        self.turn.notify_all();
    }

    /// The actor's next step, when it is its turn; none in the end.
    fn next(&self, actor: usize) -> Option<&Operation> {
        let mut progress = self.progress();
        loop {
            let step = self.program.steps.get(progress.at);
            // In the end, one after the other leaves its frames.
            if step.map_or(progress.ended, |step| step.actor) == actor {
                return step.map(|step| &step.operation);
            }
            self.turn.notify_all();
            progress = self
                .turn
                .wait(progress)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends a step.
    fn log(&self, at: At, event: &str) {
        let At { actor, depth } = at;
        let mut progress = self.progress();
        progress.trace.push(format!("{actor}.{depth} {event}"));
        progress.at += 1;
    }

    fn frame(&self, at: At) {
        while let Some(operation) = self.next(at.actor) {
            match *operation {
                Operation::Enter { place, catches } => self.enter(at, place, catches),
                // Not `panic!`, whose hook would write a line for each.
                Operation::Raise {} => panic::resume_unwind(Box::new(Failure)),
                Operation::Leave {} if at.depth > 0 => return,
                Operation::Leave {} => self.log(at, "outside"),
                ref operation => self.log(at, &self.perform(operation)),
            }
        }
    }

    fn enter(&self, at: At, place: Place, catches: bool) {
        let run = || self.run_in(at, place);
        let outcome = if catches {
            panic::catch_unwind(AssertUnwindSafe(run))
        } else {
            Ok(run())
        };
        let event = match outcome {
            Ok(Ok(())) => "left",
            Ok(Err(AlreadyEntered { .. })) => {
                return self.log(at, "RuntimeError: already entered");
            }
            Err(payload) if payload.is::<Failure>() => "caught",
            Err(payload) => panic::resume_unwind(payload),
        };
        self.log(at, &format!("{event} {}", self.values()));
    }

    fn run_in(&self, at: At, place: Place) -> Result<(), AlreadyEntered> {
        let inside = || {
            let depth = at.depth + 1;
            let at = At { depth, ..at };
            self.log(at, &format!("entered {}", self.values()));
            self.frame(at);
        };
        match place {
            Place::Context(context) => self.context(context).run(inside)?,
            Place::CopyOf { from, into } => {
                let copy = self.context(from).copy();
                self.run_owned(copy, into, inside);
            }
            Place::CopyOfCurrent { into } => self.run_owned(copy_context(), into, inside),
            Place::Thread {} => thread::scope(|scope| rethrow(scope.spawn(inside).join())),
            Place::InheritingThread {} => {
                shim::thread::scope(|scope| rethrow(scope.spawn(inside).join()));
            }
        }
        Ok(())
    }

    fn run_owned(&self, mut context: Context, into: usize, inside: impl FnOnce()) {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| context.run(inside)));
        self.put(into, context.share());
        rethrow(outcome);
    }

    fn perform(&self, operation: &Operation) -> String {
        match *operation {
            Operation::Get { variable } => match &self.variables[variable] {
                AnyVar::Plain(variable) => match variable.try_get() {
                    Ok(value) => show(&value),
                    Err(_) => "LookupError".to_owned(),
                },
                AnyVar::Defaulted(variable) => show(&variable.get()),
            },
            Operation::GetOr { variable, fallback } => {
                let fallback = fallback.and_then(uncounted);
                show(&on!(&self.variables[variable], |var| var.get_or(fallback)))
            }
            Operation::Set { variable, value } => {
                let value = value.and_then(|value| self.value(value));
                let token = on!(&self.variables[variable], |var| var.set(value));
                self.progress().tokens.push((variable, Slot::Unused(token)));
                self.old(0)
            }
            Operation::Reset { back, variable } => self.reset(back, variable),
            Operation::Old { back } => self.old(back),
            Operation::DropTokens {} => {
                self.progress().tokens.clear();
                self.alive()
            }
            Operation::Look { context, variable } => {
                let (context, variable) = (self.context(context), &self.variables[variable]);
                let (value, is_set) =
                    on!(variable, |var| (context.get(var), context.contains(var)));
                let value = value.as_ref().map_or_else(|| "KeyError".to_owned(), show);
                format!("{value} {}", truth(is_set))
            }
            Operation::List { context } => {
                let context = self.context(context);
                bindings(context.len(), &context.copy())
            }
            Operation::ListCurrent {} => {
                let context = copy_context();
                bindings(context.len(), &context)
            }
            Operation::New { into } => {
                self.put(into, SharedContext::new());
                "new".to_owned()
            }
            Operation::Alias { from, into } => {
                self.put(into, self.context(from));
                "the same".to_owned()
            }
            Operation::Copy { from, into } => {
                self.put(into, self.context(from).copy().share());
                "copied".to_owned()
            }
            Operation::CopyCurrent { into } => {
                self.put(into, copy_context().share());
                "copied".to_owned()
            }
            Operation::Same { left, right } => {
                truth(self.context(left).ptr_eq(&self.context(right))).to_owned()
            }
            Operation::Enter { .. } | Operation::Leave {} | Operation::Raise {} => {
                unreachable!("frames do these")
            }
        }
    }

    fn reset(&self, back: usize, variable: Option<usize>) -> String {
        let Some((index, own, slot)) = self.take_token(back) else {
            return "no token".to_owned();
        };
        let Slot::Unused(token) = slot else {
            return "RuntimeError: used".to_owned();
        };
        let variable = variable.unwrap_or(own);
        let Err(error) = on!(&self.variables[variable], |var| var.reset(token)) else {
            return self.current(variable);
        };
        let kind = match error.kind() {
            ResetErrorKind::DifferentVar => "ValueError: different variable",
            ResetErrorKind::DifferentContext => "ValueError: different context",
            other => unreachable!("{other:?}"),
        };
        self.progress().tokens[index].1 = Slot::Unused(error.into_token());
        kind.to_owned()
    }

    /// A token out of its slot, which counts as used from now on.
    fn take_token(&self, back: usize) -> Option<(usize, usize, Slot)> {
        let mut progress = self.progress();
        let index = nth_back(&progress.tokens, back)?;
        let (variable, slot) = &mut progress.tokens[index];
        Some((index, *variable, mem::replace(slot, Slot::Used)))
    }

    fn old(&self, back: usize) -> String {
        let progress = self.progress();
        let Some(index) = nth_back(&progress.tokens, back) else {
            return "no token".to_owned();
        };
        match &progress.tokens[index].1 {
            Slot::Used => "used".to_owned(),
            Slot::Unused(token) => {
                let old = token.old_value();
                let old = old.map_or_else(|| "MISSING".to_owned(), show);
                format!("{} {old}", token.var_name())
            }
        }
    }

    /// The values of the first variables.
    fn values(&self) -> String {
        let values: Vec<_> = (0..4).map(|variable| self.current(variable)).collect();
        values.join(" ")
    }

    fn current(&self, variable: usize) -> String {
        let value = self.variables[variable].get();
        value
            .as_ref()
            .map_or_else(|| "LookupError".to_owned(), show)
    }

    /// A new value, whose lifetime is watched.
    fn value(&self, number: i64) -> Bound {
        self.progress().made += 1;
        let counted = Some(self.drops.value());
        Some(Arc::new(Value {
            number,
            _counted: counted,
        }))
    }

    fn alive(&self) -> String {
        format!("{} alive", self.progress().made - self.drops.count())
    }

    fn context(&self, number: usize) -> SharedContext {
        self.progress().contexts[number].clone()
    }

    fn put(&self, number: usize, context: SharedContext) {
        self.progress().contexts[number] = context;
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self) {
        let mut progress = self.progress();
        let contexts = mem::take(&mut progress.contexts);
        for context in &contexts {
            let line = bindings(context.len(), &context.copy());
            progress.trace.push(line);
        }
        progress.tokens.clear();
        drop(progress);
        let with_contexts = self.alive();
        drop(contexts);
        let without = self.alive();
        self.progress().trace.extend([with_contexts, without]);
    }
}

fn rethrow(outcome: thread::Result<()>) {
    outcome.unwrap_or_else(|payload| panic::resume_unwind(payload));
}

fn bindings(len: usize, context: &Context) -> String {
    let mut items: Vec<_> = context
        .iter()
        .map(|entry| {
            let value = entry.downcast_ref().expect("all have one type");
            format!("{}={}", entry.name(), show(value))
        })
        .collect();
    items.sort();
    items.insert(0, format!("{len}:"));
    items.join(" ")
}

fn show(value: &Bound) -> String {
    value
        .as_ref()
        .map_or_else(|| "None".to_owned(), |value| value.number.to_string())
}

fn truth(truth: bool) -> &'static str {
    if truth { "True" } else { "False" }
}
