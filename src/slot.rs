//! What a context knows of one variable: its value, and the guards that are live on it.
//!
//! Each guard has a layer. The layers of a slot are a list, the innermost first, which slots share
//! as persistent maps share their nodes: a copy of a slot is a count, and a layer never changes
//! once others may see it.
//!
//! ```text
//! Slot { value: 3, layers } ──> Layer { below: 2, next } ──> Layer { below: 1, next: None }
//!        set, or a guard's             │ guard of 3                  │ guard of 2
//! ```
//!
//! What is below a layer is the value that the variable had when the guard was made, and has again
//! when it ends. Most guards end where they were made and as the innermost, with a layer that
//! nobody else has: that takes it off at once. But a guard may end anywhere: in the middle of the
//! list, and where its context is out of reach. That marks its layer as ended, and all goes on from
//! there:
//! - Reading passes over ended layers.
//! - A write takes them out. Those on top cost a step each. Those in the middle cost a new list, so
//!   that they may stay, if there are many layers, until they are half of them: then each of them
//!   has paid for two steps.

use std::iter;
use std::mem;
use std::sync::PoisonError;

use triomphe::{Arc, UniqueArc};

use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::value::Value;

#[derive(Clone, Default)]
pub(crate) struct Slot {
    /// `None` under a live guard whose variable was unset; such a slot does not count as set.
    pub(crate) value: Option<Value>,
    layers: Option<Arc<Layer>>,
}

/// The place of a guard in one variable of one context.
///
/// It belongs to the context in which the guard was made. A copy of that context shares the slot,
/// but its id differs, and there the layers mean nothing: the value above them is a plain value.
struct Layer {
    context: u64,
    guard: Arc<Guard>,
    /// The value of the variable when the guard was made.
    below: Option<Value>,
    next: Option<Arc<Layer>>,
    /// How many layers there are from here on.
    depth: usize,
    /// A layer further down that has ended, as have this one and all between them. `None` if there
    /// is none, or nobody has asked.
    lower_ended: Mutex<Option<Arc<Layer>>>,
}

/// What a guard shares with its layer, and with the copies of that which lists without ended layers
/// are made of. Keeps no value.
pub(crate) struct Guard {
    is_live: AtomicBool,
    /// In the guard that was the first of its list: how many layers of the list have ended and not
    /// been taken out.
    ended: AtomicUsize,
    /// `None` in that guard itself.
    first: Option<Arc<Guard>>,
}

impl Guard {
    /// A guard that begins above `next`.
    fn above(next: Option<&Layer>) -> Arc<Guard> {
        let first = next.map(|top| match &top.guard.first {
            Some(first) => Arc::clone(first),
            None => Arc::clone(&top.guard),
        });
        Arc::new(Guard {
            is_live: AtomicBool::new(true),
            ended: AtomicUsize::new(0),
            first,
        })
    }

    fn ended(&self) -> &AtomicUsize {
        match &self.first {
            Some(first) => &first.ended,
            None => &self.ended,
        }
    }

    /// The guard is gone, or has no effect any more.
    pub(crate) fn end(&self) {
        if !self.is_live() {
            return;
        }
        self.ended().fetch_add(1, Ordering::Relaxed);
        // Released, and acquired by whoever finds it so: then the count above is known, too.
        self.is_live.store(false, Ordering::Release);
    }

    fn is_live(&self) -> bool {
        self.is_live.load(Ordering::Acquire)
    }
}

impl Layer {
    /// A layer of `guard`, above `next`.
    fn new(
        context: u64,
        guard: &Arc<Guard>,
        below: Option<Value>,
        next: Option<Arc<Layer>>,
    ) -> UniqueArc<Layer> {
        UniqueArc::new(Layer {
            context,
            guard: Arc::clone(guard),
            below,
            depth: next.as_ref().map_or(1, |next| next.depth + 1),
            next,
            lower_ended: Mutex::default(),
        })
    }

    /// This layer and those below.
    fn iter(&self) -> impl Iterator<Item = &Layer> {
        iter::successors(Some(self), |layer| layer.next.as_deref())
    }

