//! The immutable contents of a context: a persistent map from variables to slots, and what is asked of it often.
//!
//! Invariant: no value is dropped inside this module. Every operation that takes a binding out of a
//! map returns it as [`Garbage`], so that the caller can drop it once the context is consistent
//! again: a value's `Drop` may call back into the crate.

use std::any::Any;
use std::fmt;
use std::mem;
use std::ptr;
use std::sync::Arc;

use triomphe::UniqueArc;

use crate::bindings::Bindings;
use crate::id;
use crate::name::Name;
use crate::slot::Slot;
use crate::underway::{self, Work};

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

/// Shared by all contexts with the same bindings.
pub(crate) type NodeRef = triomphe::Arc<Node>;

#[derive(Clone)]
pub(crate) struct Node {
    /// Unique to these bindings: no node that has others has the same.
    stamp: u64,
    map: Bindings,
    /// `None` if all slots are plain values of variables that are not `local`.
    notes: Option<Box<Notes>>,
}

/// What of the map would otherwise have to be searched for.
#[derive(Clone, Default)]
struct Notes {
    /// How many slots have no value.
    unset: usize,
    /// The variables whose slots have layers.
    layered: Vec<u64>,
    /// The variables declared `local` that have a slot.
    locals: Vec<u64>,
}

impl Notes {
    fn is_empty(&self) -> bool {
        self.unset == 0 && self.layered.is_empty() && self.locals.is_empty()
    }
}

/// What an operation took out of a context. To be dropped when the context is consistent again.
#[derive(Default)]
#[must_use = "drop it after the context has been put back"]
pub(crate) struct Garbage {
    _slot: Option<Slot>,
    _node: Option<NodeRef>,
}

impl Node {
    fn empty() -> Node {
        Node {
            stamp: id::next(),
            map: Bindings::new(),
            notes: None,
        }
    }

    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    pub(crate) fn slot(&self, var: u64) -> Option<&Slot> {
        self.map.get(var)
    }

    pub(crate) fn value(&self, var: u64, context: u64) -> Option<&Value> {
        self.slot(var)?.visible(context)
    }

    pub(crate) fn len(&self, context: u64) -> usize {
        if self.stale(context).next().is_none() {
            self.map.len() - self.notes.as_ref().map_or(0, |notes| notes.unset)
        } else {
            self.values(context).count()
        }
    }

    pub(crate) fn values(&self, context: u64) -> impl Iterator<Item = &Value> {
        self.map
            .slots()
            .filter_map(move |slot| slot.visible(context))
    }

    /// The variables with layers of `context` that have ended and not been taken out.
    fn stale(&self, context: u64) -> impl Iterator<Item = u64> {
        let is_stale = move |slot: &Slot| slot.is_stale(context);
        let layered = self.notes.iter().flat_map(|notes| &notes.layered);
        layered
            .copied()
            .filter(move |&var| self.slot(var).is_some_and(is_stale))
    }

    fn has_locals(&self) -> bool {
        let mut notes = self.notes.iter();
        notes.any(|notes| !notes.locals.is_empty())
    }

    /// Replaces the slot of `var`; a slot with neither value nor layers is removed.
    fn replace(&mut self, var: u64, local: bool, slot: Slot) -> Option<Slot> {
        self.stamp = id::next();
        let (is_unset, has_layers) = (slot.value.is_none(), slot.layers.is_some());
        let is_bound = !is_unset || has_layers;
        let old = if is_bound {
            self.map.insert(var, slot)
        } else {
            self.map.remove(var)
        };
        let was_unset = old.as_ref().is_some_and(|old| old.value.is_none());
        let had_layers = old.as_ref().is_some_and(|old| old.layers.is_some());
        if local || has_layers || had_layers {
            let notes = self.notes.get_or_insert_default();
            notes.unset += usize::from(is_bound && is_unset);
            notes.unset -= usize::from(was_unset);
            if had_layers != has_layers {
                note(&mut notes.layered, var, has_layers);
            }
            // Also where nobody says that it is `local`: who takes out ended layers does not know.
            match (is_bound, old.is_some()) {
                (true, false) if local => note(&mut notes.locals, var, true),
                (false, true) => note(&mut notes.locals, var, false),
                _ => {}
            }
            if notes.is_empty() {
                self.notes = None;
            }
        }
        old
    }

