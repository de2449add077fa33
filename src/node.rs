//! The immutable contents of a context: a persistent map from variables to slots.
//!
//! Invariant: no value is dropped inside this module. Every operation that takes a binding out of a
//! map returns it as [`Garbage`], so that the caller can drop it once the context is consistent
//! again: a value's `Drop` may call back into the crate.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use rpds::HashTrieMapSync;

use crate::id::{self, BuildIdHasher};
use crate::var::ContextVar;

/// Sixteen children a level: with ids as hashes, the fastest degree for contexts of ordinary size.
const DEGREE: u8 = 16;

/// A variable's name: `'static` for declared variables, shared for those made at run time.
#[derive(Clone)]
pub(crate) enum Name {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Name::Static(name) => name,
            Name::Shared(name) => name,
        }
    }
}

pub(crate) type DebugValue<T> = fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result;

/// A bound value, with what is needed to describe it without its variable at hand.
pub(crate) struct Stored<T> {
    name: Name,
    debug: Option<DebugValue<T>>,
    value: T,
}

pub(crate) trait AnyValue: Send + Sync {
    fn name(&self) -> &str;
    fn value(&self) -> &(dyn Any + Send + Sync);
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl<T: Send + Sync + 'static> AnyValue for Stored<T> {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn value(&self) -> &(dyn Any + Send + Sync) {
        &self.value
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.debug {
            Some(debug) => debug(&self.value, f),
            None => f.write_str("<redacted>"),
        }
    }
}

pub(crate) type Value = Arc<dyn AnyValue>;

/// What a context knows of one variable.
#[derive(Clone, Default)]
pub(crate) struct Slot {
    /// `None` under a live guard whose variable was unset; such a slot does not count as set.
    pub(crate) value: Option<Value>,
    pub(crate) layers: Option<Arc<Layers>>,
}

/// The guards of one variable that are live in one context, the innermost last.
///
/// Layers belong to the context in which they were pushed. A copy of that context shares the slot, but
/// its id differs, and there the layers mean nothing: the value under them is a plain value.
#[derive(Clone)]
pub(crate) struct Layers {
    pub(crate) context: u64,
    pub(crate) stack: Vec<Layer>,
}

#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) id: u64,
    /// The value of the variable when the layer was pushed, which is what comes back when it goes.
    pub(crate) below: Option<Value>,
}

#[derive(Clone)]
pub(crate) struct Node {
    map: HashTrieMapSync<u64, Slot, BuildIdHasher>,
    /// How many slots of the map have no value.
    unset: usize,
    /// The variables declared `local` that have a slot.
    locals: Vec<u64>,
}

/// What an operation took out of a context. To be dropped when the context is consistent again.
#[derive(Default)]
#[must_use = "drop it after the context has been put back"]
pub(crate) struct Garbage {
    _slot: Option<Slot>,
    _node: Option<Arc<Node>>,
}

impl Node {
    fn empty() -> Node {
        Node {
            map: HashTrieMapSync::new_with_hasher_and_degree_and_ptr_kind(
                BuildIdHasher::default(),
                DEGREE,
            ),
            unset: 0,
            locals: Vec::new(),
        }
    }

    pub(crate) fn slot(&self, var: u64) -> Option<&Slot> {
        self.map.get(&var)
    }

    pub(crate) fn value(&self, var: u64) -> Option<&Value> {
        self.slot(var)?.value.as_ref()
    }

