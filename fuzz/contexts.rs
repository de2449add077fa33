//! Reads bytes as a program over variables, contexts, tokens, guards, nested runs and panics; runs
//! it on the crate and on a model; and compares what each context shows and which values are alive
//! after every step.
#![no_main]

mod model;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::slice;

use aiocontextvars::{
    Context, ContextVar, ResetErrorKind, Scoped, SharedContext, Token, copy_context,
};
use libfuzzer_sys::fuzz_target;

use crate::model::{Binding, GuardId, ValueId};

const POOL: usize = 4;
const MAX_DEPTH: usize = 12;

static VARS: [ContextVar<Value>; POOL] = [
    ContextVar::new("a"),
    ContextVar::new("b"),
    ContextVar::new("c"),
    ContextVar::new("d"),
];

thread_local! {
    static ALIVE: RefCell<BTreeSet<ValueId>> = const { RefCell::new(BTreeSet::new()) };
}

struct Value(ValueId);

impl Value {
    fn new(id: ValueId) -> Value {
        assert!(ALIVE.with_borrow_mut(|alive| alive.insert(id)));
        Value(id)
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        assert!(ALIVE.with_borrow_mut(|alive| alive.remove(&self.0)));
        // Whatever drops a value has to leave the crate usable; what is read here is between two
        // states.
        for var in &VARS {
            var.with(|value| assert!(value.is_none_or(|value| value.0 != self.0)));
        }
        drop(copy_context());
    }
}

/// Thrown by programs. It passes by the panic hook, which would report it as a find.
struct Thrown;

/// Where the program is: the innermost frame's context.
enum Frame {
    Owned(model::Context),
    Shared(usize),
}

struct TokenModel {
    var: usize,
    context: u32,
    old: Binding,
}

struct GuardModel {
    id: GuardId,
    var: usize,
    context: u32,
}

type Pool<T> = [Option<T>; POOL];

#[derive(Default)]
struct Machine<'a> {
    bytes: slice::Iter<'a, u8>,
    last_id: u32,
    /// How many blocks are open.
    depth: usize,
    frames: Vec<Frame>,
    contexts: Pool<(Context, model::Context)>,
    shared: Pool<(SharedContext, model::Context)>,
    entered: [bool; POOL],
    tokens: Pool<(Token<Value>, TokenModel)>,
    guards: Pool<(Scoped<'static, Value>, GuardModel)>,
    live: BTreeSet<GuardId>,
    /// What a `with` is showing, with the rest of its binding: a value below a guard's lives as
    /// long as that is read.
    shown: Vec<ValueId>,
}

