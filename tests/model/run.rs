//! Runs a program on the crate and on the reference model side by side, and compares them after every step.

use std::any::Any;
use std::fmt::{self, Debug};
use std::io::{self, Write};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::slice;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aiocontextvars::shim::{BlockOnError, JoinHandle};
use aiocontextvars::{
    Context, ContextVar, Scoped, SharedContext, Token, context_var, copy_context,
};
use futures::future::BoxFuture;

use crate::program::{Action, Back, OWNED, Place, Program, SHARED, Step, Var};
use crate::reference::{self, ContextId, Entry, Frame, Model, Values};
use crate::units::Work;

/// A value whose life is counted, and whose clones and drops use the crate.
pub(crate) struct Value {
    number: u32,
    alive: Arc<()>,
}

impl Clone for Value {
    fn clone(&self) -> Value {
        use_the_crate();
        Value {
            number: self.number,
            alive: Arc::clone(&self.alive),
        }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        use_the_crate();
    }
}

/// Leaves everything as it was.
fn use_the_crate() {
    context_var! { static USED: (); }
    // In the end, the thread's own context cannot be written to.
    if let Ok(token) = USED.try_set(()) {
        assert!(USED.reset(token).is_ok());
    }
}

static VARS: LazyLock<[ContextVar<Value>; Var::ALL.len()]> = LazyLock::new(|| {
    let default = || Value {
        number: Var::DEFAULT,
        alive: Arc::default(),
    };
    [
        ContextVar::new("A"),
        ContextVar::with_default("B", default),
        ContextVar::new("L").local(),
        ContextVar::with_default("M", default).local(),
        ContextVar::named("N".to_owned()),
        ContextVar::new("C"),
    ]
});

impl Var {
    pub(crate) fn real(self) -> &'static ContextVar<Value> {
        &VARS[self as usize]
    }
}

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
    owned: [(Context, ContextId); OWNED],
    shared: [(SharedContext, ContextId); SHARED],
    snapshots: Vec<(u32, Context, Values)>,
    tokens: Vec<(u32, Token<Value>, reference::Token)>,
    guards: Vec<(Scoped<'static, Value>, reference::Guard)>,
    pub(crate) works: Vec<(u32, Hand)>,
    /// The units of each executor that is running, the innermost last.
    pub(crate) executors: Vec<Units>,
    /// How many polls have reached their future.
    pub(crate) polls: usize,
    /// Which step used what an earlier one had made.
    uses: Vec<(u32, u32)>,
    failure: Option<String>,
}

