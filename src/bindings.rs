//! A persistent map from variables to slots: flat while it is small, as most contexts are, and a
//! tree from then on.

use std::mem;

use rpds::HashTrieMapSync;

use crate::id::{BuildIdHasher, VarKey};
use crate::slot::Slot;

/// How many slots are kept flat. A tree has to copy as many pointers for a change.
const FEW: usize = 16;

/// Children of a node of the tree: with ids as hashes, the fastest degree for contexts of ordinary
/// size.
pub(crate) const DEGREE: u8 = 16;

#[derive(Clone)]
pub(crate) enum Bindings {
    /// In the order in which the variables were set first.
    Few(Vec<(VarKey, Slot)>),
    Many(HashTrieMapSync<VarKey, Slot, BuildIdHasher>),
}

impl Bindings {
    pub(crate) const fn new() -> Bindings {
        Bindings::Few(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Bindings::Few(slots) => slots.len(),
            Bindings::Many(slots) => slots.size(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(crate) fn get(&self, var: VarKey) -> Option<&Slot> {
        match self {
            Bindings::Few(slots) => {
                let found = slots.iter().find(|(id, _)| *id == var);
                found.map(|(_, slot)| slot)
            }
            Bindings::Many(slots) => slots.get(&var),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, var: VarKey) -> Option<&mut Slot> {
        match self {
            Bindings::Few(slots) => {
                let found = slots.iter_mut().find(|(id, _)| *id == var);
                found.map(|(_, slot)| slot)
            }
            Bindings::Many(slots) => slots.get_mut(&var),
        }
    }

    /// Returns the slot that the variable had.
    pub(crate) fn insert(&mut self, var: VarKey, slot: Slot) -> Option<Slot> {
        if let Some(old) = self.get_mut(var) {
            return Some(mem::replace(old, slot));
        }
        if let Bindings::Few(slots) = self {
            if slots.len() < FEW {
                // Copies are made at their exact size, and most are not added to.
                slots.reserve_exact(1);
                slots.push((var, slot));
                return None;
            }
            let mut tree = HashTrieMapSync::new_with_hasher_and_degree_and_ptr_kind(
                BuildIdHasher::default(),
                DEGREE,
            );
            for (var, slot) in mem::take(slots) {
                tree.insert_mut(var, slot);
            }
            *self = Bindings::Many(tree);
        }
        if let Bindings::Many(slots) = self {
            slots.insert_mut(var, slot);
        }
        None
    }

    /// Returns the slot that the variable had.
    pub(crate) fn remove(&mut self, var: VarKey) -> Option<Slot> {
        match self {
            Bindings::Few(slots) => {
                let place = slots.iter().position(|(id, _)| *id == var)?;
                Some(slots.remove(place).1)
            }
            Bindings::Many(slots) => {
                let old = mem::take(slots.get_mut(&var)?);
                slots.remove_mut(&var);
                Some(old)
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (VarKey, &Slot)> {
        let (few, many) = match self {
            Bindings::Few(slots) => (Some(slots), None),
            Bindings::Many(slots) => (None, Some(slots)),
        };
        let few = few.into_iter().flatten().map(|(var, slot)| (*var, slot));
        let many = many.into_iter().flat_map(|slots| slots.iter());
        few.chain(many.map(|(var, slot)| (*var, slot)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ptr;

    use super::*;
    use crate::name::Name;
    use crate::value::Stored;

    fn slot() -> Slot {
        let stored = Stored {
            name: Name::fixed("variable"),
            debug: None,
            value: Some(0_u8),
        };
        Slot::plain(Some(stored.into_value()))
    }

    /// Which value it is.
    fn identity(slot: &Slot) -> Option<*const ()> {
        slot.value
            .as_ref()
            .map(|value| ptr::from_ref(&**value).cast())
    }

    /// Random insertions and removals, with copies that must stay as they were, around the size at
    /// which the map changes form.
    #[test]
    fn behaves_as_a_plain_map_in_both_forms() {
        let mut random = fastrand::Rng::with_seed(7);
        for keys in [3, FEW as u64, 2 * FEW as u64, 200] {
            let mut copies: Vec<(Bindings, BTreeMap<u64, Option<*const ()>>)> = Vec::new();
            let (mut map, mut model) = (Bindings::new(), BTreeMap::new());
            let keyed = |key| VarKey::new(key, false);
            for step in 0..3_000 {
                let key = random.u64(1..=keys);
                if random.u8(..) < 160 {
                    let slot = slot();
                    let expected = model.insert(key, identity(&slot));
                    assert_eq!(
                        map.insert(keyed(key), slot).as_ref().map(identity),
                        expected
                    );
                } else {
                    assert_eq!(
                        map.remove(keyed(key)).as_ref().map(identity),
                        model.remove(&key)
                    );
                }
                if step % 100 == 0 {
                    copies.push((map.clone(), model.clone()));
                }
                assert_eq!(map.len(), model.len());
                assert_eq!(map.is_empty(), model.is_empty());
            }
            copies.push((map, model));
            for (mut map, model) in copies {
                assert_eq!(map.iter().count(), model.len());
                for key in 0..=keys {
                    let expected = model.get(&key).copied();
                    assert_eq!(map.get(VarKey::new(key, false)).map(identity), expected);
                    assert_eq!(
                        map.get_mut(VarKey::new(key, false))
                            .map(|slot| identity(slot)),
                        expected
                    );
                }
            }
        }
    }
}
