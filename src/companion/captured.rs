//! [`Companions`]: what a context has captured.

use std::iter;
use std::slice;

use super::thread;
use crate::catch::catch;

/// A companion's value, with its companion.
pub(super) trait Value: Send + Sync {
    fn is_current(&self) -> bool;
    /// Unless it is current already.
    fn enter(&self, f: &mut dyn FnMut());
}

/// What was captured of each companion that had something current: at least of one.
pub(crate) struct Companions {
    /// Mostly the only one.
    pub(super) first: CapturedValue,
    pub(super) others: Vec<CapturedValue>,
}

/// The value, and which companion's it is, in the order of their registration.
pub(super) struct CapturedValue {
    pub(super) index: usize,
    pub(super) value: Option<Box<dyn Value>>,
}

impl Drop for CapturedValue {
    fn drop(&mut self) {
        self.drop_value();
    }
}

/// Each is dropped while those that were registered before it are current, as where it is entered:
/// closing a span, for example, asks for the current subscriber. (The context's own destructor has
/// entered the context.)
impl Drop for Companions {
    fn drop(&mut self) {
        if !self.others.is_empty() && thread::may_call() {
            let others = &mut self.others;
            drop_inside(slice::from_mut(&mut self.first), &mut || {
                drop_inside(others, &mut || ());
            });
            thread::called();
        }
    }
}

/// Drops the values from the last to the first, each inside those before it, and calls `f` inside
/// of all.
fn drop_inside(slots: &mut [CapturedValue], f: &mut dyn FnMut()) {
    let Some((slot, rest)) = slots.split_first_mut() else {
        return f();
    };
    if let Some(value) = &slot.value {
        catch(|| value.enter(&mut || drop_inside(rest, f)));
    }
    slot.drop_value();
}

impl CapturedValue {
    fn drop_value(&mut self) {
        let value = self.value.take();
        catch(|| drop(value));
    }
}

impl Companions {
    pub(super) fn slots(&self) -> impl Iterator<Item = &CapturedValue> {
        iter::once(&self.first).chain(&self.others)
    }

    pub(super) fn value(&self, index: usize) -> Option<&dyn Value> {
        let slot = match self.first.index == index {
            true => &self.first,
            false => self.others.iter().find(|slot| slot.index == index)?,
        };
        slot.value.as_deref()
    }
}