/// Work that is done by hand.
pub(crate) enum Hand {
    Future(BoxFuture<'static, ()>, Entry),
    Call(Box<dyn FnOnce() + Send>),
}

#[derive(Default)]
pub(crate) struct Units {
    pub(crate) tasks: Vec<JoinHandle<()>>,
    pub(crate) alive: usize,
}

/// A context for a unit of work.
pub(crate) enum Given {
    Inherited,
    Owned(Context),
    Shared(SharedContext),
}

/// What a `Panic` step unwinds with: how many blocks more.
pub(crate) struct Planned(usize);

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
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `program` on a thread of its own. An error says what went wrong.
pub(crate) fn run(program: &Program, block_on: BlockOn) -> Result<(), String> {
    let alive = Arc::new(());
    let run = Arc::new(Run::new(block_on, Arc::clone(&alive)));
    let steps = program.steps.clone();
    let (done, wait) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let _done = done;
        run.check(0);
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
    // A blocking job's thread may not be done with it.
    let start = Instant::now();
    while Arc::strong_count(&alive) > 1 {
        if start.elapsed() > PATIENCE {
            let left = Arc::strong_count(&alive) - 1;
            return Err(format!("{left} values or runs are never dropped"));
        }
        thread::yield_now();
    }
    Ok(())
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
                uses: Vec::new(),
                failure: None,
            }),
        }
    }

    /// Not to be held while the program goes on, nor while values are dropped.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fail(&self, number: u32, what: impl fmt::Display) {
        let failure = &mut self.state().failure;
        failure.get_or_insert_with(|| format!("after step {number}: {what}"));
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.state().failure.is_some()
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

    pub(crate) fn expect<T: Debug + PartialEq>(&self, number: u32, what: &str, seen: T, model: T) {
        if seen != model {
            self.fail(
                number,
                format_args!("{what}: {seen:?}, but the model says {model:?}"),
            );
        }
    }

    /// Compares all that can be seen from here.
    pub(crate) fn check(&self, number: u32) {
        if self.has_failed() {
            return;
        }
        let state = self.state();
        let values = state.model.values(state.model.current());
        let shared = state.shared.each_ref();
        let shared = shared.map(|(real, id)| (real.clone(), state.model.values(*id)));
        drop(state);
        for var in Var::ALL {
            let expected = values.get(&var).copied().or(var.default());
            let seen = var.real().with(|value| value.map(|value| value.number));
            if seen != expected {
                self.expect(number, &format!("{var:?}"), seen, expected);
            }
        }
        self.check_context(number, "the current context", &copy_context(), &values);
        for (real, values) in &shared {
            self.check_context(number, "a shared context", &real.copy(), values);
            for var in Var::ALL {
                let seen = (real.len(), real.contains(var.real()));
                let expected = (values.len(), values.contains_key(&var));
                self.expect(
                    number,
                    "a shared context's length and contents",
                    seen,
                    expected,
                );
            }
        }
    }

    pub(crate) fn check_context(&self, number: u32, what: &str, real: &Context, values: &Values) {
        let seen = |var| Some((var, real.get(Var::real(var))?.number));
        let seen: Values = Var::ALL.into_iter().filter_map(seen).collect();
        self.expect(number, what, &seen, values);
        let lengths = (real.len(), real.iter().len(), real.iter().count());
        let len = values.len();
        self.expect(
            number,
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
            self.step(step);
            self.check(step.number);
        }
    }

    /// The body of a block, in a context that the crate has just entered.
    pub(crate) fn body(self: &Arc<Self>, step: &Step, frame: Frame, context: ContextId) {
        let _inside = self.enter(frame, context);
        self.check(step.number);
        self.steps(&step.body);
    }

    /// Calls `f`, and returns the panic that goes on from here, if any.
    pub(crate) fn attempt(&self, f: impl FnOnce()) -> Option<Planned> {
        let payload = panic::catch_unwind(AssertUnwindSafe(f)).err()?;
        match payload.downcast::<Planned>() {
            Ok(planned) => Some(Planned(planned.0.checked_sub(1)?)),
            Err(other) => {
                self.fail(u32::MAX, message(&*other));
                None
            }
        }
    }

    /// Runs a block that a planned panic may unwind out of.
    pub(crate) fn block(&self, f: impl FnOnce()) {
        Planned::go_on(self.attempt(f));
    }

    fn step(self: &Arc<Self>, step: &Step) {
        let number = step.number;
        match step.action {
            Action::Set(var) => {
                let token = var.real().set(self.value(number));
                self.written(var, number, Some(number), token);
            }
            Action::TrySet(var) => match var.real().try_set(self.value(number)) {
                Ok(token) => self.written(var, number, Some(number), token),
                Err(error) => self.fail(number, error),
            },
            Action::Unset(var) => {
                let token = var.real().unset();
                self.written(var, number, None, token);
            }
            Action::Reset(back, other) => self.reset(number, back, other),
            Action::DropToken(back) => {
                let token = back.take_from(&mut self.state().tokens);
                drop(token);
            }
            Action::Scoped(var) => {
                let guard = var.real().scoped(self.value(number));
                let mut state = self.state();
                let expected = state.model.scoped(var, number);
                state.guards.push((guard, expected));
            }
            Action::DropGuard(back) => self.end_guard(number, back, drop),
            Action::DropGuardInEmptyContext(back) => self.end_guard(number, back, |guard| {
                Context::new().run(|| drop(guard));
            }),
            Action::DropGuardOnThread(back) => self.end_guard(number, back, |guard| {
                let thread = thread::spawn(move || drop(guard));
                if let Err(payload) = thread.join() {
                    panic::resume_unwind(payload);
                }
            }),
            Action::ForgetGuard(back) => {
                let guard = back.take_from(&mut self.state().guards);
                // Its value stays, as long as the context does.
                mem::forget(guard);
            }
            Action::Snapshot => {
                let context = copy_context();
                let mut state = self.state();
                let values = state.model.values(state.model.current());
                state.snapshots.push((number, context, values));
            }
            Action::Restore(back, owned) => self.restore(number, back, owned),
            Action::WithValue(owned, var) => {
                let (context, id) = self.take_owned(owned);
                let context = context.with_value(var.real(), self.value(number));
                self.state().model.bind(id, var, Some(number));
                self.put_owned(number, owned, (context, id));
            }
            Action::Share { owned, shared } => {
                let (context, id) = self.take_owned(owned);
                let new = (context.share(), id);
                let old = mem::replace(&mut self.state().shared[shared], new);
                drop(old);
            }
            Action::CopyShared { shared, owned } => {
                let (shared, id) = self.shared(shared);
                let context = shared.copy();
                let id = self.state().model.copy(id);
                self.put_owned(number, owned, (context, id));
            }
            Action::Panic(through) => Planned::go_on(Some(Planned(through))),
            // They mean something to futures and to the listing.
            Action::Yield | Action::End => {}
            Action::Run(owned) => {
                let (mut context, id) = self.take_owned(owned);
                let unwinding = self.attempt(|| context.run(|| self.body(step, Frame::Inside, id)));
                self.put_owned(number, owned, (context, id));
                Planned::go_on(unwinding);
            }
            Action::RunShared(shared) => self.run_shared(step, shared),
            Action::SyncScope(var) => {
                let context = self.scope_context(var, number);
                let value = self.value(number);
                self.block(|| {
                    var.real()
                        .sync_scope(value, || self.body(step, Frame::Inside, context));
                });
            }
            Action::With(var) => {
                self.block(|| {
                    var.real().with(|value| {
                        let number_of = |value: Option<&Value>| value.map(|value| value.number);
                        let before = number_of(value);
                        self.steps(&step.body);
                        self.expect(number, "what a reader keeps", number_of(value), before);
                    });
                });
            }
            Action::Resume(_)
            | Action::DropWork(_)
            | Action::FreshThread
            | Action::Thread(_)
            | Action::Future(_)
            | Action::Scope(_)
            | Action::Bind(_)
            | Action::BlockOn
            | Action::Spawn(_)
            | Action::CallSoon(_)
            | Action::SpawnBlocking => self.unit(step),
        }
    }

    pub(crate) fn value(&self, number: u32) -> Value {
        let alive = Arc::clone(&self.alive);
        Value { number, alive }
    }

    /// Notes what a `set` or `unset` has done.
    fn written(&self, var: Var, number: u32, value: Option<u32>, token: Token<Value>) {
        let expected = self.state().model.set(var, value);
        let old_value = token.old_value().map(|value| value.number);
        self.expect(number, "the old value", old_value, expected.old_value());
        self.state().tokens.push((number, token, expected));
    }

    fn reset(&self, number: u32, back: Back, other: Option<Var>) {
        let Some((made_by, token, expected)) = back.take_from(&mut self.state().tokens) else {
            return;
        };
        self.uses(number, made_by);
        let var = other.unwrap_or(expected.var);
        let seen = var.real().reset(token);
        let kind = self.state().model.reset(var, &expected);
        let seen_kind = seen.as_ref().map(|()| ()).map_err(|error| error.kind());
        self.expect(number, "reset", seen_kind, kind);
        if let Err(error) = seen {
            let token = error.into_token();
            self.state().tokens.push((made_by, token, expected));
        }
    }

    fn end_guard(&self, number: u32, back: Back, end: impl FnOnce(Scoped<'static, Value>)) {
        let Some((guard, expected)) = back.take_from(&mut self.state().guards) else {
            return;
        };
        self.uses(number, expected.number);
        end(guard);
        self.state().model.drop_guard(&expected);
    }

    fn restore(&self, number: u32, back: Back, owned: usize) {
        let mut state = self.state();
        let Some((made_by, context, values)) = back.take_from(&mut state.snapshots) else {
            return;
        };
        let copy = context.clone();
        let id = state.model.add(&values);
        state.snapshots.push((made_by, context, values));
        drop(state);
        self.uses(number, made_by);
        self.put_owned(number, owned, (copy, id));
    }

    pub(crate) fn uses(&self, number: u32, made_by: u32) {
        self.state().uses.push((number, made_by));
    }

    /// Leaves an empty context in its place.
    fn take_owned(&self, owned: usize) -> (Context, ContextId) {
        let mut state = self.state();
        let empty = (Context::new(), state.model.new_context());
        mem::replace(&mut state.owned[owned], empty)
    }

    fn put_owned(&self, number: u32, owned: usize, context: (Context, ContextId)) {
        let values = self.state().model.values(context.1);
        self.check_context(number, "an owned context", &context.0, &values);
        let old = mem::replace(&mut self.state().owned[owned], context);
        drop(old);
    }

    fn shared(&self, shared: usize) -> (SharedContext, ContextId) {
        let (context, id) = &self.state().shared[shared];
        (context.clone(), *id)
    }

    fn run_shared(self: &Arc<Self>, step: &Step, shared: usize) {
        let (context, id) = self.shared(shared);
        let entered = self.state().model.is_entered(id);
        self.block(|| {
            let outcome = context.run(|| {
                // Not `body`: if it ought to be refused, the model does not know its way out.
                self.expect(step.number, "is it entered", false, entered);
                self.body(step, Frame::Inside, id);
            });
            self.expect(step.number, "is it entered", outcome.is_err(), entered);
        });
    }

    /// The copy of the current context that `scope` and `sync_scope` make.
    pub(crate) fn scope_context(&self, var: Var, number: u32) -> ContextId {
        let model = &mut self.state().model;
        let context = model.copy(model.current());
        model.bind(context, var, Some(number));
        context
    }

    /// The context at `place`, as the crate and as the model know it.
    pub(crate) fn given(&self, place: Place) -> (Given, Entry) {
        match place {
            Place::Inherited => (Given::Inherited, Entry::Owned(self.state().model.inherit())),
            Place::Empty => {
                let id = self.state().model.new_context();
                (Given::Owned(Context::new()), Entry::Owned(id))
            }
            Place::Owned(owned) => {
                let (context, id) = self.take_owned(owned);
                (Given::Owned(context), Entry::Owned(id))
            }
            Place::Shared(shared) => {
                let (context, id) = self.shared(shared);
                (Given::Shared(context), Entry::Shared(id))
            }
        }
    }

    pub(crate) fn block_on(&self, future: BoxFuture<'_, ()>) -> Result<(), BlockOnError> {
        (self.block_on)(future)
    }

    pub(crate) fn work(self: &Arc<Self>, step: &Step, entry: Entry) -> Work {
        Work::new(Arc::clone(self), step, entry)
    }

    /// Drops what is left and checks what is kept.
    fn finish(self: &Arc<Self>) {
        let last = u32::MAX;
        let works = mem::take(&mut self.state().works);
        drop(works);
        while !self.state().guards.is_empty() {
            self.end_guard(last, Back::NEWEST, drop);
            self.check(last);
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
            self.check_context(last, &what, context, values);
        }
        for owned in 0..OWNED {
            let context = self.take_owned(owned);
            self.put_owned(last, owned, context);
        }
        self.check(last);
    }
}