    /// The lowest of the layers that have ended, from `this` on, which has, down to the first
    /// that is live. The way is kept for the next one who asks: amortised, a call takes logarithmic
    /// time.
    fn lowest_ended(this: &Arc<Layer>) -> Arc<Layer> {
        let mut lowest = Arc::clone(this);
        let mut passed = Vec::new();
        while let Some(lower) = lowest.next_ended() {
            passed.push(mem::replace(&mut lowest, lower));
        }
        for layer in passed {
            let lower = Some(Arc::clone(&lowest));
            // Not the last reference to the one before: the list has another.
            drop(mem::replace(&mut *layer.lower_ended(), lower));
        }
        lowest
    }

    fn next_ended(&self) -> Option<Arc<Layer>> {
        let known = self.lower_ended().clone();
        known.or_else(|| self.next.clone().filter(|next| !next.guard.is_live()))
    }

    fn lower_ended(&self) -> MutexGuard<'_, Option<Arc<Layer>>> {
        self.lower_ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the rest of the list out, to be dropped.
    fn take_next(&mut self) -> Option<Arc<Layer>> {
        // Dropped while the list keeps that layer: it is not the last reference.
        let lower = self.lower_ended.get_mut();
        drop(lower.unwrap_or_else(PoisonError::into_inner).take());
        self.next.take()
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        // Not by recursion: the list may be longer than the machine stack.
        let mut next = self.take_next();
        while let Some(mut layer) = next.and_then(Arc::into_unique) {
            next = layer.take_next();
        }
    }
}

/// What the last guard had that was the only one on its variable, if that had a value before, for
/// the next such one: most come one after another, and need not allocate.
///
/// Nobody but the layer has the guard, which is live; the layer has no value and none below it. A
/// copy of the bindings starts without. Not in a thread-local: that would have a destructor, which
/// an allocator may not register first on older compilers.
#[derive(Default)]
pub(crate) struct Spare(Option<(UniqueArc<Layer>, Arc<Guard>)>);

impl Clone for Spare {
    fn clone(&self) -> Spare {
        Spare::default()
    }
}

/// Up to as many layers are looked through at each write.
const FEW: usize = 8;

impl Slot {
    pub(crate) fn plain(value: Option<Value>) -> Slot {
        Slot {
            value,
            layers: None,
        }
    }

