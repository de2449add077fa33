//! The contents of a context, shared by all contexts with the same contents: a persistent map from
//! variables to slots, and what is asked of it often.
//!
//! No value is dropped inside this module: a value's `Drop` may call back into the crate. Every
//! operation that takes something out returns it as [`Garbage`], for the caller to drop once the
//! context is consistent again.

use std::mem;

use rpds::HashTrieSetSync;
use triomphe::{Arc, UniqueArc};

use crate::bindings::{Bindings, DEGREE};
use crate::id::{self, BuildIdHasher, VarKey};
use crate::slot::{Guard, Slot, Spare};
use crate::value::Value;

/// Shared by all contexts with the same bindings.
pub(crate) type NodeRef = Arc<Node>;

#[derive(Clone)]
pub(crate) struct Node {
    /// Unique to these bindings: no node that has others has the same.
    stamp: u64,
    map: Bindings,
    /// How many slots have no value.
    unset: usize,
    /// The variables whose slots have layers.
    layered: Vars,
    /// The variables declared `local` that have a slot.
    locals: Vars,
    /// Used only while nobody else has the node.
    spare: Spare,
}

/// A set of variables, which is empty or has one in all but a few contexts.
#[derive(Clone)]
enum Vars {
    None,
    One(VarKey),
    #[expect(clippy::box_collection, reason = "every node has two of these")]
    Few(Box<Vec<VarKey>>),
    /// A persistent set: a copy is a count, and a change takes logarithmic time.
    Many(Box<HashTrieSetSync<VarKey, BuildIdHasher>>),
}

/// How many variables are kept in a flat list.
const FEW: usize = 16;

impl Vars {
    fn is_empty(&self) -> bool {
        matches!(self, Vars::None)
    }

