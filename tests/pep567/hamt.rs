//! Row HM-08: thousands of variables, set, unset and reset in random order, beside a plain map.
//!
//! CPython's stress test has keys whose `__hash__` and `__eq__` fail now and then, to show that the
//! map stays intact (HM-06). There are none here: the keys are integers, and no user code runs
//! while a map changes.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use aiocontextvars::{Context, ContextVar, SharedContext, Token, copy_context};
use fastrand::Rng;

use crate::drops::{Counted, Drops};

const VARIABLES: usize = 7000;

/// How many operations there are between two comparisons of everything.
const CHECK_EVERY: usize = 647;

/// How many tokens wait to be used.
const TOKENS: usize = 100;

struct Value {
    variable: usize,
    /// No other value has it.
    number: usize,
    _counted: Counted,
}

/// The numbers of the values that are bound, by their variables.
type Model = BTreeMap<usize, usize>;

struct Stress<'a> {
    rng: Rng,
    variables: &'a [ContextVar<Value>],
    /// The context under test, from outside.
    view: &'a dyn Fn() -> Context,
    model: Model,
    /// Each with its variable and the old value.
    tokens: Vec<(Token<Value>, usize, Option<usize>)>,
    snapshot: Option<(Context, Model)>,
    drops: Drops,
    made: usize,
    operations: usize,
}

#[test]
fn hm_08_stress_in_a_threads_own_context() {
    // Not the test's thread, which may be the one of all tests.
    thread::scope(|scope| scope.spawn(|| stress(1, &copy_context)).join().unwrap());
}

#[test]
fn hm_08_stress_in_an_owned_context() {
    let mut context = Context::new();
    context.run(|| stress(2, &copy_context));
    assert!(context.is_empty());
}

#[test]
fn hm_08_stress_in_a_shared_context() {
    let shared = SharedContext::new();
    shared.run(|| stress(3, &|| shared.copy())).unwrap();
    assert!(shared.is_empty());
}

/// Fills the current context, stirs it, and empties it.
fn stress(seed: u64, view: &dyn Fn() -> Context) {
    let variables: Vec<ContextVar<Value>> = (0..VARIABLES)
        .map(|number| ContextVar::named(number.to_string()))
        .collect();
    let mut stress = Stress {
        rng: Rng::with_seed(seed),
        variables: &variables,
        view,
        model: Model::new(),
        tokens: Vec::new(),
        snapshot: None,
        drops: Drops::new(),
        made: 0,
        operations: 0,
    };
    for variable in stress.shuffled() {
        stress.set(variable);
    }
    assert_eq!(stress.model.len(), VARIABLES);
    stress.stir();
    stress.empty();
    stress.finish();
}

impl Stress<'_> {
    fn shuffled(&mut self) -> Vec<usize> {
        let mut order: Vec<_> = (0..VARIABLES).collect();
        self.rng.shuffle(&mut order);
        order
    }

    fn stir(&mut self) {
        for _ in 0..VARIABLES {
            let variable = self.rng.usize(..VARIABLES);
            match self.rng.u8(..4) {
                0 | 1 => self.set(variable),
                2 => self.unset(variable),
                _ => self.reset(),
            }
        }
    }

    fn empty(&mut self) {
        let order = self.shuffled();
        let (first, second) = order.split_at(VARIABLES / 2);
        for &variable in first {
            self.unset(variable);
        }
        self.check();
        let (copy, half) = (copy_context(), self.model.clone());
        self.snapshot = Some((copy.clone(), half.clone()));
        let variables = self.variables;
        thread::scope(|scope| {
            // Who reads the snapshot meanwhile does not notice.
            let reader = scope.spawn(|| {
                for _ in 0..3 {
                    assert_same(&copy, &half, variables);
                }
            });
            for &variable in second {
                self.unset(variable);
            }
            reader.join().unwrap();
        });
    }

    fn finish(mut self) {
        assert!(self.model.is_empty());
        assert!(copy_context().is_empty());
        self.tokens.clear();
        self.check();
        let (copy, half) = self.snapshot.take().expect("taken half way");
        assert!(half.len() > VARIABLES / 4);
        assert_same(&copy, &half, self.variables);
        assert_eq!(self.made - self.drops.count(), half.len());
        drop(copy);
        assert_eq!(self.made, self.drops.count());
    }

    fn set(&mut self, variable: usize) {
        let number = self.made;
        self.made += 1;
        let token = self.variables[variable].set(Value {
            variable,
            number,
            _counted: self.drops.value(),
        });
        let old = self.model.insert(variable, number);
        self.keep(token, variable, old);
    }

    fn unset(&mut self, variable: usize) {
        let token = self.variables[variable].unset();
        let old = self.model.remove(&variable);
        self.keep(token, variable, old);
    }

    fn reset(&mut self) {
        let at = self.rng.usize(..self.tokens.len());
        let (token, variable, old) = self.tokens.swap_remove(at);
        self.variables[variable].reset(token).unwrap();
        match old {
            Some(number) => self.model.insert(variable, number),
            None => self.model.remove(&variable),
        };
        self.count();
    }

    fn keep(&mut self, token: Token<Value>, variable: usize, old: Option<usize>) {
        assert_eq!(token.old_value().map(|value| value.number), old);
        self.tokens.push((token, variable, old));
        if self.tokens.len() > TOKENS {
            let at = self.rng.usize(..self.tokens.len());
            drop(self.tokens.swap_remove(at));
        }
        self.count();
    }

    fn count(&mut self) {
        self.operations += 1;
        if self.operations % CHECK_EVERY == 0 {
            self.check();
        }
    }

    fn check(&self) {
        assert_same(&copy_context(), &self.model, self.variables);
        assert_same(&(self.view)(), &self.model, self.variables);
        // Alive is what somebody can still see, and nothing else.
        let kept = self.tokens.iter().filter_map(|(_, _, old)| *old);
        let snapshot = self.snapshot.iter().flat_map(|(_, half)| half.values());
        let alive: BTreeSet<_> = self
            .model
            .values()
            .chain(snapshot)
            .copied()
            .chain(kept)
            .collect();
        assert_eq!(self.made - self.drops.count(), alive.len());
    }
}

/// Compares all that can be seen of a context.
fn assert_same(context: &Context, model: &Model, variables: &[ContextVar<Value>]) {
    let entries = context.iter();
    assert_eq!((context.len(), entries.len()), (model.len(), model.len()));
    let mut listed = Vec::new();
    for entry in entries {
        let value: &Value = entry.downcast_ref().unwrap();
        assert_eq!(entry.name(), variables[value.variable].name());
        listed.push((value.variable, value.number));
    }
    listed.sort_unstable();
    let listed: Vec<_> = listed
        .iter()
        .map(|(variable, number)| (variable, number))
        .collect();
    assert!(listed.into_iter().eq(model), "the list differs");
    for (number, variable) in variables.iter().enumerate() {
        let value = context.get(variable);
        assert_eq!(value.is_some(), context.contains(variable));
        let seen = value.map(|value| value.number);
        assert_eq!(seen, model.get(&number).copied(), "variable {number}");
    }
}
