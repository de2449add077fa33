//! What the documentation says, in plain code. A context maps variables to layers: the lowest is
//! the context's own, each of the others belongs to a guard, and the value of a variable is that of
//! its top layer.

use std::collections::BTreeMap;

use aiocontextvars::ResetErrorKind;

use crate::program::Var;

/// The bindings of a context. Each value is the number of the step that set it.
pub(crate) type Values = BTreeMap<Var, u32>;

/// Tells one context from another, as tokens and guards do. A copy is another context.
pub(crate) type ContextId = usize;

#[derive(Clone)]
struct Layer {
    /// The step that made the guard.
    guard: Option<u32>,
    value: Option<u32>,
}

const OWN: Layer = Layer {
    guard: None,
    value: None,
};

pub(crate) struct Token {
    pub(crate) var: Var,
    context: ContextId,
    before: Vec<Layer>,
}

impl Token {
    pub(crate) fn old_value(&self) -> Option<u32> {
        self.before.last().and_then(|layer| layer.value)
    }
}

pub(crate) struct Guard {
    var: Var,
    context: ContextId,
    pub(crate) number: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Frame {
    /// The first frame of a thread.
    Thread,
    /// Of an executor that the thread runs.
    Executor,
    Inside,
}

/// A context given to a future, task or function.
#[derive(Clone, Copy)]
pub(crate) enum Entry {
    Owned(ContextId),
    Shared(ContextId),
    /// That of a scope, by its index.
    Scope(usize),
}

/// What a scope is made of, until its first use.
struct Scope {
    var: Var,
    number: u32,
    /// The copy of what was current at the first use.
    context: Option<ContextId>,
}

pub(crate) struct Model {
    scopes: Vec<Scope>,
    contexts: Vec<BTreeMap<Var, Vec<Layer>>>,
    /// Threads that a program waits for come after those that wait.
    frames: Vec<(Frame, ContextId)>,
}

impl Model {
    /// The program's thread, on which nothing is set.
    pub(crate) fn new() -> Model {
        Model {
            scopes: Vec::new(),
            contexts: vec![BTreeMap::new()],
            frames: vec![(Frame::Thread, 0)],
        }
    }

    pub(crate) fn new_context(&mut self) -> ContextId {
        self.add(&Values::new())
    }

    pub(crate) fn add(&mut self, values: &Values) -> ContextId {
        let plain = |(&var, &value): (&Var, &u32)| {
            let value = Some(value);
            (var, vec![Layer { value, ..OWN }])
        };
        self.contexts.push(values.iter().map(plain).collect());
        self.contexts.len() - 1
    }

    pub(crate) fn copy(&mut self, context: ContextId) -> ContextId {
        self.add(&self.values(context))
    }

    /// A copy of the current context for a new unit of work.
    pub(crate) fn inherit(&mut self) -> ContextId {
        let mut values = self.values(self.current());
        values.retain(|var, _| !var.is_local());
        self.add(&values)
    }

    pub(crate) fn values(&self, context: ContextId) -> Values {
        let layers = self.contexts[context].iter();
        let top = layers.map(|(var, layers)| (*var, layers.last().and_then(|layer| layer.value)));
        top.filter_map(|(var, value)| Some((var, value?))).collect()
    }

    fn layers(&mut self, context: ContextId, var: Var) -> &mut Vec<Layer> {
        let layers = self.contexts[context].entry(var);
        layers.or_insert_with(|| vec![OWN])
    }

    pub(crate) fn bind(&mut self, context: ContextId, var: Var, value: Option<u32>) {
        if let Some(top) = self.layers(context, var).last_mut() {
            top.value = value;
        }
    }

    /// The value takes the place of all layers, and so ends the guards.
    pub(crate) fn replace(&mut self, context: ContextId, var: Var, number: u32) {
        let own = Layer {
            value: Some(number),
            ..OWN
        };
        self.contexts[context].insert(var, vec![own]);
    }