    fn len(&self) -> usize {
        match self {
            Vars::None => 0,
            Vars::One(_) => 1,
            Vars::Few(vars) => vars.len(),
            Vars::Many(vars) => vars.size(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = VarKey> {
        let (flat, tree) = match self {
            Vars::None => (&[][..], None),
            Vars::One(var) => (std::slice::from_ref(var), None),
            Vars::Few(vars) => (&vars[..], None),
            Vars::Many(vars) => (&[][..], Some(vars)),
        };
        let tree = tree.into_iter().flat_map(|vars| vars.iter());
        flat.iter().chain(tree).copied()
    }

    /// `var` is not there.
    #[inline]
    fn insert(&mut self, var: VarKey) {
        match self {
            Vars::None => *self = Vars::One(var),
            Vars::One(other) => *self = Vars::Few(Box::new(vec![*other, var])),
            Vars::Few(vars) if vars.len() < FEW => vars.push(var),
            Vars::Few(vars) => {
                let mut tree = HashTrieSetSync::new_with_hasher_and_degree_and_ptr_kind(
                    BuildIdHasher::default(),
                    DEGREE,
                );
                for &var in vars.iter().chain([&var]) {
                    tree.insert_mut(var);
                }
                *self = Vars::Many(Box::new(tree));
            }
            Vars::Many(vars) => vars.insert_mut(var),
        }
    }

    /// `var` is there.
    #[inline]
    fn remove(&mut self, var: VarKey) {
        let is_empty = match self {
            Vars::None | Vars::One(_) => true,
            Vars::Few(vars) => {
                vars.retain(|&other| other != var);
                vars.is_empty()
            }
            Vars::Many(vars) => {
                vars.remove_mut(&var);
                vars.is_empty()
            }
        };
        if is_empty {
            *self = Vars::None;
        }
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
            unset: 0,
            layered: Vars::None,
            locals: Vars::None,
            spare: Spare::default(),
        }
    }

    #[inline]
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    pub(crate) fn slot(&self, var: VarKey) -> Option<&Slot> {
        self.map.get(var)
    }

    pub(crate) fn value(&self, var: VarKey, context: u64) -> Option<&Value> {
        self.slot(var)?.visible(context)
    }

    pub(crate) fn len(&self, context: u64) -> usize {
        if self.stale(context).next().is_none() {
            self.map.len() - self.unset
        } else {
            self.values(context).count()
        }
    }

    pub(crate) fn values(&self, context: u64) -> impl Iterator<Item = (VarKey, &Value)> {
        let visible = move |(var, slot): (VarKey, _)| Some((var, Slot::visible(slot, context)?));
        self.map.iter().filter_map(visible)
    }

    /// The variables whose visible value is not the one above all layers, as a copy has to have it.
    fn stale(&self, context: u64) -> impl Iterator<Item = VarKey> {
        let is_stale = move |slot: &Slot| slot.is_stale(context);
        let layered = self.layered.iter();
        layered.filter(move |&var| self.slot(var).is_some_and(is_stale))
    }

    /// The values at this moment, and how many they are.
    ///
    /// Guards may end at any time. So the values of variables that have some are looked up now; the
    /// others are looked up on the way.
    pub(crate) fn snapshot(&self, context: u64) -> (usize, impl Iterator<Item = &Value>) {
        let layered = self.layered.iter();
        let layered: Vec<_> = layered.filter_map(|var| self.value(var, context)).collect();
        let count = self.map.len() - self.layered.len() + layered.len();
        let plain = self.map.iter().filter(|(_, slot)| slot.is_plain());
        let plain = plain.filter_map(|(_, slot)| slot.value.as_ref());
        (count, plain.chain(layered))
    }

    /// Notes that the slot of `var` has changed, and was like `before`.
    fn note(&mut self, var: VarKey, before: SlotShape, after: SlotShape) {
        self.stamp = id::next();
        self.unset += usize::from(after.is_unset());
        self.unset -= usize::from(before.is_unset());
        match (before.has_layers, after.has_layers) {
            (false, true) => self.layered.insert(var),
            (true, false) => self.layered.remove(var),
            _ => {}
        }
        if var.is_local() {
            match (before.is_bound(), after.is_bound()) {
                (false, true) => self.locals.insert(var),
                (true, false) => self.locals.remove(var),
                _ => {}
            }
        }
    }

    /// Replaces the slot of `var`; a slot with neither value nor layers is removed.
    fn replace(&mut self, var: VarKey, slot: Slot) -> Option<Slot> {
        let after = SlotShape::of(&slot);
        let before = if after.is_bound() {
            self.map.insert(var, slot)
        } else {
            self.map.remove(var)
        };
        let shape = before.as_ref().map_or(SlotShape::NONE, SlotShape::of);
        self.note(var, shape, after);
        before
    }

    /// Replaces the value of a slot that is plain, and returns it. `None` if the slot is not; then
    /// `value` is still there.
    #[inline]
    fn swap_value(&mut self, var: VarKey, value: &mut Option<Value>) -> Option<Value> {
        match self.map.get_mut(var) {
            Some(slot) if slot.is_plain() => {
                self.stamp = id::next();
                mem::replace(&mut slot.value, value.take())
            }
            _ => None,
        }
    }

    /// The same in a copy of the bindings.
    fn swap_in_copy(&self, var: VarKey, value: &mut Option<Value>) -> Option<(Value, NodeRef)> {
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
        for var in self.locals.iter() {
            // The original still holds the slot, so nothing is dropped here.
            let _kept = node.replace(var, Slot::default());
        }
        node
    }
}

/// What a node notes of a slot.
#[derive(Clone, Copy)]
struct SlotShape {
    has_value: bool,
    has_layers: bool,
}

impl SlotShape {
    const NONE: SlotShape = SlotShape {
        has_value: false,
        has_layers: false,
    };

    fn of(slot: &Slot) -> SlotShape {
        SlotShape {
            has_value: slot.value.is_some(),
            has_layers: slot.has_layers(),
        }
    }

    fn is_bound(self) -> bool {
        self.has_value || self.has_layers
    }

    fn is_unset(self) -> bool {
        !self.has_value && self.has_layers
    }
}

/// Replaces the slot of `var` in `node`, in place when nobody else holds the node.
pub(crate) fn replace(node: &mut Option<NodeRef>, var: VarKey, slot: Slot) -> Garbage {
    let mut garbage = Garbage::default();
    if let Some(unshared) = node.as_mut().and_then(NodeRef::get_mut) {
        garbage._slot = unshared.replace(var, slot);
    } else {
        let mut copy = node.as_deref().map_or_else(Node::empty, Node::clone);
        garbage._slot = copy.replace(var, slot);
        garbage._node = node.replace(NodeRef::new(copy));
    }
    if node.as_ref().is_some_and(|node| node.map.is_empty()) {
        // Emptied, so there is nothing in it to drop.
        *node = None;
    }
    garbage
}

/// Replaces the value of `var` in `node`, if it has one and no guards, so that there is nothing to
/// be noted. Returns the old value, and the node that had it if others have that, too. Otherwise
/// `value` is still there.
#[inline]
pub(crate) fn swap_value(
    node: &mut NodeRef,
    var: VarKey,
    value: &mut Option<Value>,
) -> Option<(Value, Option<NodeRef>)> {
    if let Some(unshared) = NodeRef::get_mut(node) {
        return Some((unshared.swap_value(var, value)?, None));
    }
    let (old, copy) = node.swap_in_copy(var, value)?;
    Some((old, Some(mem::replace(node, copy))))
}

/// Puts a layer with `value` on the slot of `var`, in place, if nobody else holds the node, the
/// slot has a value, and there is nothing to be taken out of it. `None` if there is more to do;
/// then `value` is still there.
#[inline]
pub(crate) fn push_in_place(
    node: &mut NodeRef,
    var: VarKey,
    context: u64,
    value: &mut Option<Value>,
) -> Option<Arc<Guard>> {
    let node = NodeRef::get_mut(node)?;
    let slot = node.map.get_mut(var)?;
    if slot.value.is_none() || !slot.is_settled(context) {
        return None;
    }
    if !slot.has_layers() {
        node.layered.insert(var);
    }
    node.stamp = id::next();
    Some(slot.push(context, value.take()?, &mut node.spare))
}

/// Takes the layer of `guard`, which is about to end, off the slot of `var`, in place, if the layer
/// is on top, no other guard has ended, there was a value before it and has been one since, and
/// nobody else has the node or a layer of this guard. Returns the value that goes. `None` if there
/// is more to do; then `guard` is still there.
#[inline]
pub(crate) fn pop_in_place(
    node: &mut NodeRef,
    var: VarKey,
    guard: &mut Option<Arc<Guard>>,
) -> Option<Value> {
    let node = NodeRef::get_mut(node)?;
    let slot = node.map.get_mut(var)?;
    let value = slot.pop(guard, &mut node.spare)?;
    if !slot.has_layers() {
        node.layered.remove(var);
    }
    node.stamp = id::next();
    Some(value)
}

/// `node` for a copy of its context, if that has no guards.
#[inline]
pub(crate) fn quick_copy(node: &NodeRef) -> Option<NodeRef> {
    node.layered.is_empty().then(|| NodeRef::clone(node))
}

/// `node` as a new unit of work starts with it, if its context has neither guards nor `local`
/// variables.
#[inline]
pub(crate) fn quick_inherit(node: &NodeRef) -> Option<NodeRef> {
    let is_plain = node.layered.is_empty() && node.locals.is_empty();
    is_plain.then(|| NodeRef::clone(node))
}

/// `node` for a copy of `context`, in which the layers mean nothing: what is visible is what is
/// above them.
pub(crate) fn copy(node: &Option<NodeRef>, context: u64) -> Option<NodeRef> {
    let shared = node.as_ref()?;
    quick_copy(shared).or_else(|| copy_visible(shared, context))
}

fn copy_visible(shared: &NodeRef, context: u64) -> Option<NodeRef> {
    let stale: Vec<VarKey> = shared.stale(context).collect();
    if stale.is_empty() {
        return Some(NodeRef::clone(shared));
    }
    let mut node = Node::clone(shared);
    for var in stale {
        let visible = Slot::plain(shared.value(var, context).cloned());
        // The original still holds the slot, so nothing is dropped here.
        let _kept = node.replace(var, visible);
    }
    (!node.map.is_empty()).then(|| NodeRef::new(node))
}

/// `node` as a new unit of work starts with it: without the bindings of `local` variables.
pub(crate) fn inherit(node: &Option<NodeRef>, context: u64) -> Option<NodeRef> {
    let shared = copy(node, context)?;
    if shared.locals.is_empty() {
        return Some(shared);
    }
    let node = shared.without_locals();
    (!node.map.is_empty()).then(|| NodeRef::new(node))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_set_of_variables_grows_and_shrinks() {
        let mut vars = Vars::None;
        let mut expected = BTreeSet::new();
        let check = |vars: &Vars, expected: &BTreeSet<u64>| {
            let found: BTreeSet<u64> = vars.iter().map(VarKey::number).collect();
            assert_eq!(&found, expected);
            assert_eq!(
                (vars.len(), vars.iter().count(), vars.is_empty()),
                (expected.len(), expected.len(), expected.is_empty())
            );
        };
        let upwards: Vec<u64> = (1..=40).collect();
        let downwards = upwards.iter().rev().copied().collect();
        let mixed = upwards.iter().map(|number| number * 7 % 41).collect();
        for order in [upwards, downwards, mixed] {
            for (count, &number) in order.iter().enumerate() {
                vars.insert(VarKey::from_number(41 - number));
                assert!(expected.insert(41 - number));
                check(&vars, &expected);
                let is_flat = matches!(vars, Vars::Few(_));
                assert_eq!(is_flat, (2..=FEW).contains(&(count + 1)));
            }
            for &number in &order {
                vars.remove(VarKey::from_number(number));
                assert!(expected.remove(&number));
                check(&vars, &expected);
            }
        }
    }
}