    pub(crate) fn len(&self) -> usize {
        self.map.size() - self.unset
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Value> {
        self.map.values().filter_map(|slot| slot.value.as_ref())
    }

    pub(crate) fn has_locals(&self) -> bool {
        !self.locals.is_empty()
    }

    /// Replaces the slot of `var`; a slot with neither value nor layers is removed.
    fn replace(&mut self, var: u64, local: bool, slot: Slot) -> Option<Slot> {
        // The clone keeps the old binding alive while the map lets go of it.
        let old = self.map.get(&var).cloned();
        let was_unset = old.as_ref().is_some_and(|old| old.value.is_none());
        self.unset -= usize::from(was_unset);
        if slot.value.is_none() && slot.layers.is_none() {
            if old.is_some() {
                self.map.remove_mut(&var);
                if local {
                    self.locals.retain(|&other| other != var);
                }
            }
        } else {
            self.unset += usize::from(slot.value.is_none());
            self.map.insert_mut(var, slot);
            if local && old.is_none() {
                self.locals.push(var);
            }
        }
        old
    }

    /// The same bindings without those of `local` variables.
    fn without_locals(&self) -> Node {
        let mut node = self.clone();
        for var in std::mem::take(&mut node.locals) {
            // The original still holds the slot, so nothing is dropped here.
            let _kept = node.replace(var, false, Slot::default());
        }
        node
    }
}

/// Replaces the slot of `var` in `node`, in place when nobody else holds the node.
pub(crate) fn replace(node: &mut Option<Arc<Node>>, var: u64, local: bool, slot: Slot) -> Garbage {
    let mut garbage = Garbage::default();
    if let Some(unshared) = node.as_mut().and_then(Arc::get_mut) {
        garbage._slot = unshared.replace(var, local, slot);
    } else {
        let mut copy = node.as_deref().map_or_else(Node::empty, Node::clone);
        garbage._slot = copy.replace(var, local, slot);
        garbage._node = node.replace(Arc::new(copy));
    }
    if node.as_ref().is_some_and(|node| node.map.is_empty()) {
        // Emptied, so there is nothing in it to drop.
        *node = None;
    }
    garbage
}

/// `node` as a new unit of work starts with it: without the bindings of `local` variables.
pub(crate) fn inherit(node: &Option<Arc<Node>>) -> Option<Arc<Node>> {
    let shared = node.as_ref()?;
    if !shared.has_locals() {
        return Some(Arc::clone(shared));
    }
    let node = shared.without_locals();
    (!node.map.is_empty()).then(|| Arc::new(node))
}

impl Slot {
    /// The layers that belong to `context`.
    pub(crate) fn layers_of(&self, context: u64) -> Option<&Arc<Layers>> {
        self.layers
            .as_ref()
            .filter(|layers| layers.context == context)
    }

    /// This slot with another value, as a plain `set` or `unset` in `context` leaves it.
    pub(crate) fn with_value(&self, context: u64, value: Option<Value>) -> Slot {
        Slot {
            value,
            layers: self.layers_of(context).cloned(),
        }
    }

    /// This slot with a new layer on top that has `value`.
    pub(crate) fn push_layer(&self, context: u64, layer: u64, value: Value) -> Slot {
        let mut stack = match self.layers_of(context) {
            Some(layers) => layers.stack.clone(),
            None => Vec::with_capacity(1),
        };
        stack.push(Layer {
            id: layer,
            below: self.value.clone(),
        });
        Slot {
            value: Some(value),
            layers: Some(Arc::new(Layers { context, stack })),
        }
    }

    /// This slot without `layer`, or `None` if it is not a layer of `context`.
    ///
    /// The top layer takes its value, and plain sets above it, with it. A layer further down hands
    /// what was below it to the one above, which restores that when it goes itself.
    pub(crate) fn remove_layer(&self, context: u64, layer: u64) -> Option<Slot> {
        let layers = self.layers_of(context)?;
        let at = layers.stack.iter().position(|other| other.id == layer)?;
        let mut stack = layers.stack.clone();
        let Layer { below, .. } = stack.remove(at);
        let value = match stack.get_mut(at) {
            Some(above) => {
                above.below = below;
                self.value.clone()
            }
            None => below,
        };
        let layers = (!stack.is_empty()).then(|| Arc::new(Layers { context, stack }));
        Some(Slot { value, layers })
    }

    /// The value of this slot, seen from `now`, a later state of the same variable in `context`.
    ///
    /// A value that was set under a layer that has gone since is not brought back: what was below
    /// that layer takes its place.
    pub(crate) fn value_under_live_layers(
        &self,
        context: u64,
        now: Option<&Slot>,
    ) -> Option<Value> {
        let live = now.and_then(|now| now.layers_of(context));
        let is_live = |id| live.is_some_and(|live| live.stack.iter().any(|layer| layer.id == id));
        let mut value = &self.value;
        if let Some(layers) = self.layers_of(context) {
            for layer in layers.stack.iter().rev() {
                if is_live(layer.id) {
                    break;
                }
                value = &layer.below;
            }
        }
        value.clone()
    }
}

/// The value of `var` in `value`, which was stored under its id.
pub(crate) fn downcast<T: Send + Sync + 'static>(value: &dyn AnyValue) -> Option<&T> {
    value.value().downcast_ref()
}

/// A fresh id for a layer.
pub(crate) fn next_layer() -> u64 {
    id::next()
}

impl<T: Send + Sync + 'static> ContextVar<T> {
    /// `value` as it is kept in a context.
    pub(crate) fn store(&self, value: T) -> Value {
        Arc::new(Stored {
            name: self.shared_name(),
            debug: self.debug_value(),
            value,
        })
    }
}