    pub(crate) fn set(&mut self, var: Var, value: Option<u32>) -> Token {
        let context = self.current();
        let before = self.layers(context, var).clone();
        self.bind(context, var, value);
        Token {
            var,
            context,
            before,
        }
    }

    pub(crate) fn reset(&mut self, var: Var, token: &Token) -> Result<(), ResetErrorKind> {
        if var != token.var {
            return Err(ResetErrorKind::DifferentVar);
        }
        if token.context != self.current() {
            return Err(ResetErrorKind::DifferentContext);
        }
        // What was set under a guard that is gone does not come back; what was below that guard
        // does.
        let live: Vec<_> = { self.layers(token.context, var).iter() }
            .map(|layer| layer.guard)
            .collect();
        let mut before = token.before.iter().rev();
        let old = before.find(|layer| live.contains(&layer.guard));
        self.bind(token.context, var, old.and_then(|layer| layer.value));
        Ok(())
    }

    pub(crate) fn scoped(&mut self, var: Var, number: u32) -> Guard {
        let context = self.current();
        self.layers(context, var).push(Layer {
            guard: Some(number),
            value: Some(number),
        });
        Guard {
            var,
            context,
            number,
        }
    }

    /// The guard's value goes from its context, wherever the guard is dropped, and what was set
    /// above it too.
    pub(crate) fn drop_guard(&mut self, guard: &Guard) {
        let layers = self.layers(guard.context, guard.var);
        layers.retain(|layer| layer.guard != Some(guard.number));
    }

    pub(crate) fn scope(&mut self, var: Var, number: u32) -> Entry {
        self.scopes.push(Scope {
            var,
            number,
            context: None,
        });
        Entry::Scope(self.scopes.len() - 1)
    }

    /// The context of a scope, which is made now if this is the first use.
    fn used(&mut self, scope: usize) -> ContextId {
        let Scope {
            var,
            number,
            context,
        } = self.scopes[scope];
        let context = context.unwrap_or_else(|| {
            let copy = self.copy(self.current());
            self.bind(copy, var, Some(number));
            copy
        });
        self.scopes[scope].context = Some(context);
        context
    }

    pub(crate) fn enter(&mut self, frame: Frame, context: ContextId) {
        self.frames.push((frame, context));
    }

    pub(crate) fn leave(&mut self) {
        self.frames.pop();
    }

    pub(crate) fn current(&self) -> ContextId {
        self.frames.last().map_or(0, |frame| frame.1)
    }

    pub(crate) fn is_entered(&self, context: ContextId) -> bool {
        self.frames.iter().any(|frame| frame.1 == context)
    }

    /// The frames since the innermost executor of this thread was entered, if one is running, and
    /// those outside it.
    fn executor(&self) -> Option<usize> {
        let innermost = |frame: &(Frame, ContextId)| frame.0 != Frame::Inside;
        let at = self.frames.iter().rposition(innermost)?;
        (self.frames[at].0 == Frame::Executor).then_some(at)
    }

    pub(crate) fn is_in_executor(&self) -> bool {
        self.executor().is_some()
    }

    /// Whether a unit in `context` could never run: the context is entered around the executor,
    /// which waits for it.
    pub(crate) fn would_deadlock(&self, context: ContextId) -> bool {
        let around = self.executor().unwrap_or(self.frames.len());
        self.frames[..around].iter().any(|frame| frame.1 == context)
    }

    /// The context of a poll; `None` if it has to wait.
    pub(crate) fn polled_in(&mut self, entry: Entry) -> Option<ContextId> {
        match entry {
            Entry::Owned(context) => Some(context),
            Entry::Scope(scope) => Some(self.used(scope)),
            Entry::Shared(context) => {
                let passes = self.current() == context || !self.is_entered(context);
                passes.then_some(context)
            }
        }
    }

    /// The context of a drop, which cannot wait.
    pub(crate) fn dropped_in(&mut self, entry: Entry) -> ContextId {
        match (self.polled_in(entry), entry) {
            (Some(context), _) => context,
            (None, Entry::Shared(context)) => self.copy(context),
            (None, _) => unreachable!("only a shared context is waited for"),
        }
    }
}
