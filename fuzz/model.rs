//! What a program means, told without persistent maps, shared nodes or thread-locals.
//!
//! A binding is a stack: what was set, and above it one layer for each guard. A write goes to the
//! top; a read takes the topmost layer whose guard is alive. So a guard may end anywhere, and
//! nothing has to be undone.

use std::collections::{BTreeMap, BTreeSet};

/// Names a value. The real values carry it, and the model has nothing else of them.
pub type ValueId = u32;
pub type GuardId = u32;

#[derive(Clone, Default)]
pub struct Binding {
    /// Whose layers these are: in a copy of that context they are no longer guarded.
    owner: u32,
    layers: Vec<(Option<GuardId>, Option<ValueId>)>,
}

impl Binding {
    pub fn top(&self) -> Option<ValueId> {
        self.layers.last()?.1
    }

    pub fn values(&self) -> impl Iterator<Item = ValueId> {
        self.layers.iter().filter_map(|layer| layer.1)
    }

    fn ended(&self, layer: usize, context: u32, live: &BTreeSet<GuardId>) -> bool {
        self.owner == context && self.layers[layer].0.is_some_and(|id| !live.contains(&id))
    }

    /// Whether another value shows than the topmost.
    fn is_stale(&self, context: u32, live: &BTreeSet<GuardId>) -> bool {
        let top = self.layers.len().checked_sub(1);
        top.is_some_and(|top| self.ended(top, context, live))
    }

    pub fn visible(&self, context: u32, live: &BTreeSet<GuardId>) -> Option<ValueId> {
        let shown = (0..self.layers.len()).rfind(|&layer| !self.ended(layer, context, live));
        self.layers[shown?].1
    }

    /// As a write to `context` finds it.
    fn settled(&self, context: u32, live: &BTreeSet<GuardId>) -> Binding {
        let mut settled = Binding {
            owner: context,
            layers: vec![(None, self.top())],
        };
        if self.owner == context && !self.layers.is_empty() {
            let kept = (0..self.layers.len()).filter(|&layer| !self.ended(layer, context, live));
            settled.layers = kept.map(|layer| self.layers[layer]).collect();
        }
        settled
    }
}

#[derive(Clone, Default)]
pub struct Context {
    pub id: u32,
    pub bindings: BTreeMap<usize, Binding>,
}

impl Context {
    pub fn new(id: u32) -> Context {
        Context {
            id,
            bindings: BTreeMap::new(),
        }
    }

    pub fn visible(&self, var: usize, live: &BTreeSet<GuardId>) -> Option<ValueId> {
        self.bindings.get(&var)?.visible(self.id, live)
    }

    /// Applies `write` and returns the binding as it was.
    fn update(
        &mut self,
        var: usize,
        live: &BTreeSet<GuardId>,
        write: impl FnOnce(&mut Binding),
    ) -> Binding {
        let old = self.bindings.remove(&var).unwrap_or_default();
        let old = old.settled(self.id, live);
        let mut new = old.clone();
        write(&mut new);
        if new.layers.len() > 1 || new.top().is_some() {
            self.bindings.insert(var, new);
        }
        old
    }

    pub fn set(&mut self, var: usize, value: Option<ValueId>, live: &BTreeSet<GuardId>) -> Binding {
        self.update(var, live, |binding| {
            binding.layers.last_mut().unwrap().1 = value;
        })
    }

    /// Binds `var` anew, and ends the guards that are live here.
    pub fn replace(&mut self, var: usize, value: ValueId, live: &mut BTreeSet<GuardId>) {
        let layers = vec![(None, Some(value))];
        let owner = self.id;
        let old = self.bindings.insert(var, Binding { owner, layers });
        let old = old.filter(|old| old.owner == owner);
        for (guard, _) in old.into_iter().flat_map(|old| old.layers) {
            if let Some(guard) = guard {
                live.remove(&guard);
            }
        }
    }

    pub fn push(&mut self, var: usize, guard: GuardId, value: ValueId, live: &BTreeSet<GuardId>) {
        self.update(var, live, |binding| {
            binding.layers.push((Some(guard), Some(value)));
        });
    }

    /// Takes out the layers of `var` that have ended.
    pub fn settle(&mut self, var: usize, live: &BTreeSet<GuardId>) {
        self.update(var, live, |_| ());
    }

    /// A copy, in which the layers mean nothing. What shows is what is on top of them, or else
    /// alone.
    pub fn copy(&self, id: u32, live: &BTreeSet<GuardId>) -> Context {
        let mut copy = Context {
            id,
            bindings: self.bindings.clone(),
        };
        for (var, binding) in &self.bindings {
            if binding.is_stale(self.id, live) {
                let visible = Binding {
                    owner: id,
                    layers: vec![(None, binding.visible(self.id, live))],
                };
                copy.bindings.insert(*var, visible);
            }
        }
        copy.bindings
            .retain(|_, binding| binding.layers.len() > 1 || binding.top().is_some());
        copy
    }
}
