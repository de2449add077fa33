//! [`Companions`]: what a context has captured.

use std::fmt;

use crate::contain::contain;

/// A companion's value, with its companion.
pub(super) trait Value: Send + Sync {
    fn is_current(&self) -> bool;
    fn enter(&self, f: &mut dyn FnMut());
}

/// What was captured of each companion that had something current: at least of one.
pub(crate) struct Companions {
    /// Mostly the only one.
    pub(super) first: Slot,
    pub(super) others: Vec<Slot>,
}

/// The value, and which companion's it is, in the order of their registration.
pub(super) struct Slot {
    pub(super) index: usize,
    pub(super) value: Option<Box<dyn Value>>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let value = self.value.take();
        contain(|| drop(value));
    }
}

impl fmt::Debug for Companions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Companions { .. }")
    }
}

impl Companions {
    pub(super) fn value(&self, index: usize) -> Option<&dyn Value> {
        let slot = match self.first.index == index {
            true => &self.first,
            false => self.others.iter().find(|slot| slot.index == index)?,
        };
        slot.value.as_deref()
    }
}