    /// Whether there is a value, and no guards.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.value.is_some() && self.layers.is_none()
    }

    pub(crate) fn has_layers(&self) -> bool {
        self.layers.is_some()
    }

    /// The layers that belong to `context`.
    fn layers_of(&self, context: u64) -> Option<&Arc<Layer>> {
        self.layers
            .as_ref()
            .filter(|layer| layer.context == context)
    }

    /// The value as `context` sees it: that of the innermost layer which is live, or what was set
    /// above it.
    pub(crate) fn visible(&self, context: u64) -> Option<&Value> {
        let mut value = &self.value;
        if let Some(top) = self.layers_of(context) {
            let ended = top.iter().take_while(|layer| !layer.guard.is_live());
            if let Some(lowest) = ended.last() {
                value = &lowest.below;
            }
        }
        value.as_ref()
    }

    /// The same, of a slot that is used up: a token's, of which many may have been made under the
    /// same guards.
    #[inline]
    pub(crate) fn into_visible(self, context: u64) -> Option<Value> {
        match self.layers {
            None => self.value,
            Some(_) => self.into_visible_of_layers(context),
        }
    }

    fn into_visible_of_layers(mut self, context: u64) -> Option<Value> {
        match self.layers_of(context) {
            Some(top) if !top.guard.is_live() => Layer::lowest_ended(top).below.clone(),
            _ => self.value.take(),
        }
    }

    /// Ends the guards that are live in `context`.
    pub(crate) fn end_guards(&self, context: u64) {
        let layers = self
            .layers_of(context)
            .into_iter()
            .flat_map(|top| top.iter());
        layers.for_each(|layer| layer.guard.end());
    }

    /// Whether another value is visible to `context` than the one above all layers.
    pub(crate) fn is_stale(&self, context: u64) -> bool {
        self.layers_of(context)
            .is_some_and(|top| !top.guard.is_live())
    }

    /// Makes this slot mean the same in `context` as it does, without layers of others and, as far
    /// as that pays, without those that have ended. If that changes anything, returns the slot as
    /// it was, for the caller to drop.
    #[inline]
    pub(crate) fn settle(&mut self, context: u64) -> Option<Slot> {
        if self.is_settled(context) {
            return None;
        }
        self.settle_layers(context)
    }

    fn settle_layers(&mut self, context: u64) -> Option<Slot> {
        let before = self.clone();
        let Some(top) = self.layers_of(context) else {
            self.layers = None;
            return Some(before);
        };
        let count = Arc::clone(&top.guard);
        let count = count.ended();
        // Those on top.
        while let Some(top) = self.layers.take_if(|top| !top.guard.is_live()) {
            count.fetch_sub(1, Ordering::Relaxed);
            self.value = top.below.clone();
            self.layers = top.next.clone();
        }
        if let Some(top) = &self.layers {
            let is_worth = top.depth <= FEW || count.load(Ordering::Relaxed) * 2 > top.depth;
            if is_worth && top.iter().any(|layer| !layer.guard.is_live()) {
                let (layers, below) = without_ended(top);
                if let Some(below) = below {
                    self.value = below;
                }
                self.layers = layers;
            }
        }
        let is_same = match (&before.layers, &self.layers) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            _ => false,
        };
        (!is_same).then_some(before)
    }

    /// Puts a layer on top that has `value`: the one in `spare`, if it is the only one. The slot is
    /// settled.
    pub(crate) fn push(&mut self, context: u64, value: Value, spare: &mut Spare) -> Arc<Guard> {
        let below = self.value.replace(value);
        let next = self.layers.take();
        let (layer, guard) = match spare.0.take_if(|_| next.is_none()) {
            Some((mut layer, guard)) => {
                layer.context = context;
                layer.below = below;
                (layer, guard)
            }
            None => {
                let guard = Guard::above(next.as_deref());
                (Layer::new(context, &guard, below, next), guard)
            }
        };
        self.layers = Some(layer.shareable());
        guard
    }

    /// Whether there is nothing for [`settle`](Self::settle) to do.
    #[inline]
    pub(crate) fn is_settled(&self, context: u64) -> bool {
        self.layers.as_ref().is_none_or(|top| {
            top.context == context && top.guard.ended().load(Ordering::Acquire) == 0
        })
    }

    /// Takes the layer on top off, if it is `guard`'s, which is about to end, no other has ended,
    /// nobody else has the layer or another of this guard, and there was a value before. Returns
    /// the value that it had; `None` if there is more to do, or it had none. Then `guard` is still
    /// there.
    ///
    /// It need not be marked as ended, and goes to `spare` with its layer if it was the only one.
    /// If a token has the list, it must be marked, also if it is the list as it was before a layer
    /// in the middle was taken out.
    #[inline]
    pub(crate) fn pop(
        &mut self,
        guard: &mut Option<Arc<Guard>>,
        spare: &mut Spare,
    ) -> Option<Value> {
        let top = self.layers.as_mut()?;
        let ended = guard.as_ref()?;
        // Its owner and this layer have it.
        let is_nowhere_else = Arc::count(ended) == 2;
        if !Arc::ptr_eq(&top.guard, ended) || !is_nowhere_else {
            return None;
        }
        if ended.ended().load(Ordering::Acquire) != 0 {
            return None;
        }
        let layer = Arc::get_mut(top)?;
        if layer.below.is_none() || self.value.is_none() {
            return None;
        }
        let value = mem::replace(&mut self.value, layer.below.take());
        let is_only = ended.first.is_none();
        let next = layer.next.take();
        let taken = mem::replace(&mut self.layers, next);
        if is_only {
            let layer = taken.and_then(Arc::into_unique);
            if let (Some(layer), Some(guard)) = (layer, guard.take()) {
                spare.0 = Some((layer, guard));
            }
        }
        value
    }
}

/// The list from `top` on without the layers that have ended, and the value above it if `top` is
/// one of these.
///
/// What an ended layer had below is what the next one above it has below. Each layer is asked once:
/// it may end in between.
fn without_ended(top: &Layer) -> (Option<Arc<Layer>>, Option<Option<Value>>) {
    let mut layers: Vec<&Layer> = top.iter().collect();
    let mut kept: Option<Arc<Layer>> = None;
    let mut handed_up: Option<&Option<Value>> = None;
    while let Some(layer) = layers.pop() {
        let below = handed_up.take().unwrap_or(&layer.below);
        if !layer.guard.is_live() {
            layer.guard.ended().fetch_sub(1, Ordering::Relaxed);
            handed_up = Some(below);
            continue;
        }
        let copy = Layer::new(layer.context, &layer.guard, below.clone(), kept);
        kept = Some(copy.shareable());
    }
    (kept, handed_up.cloned())
}