impl Machine<'_> {
    fn fresh(&mut self) -> u32 {
        self.last_id += 1;
        self.last_id
    }

    /// The next operand; zeros follow the end of the program.
    fn index(&mut self) -> usize {
        usize::from(self.bytes.next().copied().unwrap_or(0)) % POOL
    }

    fn current(&mut self) -> (&mut model::Context, &BTreeSet<GuardId>) {
        let context = match self.frames.last_mut().unwrap() {
            Frame::Owned(context) => context,
            Frame::Shared(index) => &mut self.shared[*index].as_mut().unwrap().1,
        };
        (context, &self.live)
    }

    /// Runs to the end of the block or of the program.
    fn block(&mut self) {
        while let Some(&opcode) = self.bytes.next() {
            if opcode % 20 == 0 && self.depth > 0 {
                return;
            }
            self.step(opcode % 20);
            self.check();
        }
    }

    /// Runs a block in a frame that `enter` makes; a panic of the program ends there.
    fn nested(&mut self, frame: Frame, enter: impl FnOnce(&mut dyn FnMut())) -> Frame {
        let (depth, shown) = (self.depth, self.shown.len());
        self.frames.push(frame);
        self.depth += 1;
        let mut body = || {
            self.check();
            self.block();
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| enter(&mut body)));
        if let Err(payload) = outcome
            && !payload.is::<Thrown>()
        {
            resume_unwind(payload);
        }
        // What a panic has cut short.
        self.depth = depth;
        self.shown.truncate(shown);
        self.frames.pop().unwrap()
    }

    fn step(&mut self, opcode: u8) {
        match opcode {
            1 | 2 => self.set(),
            3 => self.unset(),
            4 | 5 => self.reset(),
            6 | 7 => self.scoped(),
            8 | 9 => {
                let at = self.index();
                self.drop_guard(at);
            }
            10 => {
                let at = self.index();
                let id = self.fresh();
                let (current, live) = self.current();
                let model = current.copy(id, live);
                self.contexts[at] = Some((copy_context(), model));
            }
            11 => {
                let (from, to) = (self.index(), self.index());
                let id = self.fresh();
                if let Some((context, model)) = &self.contexts[from] {
                    let copy = (context.clone(), model.copy(id, &self.live));
                    self.contexts[to] = Some(copy);
                }
            }
            12 => {
                let (at, var) = (self.index(), self.index());
                let value = self.fresh();
                if let Some((context, mut model)) = self.contexts[at].take() {
                    model.replace(var, value, &mut self.live);
                    let context = context.with_value(&VARS[var], Value::new(value));
                    self.contexts[at] = Some((context, model));
                }
            }
            13 => self.run(),
            14 => self.sync_scope(),
            15 => {
                let (from, to) = (self.index(), self.index());
                if !self.entered[to]
                    && let Some((context, model)) = self.contexts[from].take()
                {
                    self.shared[to] = Some((context.share(), model));
                }
            }
            16 => self.run_shared(),
            17 => {
                let (from, to) = (self.index(), self.index());
                let id = self.fresh();
                if let Some((shared, model)) = &self.shared[from] {
                    let copy = (shared.copy(), model.copy(id, &self.live));
                    self.contexts[to] = Some(copy);
                }
            }
            18 => self.with(),
            19 if self.frames.len() > 1 => resume_unwind(Box::new(Thrown)),
            _ => {
                let at = self.index();
                let id = self.fresh();
                self.contexts[at] = Some((Context::new(), model::Context::new(id)));
            }
        }
    }

    fn set(&mut self) {
        let (var, at) = (self.index(), self.index());
        let value = self.fresh();
        let (current, live) = self.current();
        let context = current.id;
        let old = current.set(var, Some(value), live);
        let token = VARS[var].set(Value::new(value));
        self.tokens[at] = Some((token, TokenModel { var, context, old }));
    }

    fn unset(&mut self) {
        let (var, at) = (self.index(), self.index());
        let (current, live) = self.current();
        let context = current.id;
        let old = current.set(var, None, live);
        self.tokens[at] = Some((VARS[var].unset(), TokenModel { var, context, old }));
    }

    fn reset(&mut self) {
        let (at, var) = (self.index(), self.index());
        let Some((token, model)) = self.tokens[at].take() else {
            return;
        };
        let (current, live) = self.current();
        let refusal = if model.var != var {
            Some(ResetErrorKind::DifferentVar)
        } else if model.context != current.id {
            Some(ResetErrorKind::DifferentContext)
        } else {
            let old = model.old.visible(current.id, live);
            let _replaced = current.set(var, old, live);
            None
        };
        match VARS[var].reset(token) {
            Ok(()) => assert_eq!(refusal, None),
            Err(error) => {
                assert_eq!(Some(error.kind()), refusal);
                self.tokens[at] = Some((error.into_token(), model));
            }
        }
    }

    fn scoped(&mut self) {
        let (var, at) = (self.index(), self.index());
        self.drop_guard(at);
        let (id, value) = (self.fresh(), self.fresh());
        let (current, live) = self.current();
        let context = current.id;
        current.push(var, id, value, live);
        self.live.insert(id);
        let guard = VARS[var].scoped(Value::new(value));
        self.guards[at] = Some((guard, GuardModel { id, var, context }));
    }

    fn drop_guard(&mut self, at: usize) {
        if let Some((guard, model)) = self.guards[at].take() {
            drop(guard);
            self.live.remove(&model.id);
            let (current, live) = self.current();
            // In its context it takes its value with it; elsewhere the value only shows no more.
            if current.id == model.context {
                current.settle(model.var, live);
            }
        }
    }

    fn run(&mut self) {
        let at = self.index();
        if self.depth < MAX_DEPTH
            && let Some((mut context, model)) = self.contexts[at].take()
        {
            let left = self.nested(Frame::Owned(model), |body| context.run(body));
            if let Frame::Owned(model) = left {
                self.contexts[at] = Some((context, model));
            }
        }
    }

    fn run_shared(&mut self) {
        let at = self.index();
        let Some((shared, _)) = &self.shared[at] else {
            return;
        };
        let shared = shared.clone();
        if self.entered[at] {
            assert!(shared.run(|| unreachable!("it is entered")).is_err());
        } else if self.depth < MAX_DEPTH {
            self.entered[at] = true;
            self.nested(Frame::Shared(at), |body| shared.run(body).unwrap());
            self.entered[at] = false;
        }
    }

    fn sync_scope(&mut self) {
        let var = self.index();
        if self.depth < MAX_DEPTH {
            let (id, value) = (self.fresh(), self.fresh());
            let (current, live) = self.current();
            let mut inner = current.copy(id, live);
            let _old = inner.set(var, Some(value), live);
            let value = Value::new(value);
            self.nested(Frame::Owned(inner), |body| {
                VARS[var].sync_scope(value, body)
            });
        }
    }

    /// A block within `with`: it may do anything to the context that the value is from.
    fn with(&mut self) {
        let var = self.index();
        if self.depth < MAX_DEPTH {
            let (current, live) = self.current();
            let expected = current.visible(var, live);
            let binding = current.bindings.get(&var).filter(|_| expected.is_some());
            let read: Vec<ValueId> = binding.into_iter().flat_map(Binding::values).collect();
            let outer = self.shown.len();
            VARS[var].with(|value| {
                assert_eq!(value.map(|value| value.0), expected);
                self.shown.extend(read);
                self.depth += 1;
                self.block();
                self.depth -= 1;
                assert_eq!(value.map(|value| value.0), expected);
            });
            self.shown.truncate(outer);
        }
    }

    fn check(&mut self) {
        let (current, live) = self.current();
        for (at, var) in VARS.iter().enumerate() {
            let value = var.with(|value| value.map(|value| value.0));
            assert_eq!(value, current.visible(at, live));
        }
        check_context(&copy_context(), current, live);
        for (context, model) in self.contexts.iter().flatten() {
            check_context(context, model, &self.live);
        }
        for (shared, model) in self.shared.iter().flatten() {
            check_context(&shared.copy(), model, &self.live);
        }
        let mut reachable: BTreeSet<ValueId> = self.shown.iter().copied().collect();
        for (token, model) in self.tokens.iter().flatten() {
            assert_eq!(token.old_value().map(|value| value.0), model.old.top());
            reachable.extend(model.old.values());
        }
        let owned = self.frames.iter().filter_map(|frame| match frame {
            Frame::Owned(context) => Some(context),
            Frame::Shared(_) => None,
        });
        let contexts = self.contexts.iter().flatten().map(|(_, model)| model);
        let shared = self.shared.iter().flatten().map(|(_, model)| model);
        for context in owned.chain(contexts).chain(shared) {
            reachable.extend(context.bindings.values().flat_map(Binding::values));
        }
        ALIVE.with_borrow(|alive| assert_eq!(*alive, reachable));
    }
}

fn check_context(context: &Context, model: &model::Context, live: &BTreeSet<GuardId>) {
    let mut bound = 0;
    for (at, var) in VARS.iter().enumerate() {
        let expected = model.visible(at, live);
        bound += usize::from(expected.is_some());
        assert_eq!(context.get(var).map(|value| value.0), expected);
    }
    assert_eq!((context.len(), context.iter().count()), (bound, bound));
}

fn program(bytes: &[u8]) {
    let mut machine = Machine {
        bytes: bytes.iter(),
        frames: vec![Frame::Owned(model::Context::default())],
        ..Machine::default()
    };
    machine.block();
    // Dropped here and now, so that the current context is the one in which the program began.
    drop(machine);
    for var in &VARS {
        var.unset();
    }
    assert!(copy_context().is_empty());
    ALIVE.with_borrow(|alive| assert_eq!(alive.len(), 0));
}

fuzz_target!(|bytes: &[u8]| {
    // In the thread's own context, or in one that is entered.
    match bytes.split_first() {
        Some((first, rest)) if first % 2 == 0 => program(rest),
        Some((_, rest)) => Context::new().run(|| program(rest)),
        None => {}
    }
});