    /// Replaces the value of a slot that is plain, and returns it. `None` if it is not; then `value` is still there.
    #[inline]
    fn swap_value(&mut self, var: u64, value: &mut Option<Value>) -> Option<Value> {
        match self.map.get_mut(var) {
            Some(slot) if slot.is_plain() => {
                self.stamp = id::next();
                mem::replace(&mut slot.value, value.take())
            }
            _ => None,
        }
    }

    /// The same in a copy of the bindings.
    fn swap_in_copy(&self, var: u64, value: &mut Option<Value>) -> Option<(Value, NodeRef)> {
        if !self.slot(var).is_some_and(Slot::is_plain) {
            return None;
        }
        let mut copy = UniqueArc::new(self.clone());
        let old = copy.swap_value(var, value)?;
        Some((old, copy.shareable()))
    }

    /// The same bindings without those of `local` variables.
    fn without_locals(&self) -> Node {
        let mut node = self.clone();
        let locals = self.notes.iter().flat_map(|notes| &notes.locals);
        for &var in locals {
            // The original still holds the slot, so nothing is dropped here.
            let _kept = node.replace(var, true, Slot::default());
        }
        node
    }
}

/// Puts `var` into `vars` or takes it out.
fn note(vars: &mut Vec<u64>, var: u64, is_in: bool) {
    if is_in {
        vars.push(var);
    } else {
        vars.retain(|&other| other != var);
    }
}

/// Replaces the slot of `var` in `node`, in place when nobody else holds the node.
pub(crate) fn replace(node: &mut Option<NodeRef>, var: u64, local: bool, slot: Slot) -> Garbage {
    let mut garbage = Garbage::default();
    if let Some(unshared) = node.as_mut().and_then(NodeRef::get_mut) {
        garbage._slot = unshared.replace(var, local, slot);
    } else {
        let mut copy = node.as_deref().map_or_else(Node::empty, Node::clone);
        garbage._slot = copy.replace(var, local, slot);
        garbage._node = node.replace(NodeRef::new(copy));
    }
    if node.as_ref().is_some_and(|node| node.map.is_empty()) {
        // Emptied, so there is nothing in it to drop.
        *node = None;
    }
    garbage
}

/// Replaces the value of `var` in `node`, if it has one and no guards, so that there is nothing to be noted. Returns it,
/// and the node that had it if others have that, too. Otherwise `value` is still there.
#[inline]
pub(crate) fn swap_value(
    node: &mut NodeRef,
    var: u64,
    value: &mut Option<Value>,
) -> Option<(Value, Option<NodeRef>)> {
    if let Some(unshared) = NodeRef::get_mut(node) {
        return Some((unshared.swap_value(var, value)?, None));
    }
    let (old, copy) = node.swap_in_copy(var, value)?;
    Some((old, Some(mem::replace(node, copy))))
}

/// `node` for a copy of `context`, in which the layers mean nothing: those that have ended are taken out.
#[inline]
pub(crate) fn copy(node: &Option<NodeRef>, context: u64) -> Option<NodeRef> {
    let shared = node.as_ref()?;
    if shared.notes.is_none() {
        return Some(NodeRef::clone(shared));
    }
    copy_settled(shared, context)
}

fn copy_settled(shared: &NodeRef, context: u64) -> Option<NodeRef> {
    let stale: Vec<u64> = shared.stale(context).collect();
    if stale.is_empty() {
        return Some(NodeRef::clone(shared));
    }
    let mut node = Node::clone(shared);
    for var in stale {
        let settled = shared.slot(var).map(|slot| slot.settled(context));
        // The original still holds the slot, so nothing is dropped here.
        let _kept = node.replace(var, false, settled.unwrap_or_default());
    }
    (!node.map.is_empty()).then(|| NodeRef::new(node))
}

/// `node` as a new unit of work starts with it: without the bindings of `local` variables.
#[inline]
pub(crate) fn inherit(node: &Option<NodeRef>, context: u64) -> Option<NodeRef> {
    let shared = copy(node, context)?;
    if !shared.has_locals() {
        return Some(shared);
    }
    let node = shared.without_locals();
    (!node.map.is_empty()).then(|| NodeRef::new(node))
}

/// The value of `var` in `value`, which was stored under its id.
pub(crate) fn downcast<T: Send + Sync + 'static>(value: &dyn AnyValue) -> Option<&T> {
    value.value().downcast_ref()
}
