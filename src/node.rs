//! The immutable contents of a context: a persistent map from variables to slots.
//!
//! Invariant: no value is dropped inside this module. Every operation that takes a binding out of a
//! map returns it as [`Garbage`], so that the caller can drop it once the context is consistent
//! again: a value's `Drop` may call back into the crate.

use std::any::Any;
use std::fmt;
use std::ptr;
use std::sync::Arc;

use rpds::HashTrieMapSync;

use crate::id::BuildIdHasher;
use crate::slot::Slot;
use crate::underway::{self, Work};

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
    pub(crate) name: Name,
    pub(crate) debug: Option<DebugValue<T>>,
    pub(crate) value: T,
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
            Some(debug) => {
                let address = ptr::from_ref(self).addr();
                underway::show(Work::ShowValue(address), f, |f| debug(&self.value, f))
            }
            None => f.write_str("<redacted>"),
        }
    }
}

pub(crate) type Value = Arc<dyn AnyValue>;

#[derive(Clone)]
pub(crate) struct Node {
    map: HashTrieMapSync<u64, Slot, BuildIdHasher>,
    /// How many slots of the map have no value.
    unset: usize,
    /// The variables whose slots have layers.
    layered: Vec<u64>,
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
            layered: Vec::new(),
            locals: Vec::new(),
        }
    }

    pub(crate) fn slot(&self, var: u64) -> Option<&Slot> {
        self.map.get(&var)
    }

    pub(crate) fn value(&self, var: u64, context: u64) -> Option<&Value> {
        self.slot(var)?.visible(context)
    }

    pub(crate) fn len(&self, context: u64) -> usize {
        if self.stale(context).next().is_none() {
            self.map.size() - self.unset
        } else {
            self.values(context).count()
        }
    }

    pub(crate) fn values(&self, context: u64) -> impl Iterator<Item = &Value> {
        self.map
            .values()
            .filter_map(move |slot| slot.visible(context))
    }

    /// The variables with layers of `context` that have ended and not been taken out.
    fn stale(&self, context: u64) -> impl Iterator<Item = u64> {
        let is_stale = move |slot: &Slot| slot.is_stale(context);
        let layered = self.layered.iter().copied();
        layered.filter(move |&var| self.slot(var).is_some_and(is_stale))
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
        let had_layers = old.as_ref().is_some_and(|old| old.layers.is_some());
        match (had_layers, slot.layers.is_some()) {
            (false, true) => self.layered.push(var),
            (true, false) => self.layered.retain(|&other| other != var),
            (true, true) | (false, false) => {}
        }
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
            if local && !self.locals.contains(&var) {
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

/// `node` for a copy of `context`, in which the layers mean nothing: those that have ended are taken out.
#[inline]
pub(crate) fn copy(node: &Option<Arc<Node>>, context: u64) -> Option<Arc<Node>> {
    let shared = node.as_ref()?;
    if shared.layered.is_empty() {
        return Some(Arc::clone(shared));
    }
    copy_settled(shared, context)
}

fn copy_settled(shared: &Arc<Node>, context: u64) -> Option<Arc<Node>> {
    let stale: Vec<u64> = shared.stale(context).collect();
    if stale.is_empty() {
        return Some(Arc::clone(shared));
    }
    let mut node = Node::clone(shared);
    for var in stale {
        let settled = shared.slot(var).map(|slot| slot.settled(context));
        // The original still holds the slot, so nothing is dropped here.
        let _kept = node.replace(var, false, settled.unwrap_or_default());
    }
    (!node.map.is_empty()).then(|| Arc::new(node))
}

/// `node` as a new unit of work starts with it: without the bindings of `local` variables.
#[inline]
pub(crate) fn inherit(node: &Option<Arc<Node>>, context: u64) -> Option<Arc<Node>> {
    let shared = copy(node, context)?;
    if !shared.has_locals() {
        return Some(shared);
    }
    let node = shared.without_locals();
    (!node.map.is_empty()).then(|| Arc::new(node))
}

/// The value of `var` in `value`, which was stored under its id.
pub(crate) fn downcast<T: Send + Sync + 'static>(value: &dyn AnyValue) -> Option<&T> {
    value.value().downcast_ref()
}
