//! What a context knows of one variable: its value, and the guards that are live on it.

use std::sync::Arc;

use crate::node::Value;
use crate::sync::atomic::{AtomicBool, Ordering};

#[derive(Clone, Default)]
pub(crate) struct Slot {
    /// `None` under a live guard whose variable was unset; such a slot does not count as set.
    pub(crate) value: Option<Value>,
    pub(crate) layers: Option<Arc<Layers>>,
}

/// The guards of one variable in one context, the innermost last.
///
/// Layers belong to the context in which they were pushed. A copy of that context shares the slot, but
/// its id differs, and there the layers mean nothing: the value under them is a plain value.
///
/// A guard may be dropped where its context is out of reach. That ends its layer all the same: reading passes
/// over layers that have ended, and the next write takes them out.
#[derive(Clone)]
pub(crate) struct Layers {
    context: u64,
    stack: Vec<Layer>,
}

#[derive(Clone)]
struct Layer {
    live: Live,
    /// The value of the variable when the layer was pushed, which is what comes back when it ends.
    below: Option<Value>,
}

/// Whether a guard is live; shared by the guard and its layer.
#[derive(Clone, Debug)]
pub(crate) struct Live(Arc<AtomicBool>);

impl Live {
    pub(crate) fn new() -> Live {
        Live(Arc::new(AtomicBool::new(true)))
    }

    /// The guard is gone.
    pub(crate) fn end(&self) {
        self.0.store(false, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Slot {
    pub(crate) fn plain(value: Option<Value>) -> Slot {
        Slot {
            value,
            layers: None,
        }
    }

    /// Whether there is a value, and no guards.
    pub(crate) fn is_plain(&self) -> bool {
        self.value.is_some() && self.layers.is_none()
    }

    /// The layers that belong to `context`.
    fn layers_of(&self, context: u64) -> Option<&Arc<Layers>> {
        self.layers
            .as_ref()
            .filter(|layers| layers.context == context)
    }

    /// The value as `context` sees it: that of the innermost layer which is live, or what was set above it.
    pub(crate) fn visible(&self, context: u64) -> Option<&Value> {
        let mut value = &self.value;
        if let Some(layers) = self.layers_of(context) {
            for layer in layers.stack.iter().rev() {
                if layer.live.get() {
                    break;
                }
                value = &layer.below;
            }
        }
        value.as_ref()
    }

    /// Whether a layer of `context` has ended and not been taken out.
    pub(crate) fn is_stale(&self, context: u64) -> bool {
        self.layers_of(context)
            .is_some_and(|layers| !layers.stack.iter().all(|layer| layer.live.get()))
    }

    /// This slot as it means something in `context`: without layers of others, and without those that have
    /// ended.
    pub(crate) fn settled(&self, context: u64) -> Slot {
        let Some(layers) = self.layers_of(context) else {
            return Slot::plain(self.value.clone());
        };
        if !self.is_stale(context) {
            return self.clone();
        }
        let mut stack = Vec::new();
        // What an ended layer had below is what the next one above it has below.
        let mut handed_up = None;
        for layer in &layers.stack {
            let below = handed_up.take().unwrap_or_else(|| layer.below.clone());
            if layer.live.get() {
                let live = layer.live.clone();
                stack.push(Layer { live, below });
            } else {
                handed_up = Some(below);
            }
        }
        Slot {
            value: handed_up.unwrap_or_else(|| self.value.clone()),
            layers: (!stack.is_empty()).then(|| Arc::new(Layers { context, stack })),
        }
    }

    /// This slot, which is settled, with another value, as a plain `set` or `unset` leaves it.
    pub(crate) fn with_value(mut self, value: Option<Value>) -> Slot {
        self.value = value;
        self
    }

    /// This slot, which is settled, with a new layer on top that has `value`.
    pub(crate) fn push_layer(self, context: u64, live: Live, value: Value) -> Slot {
        let mut stack = match &self.layers {
            Some(layers) => layers.stack.clone(),
            None => Vec::with_capacity(1),
        };
        let below = self.value;
        stack.push(Layer { live, below });
        Slot {
            value: Some(value),
            layers: Some(Arc::new(Layers { context, stack })),
        }
    }
}
