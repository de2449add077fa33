//! The companions that are registered: capturing what they have current, and entering it.

use std::any::TypeId;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::captured::{CapturedValue, Companions, Value};
use super::contract::Companion;
use super::thread;
use crate::catch::caught;
use crate::identity::{Captured, SharedCompanions};

/// A list that only grows, so that it is read without a lock.
static REGISTERED: Next = Next::new();

static ANY: AtomicBool = AtomicBool::new(false);

type Next = OnceLock<Box<Registered>>;

struct Registered {
    id: TypeId,
    companion: &'static dyn Erased,
    next: Next,
}

/// Whether any companion is registered.
#[inline(always)]
pub(crate) fn any() -> bool {
    // Whoever needs it to be ordered with something finds that in the list.
    ANY.load(Ordering::Relaxed)
}

pub(super) fn register<C: Companion>(companion: C) -> Result<(), ()> {
    let id = TypeId::of::<C>();
    let mut link = &REGISTERED;
    while let Some(registered) = link.get() {
        if registered.id == id {
            return Err(());
        }
        link = &registered.next;
    }
    let mut new = Box::new(Registered {
        id,
        companion: Box::leak(Box::new(companion)),
        next: Next::new(),
    });
    // Others may register theirs meanwhile.
    while let Err(back) = link.set(new) {
        match link.get() {
            Some(registered) if registered.id == id => return Err(()),
            Some(registered) => link = &registered.next,
            None => {}
        }
        new = back;
    }
    ANY.store(true, Ordering::Release);
    Ok(())
}

/// A [`Companion`] of any type.
trait Erased: Send + Sync {
    fn capture(&'static self) -> Option<Box<dyn Value>>;
    fn enter_none(&self, f: &mut dyn FnMut());
}

impl<C: Companion> Erased for C {
    fn capture(&'static self) -> Option<Box<dyn Value>> {
        let value = Companion::capture(self)?;
        Some(Box::new(BoundValue {
            companion: self,
            value,
        }))
    }

    fn enter_none(&self, f: &mut dyn FnMut()) {
        Companion::enter_none_in_frame(self, f);
    }
}

/// A companion's value, and the companion.
struct BoundValue<C: Companion> {
    companion: &'static C,
    value: C::Value,
}

impl<C: Companion> Value for BoundValue<C> {
    fn is_current(&self) -> bool {
        caught(|| self.companion.is_current(&self.value)).unwrap_or_default()
    }

    fn enter(&self, f: &mut dyn FnMut()) {
        self.companion.enter_in_frame(&self.value, f);
    }
}

fn registered() -> impl Iterator<Item = (usize, &'static Registered)> {
    let mut link = &REGISTERED;
    let next = move || {
        let registered = link.get()?;
        link = &registered.next;
        Some(&**registered)
    };
    std::iter::from_fn(next).enumerate()
}

fn capture_one(registered: &'static Registered) -> Option<Box<dyn Value>> {
    caught(|| registered.companion.capture()).flatten()
}

/// Captures what is current on this thread. `before` is what the current context has.
pub(crate) fn capture(before: Option<&SharedCompanions>) -> Captured {
    if !thread::may_call() {
        return Captured::No;
    }
    let captured = thread::capturing(|| capture_all(before));
    thread::called();
    captured.unwrap_or(Captured::No)
}

/// Each companion makes one value at most, as that may be something that others see: a span of a
/// trace, for example.
fn capture_all(before: Option<&SharedCompanions>) -> Captured {
    let mut rest = registered();
    let Some(before) = before else {
        return collect(rest.filter_map(capture_slot));
    };
    match rest.find_map(|registered| differing(before.get(), registered)) {
        None => Captured::Companions(before.clone()),
        Some((index, slot)) => {
            // Those before it are current, but a value belongs to one context.
            let same = registered().take(index).filter_map(capture_slot);
            let rest = rest.filter_map(capture_slot);
            collect(same.chain(slot).chain(rest))
        }
    }
}

fn collect(mut slots: impl Iterator<Item = CapturedValue>) -> Captured {
    match slots.next() {
        Some(first) => Captured::Companions(SharedCompanions::new(Companions {
            first,
            others: slots.collect(),
        })),
        None => Captured::Nothing,
    }
}

/// The place of this companion and what it has current, if that is not what `before` has of it.
fn differing(
    before: &Companions,
    registered: (usize, &'static Registered),
) -> Option<(usize, Option<CapturedValue>)> {
    let index = registered.0;
    let had = before.value(index);
    if had.is_some_and(Value::is_current) {
        return None;
    }
    let slot = capture_slot(registered);
    (had.is_some() || slot.is_some()).then_some((index, slot))
}

fn capture_slot((index, registered): (usize, &'static Registered)) -> Option<CapturedValue> {
    let value = Some(capture_one(registered)?);
    Some(CapturedValue { index, value })
}

/// Calls `f` while these companions are current, and nothing of the others is. `f` alone where no
/// companion may be called.
#[inline]
pub(crate) fn enter(companions: Option<&Companions>, f: &mut dyn FnMut()) {
    match REGISTERED.get() {
        // Mostly there is one, and only a call through a pointer is between it and `f`.
        Some(only) if only.next.get().is_none() && thread::has_called() => {
            only.enter(0, companions, f);
        }
        _ => enter_all(
            &|registered: &Registered, index, f: &mut dyn FnMut()| {
                registered.enter(index, companions, f)
            },
            f,
        ),
    }
}

/// Calls `f` inside of what `enter` enters for each companion, if they may be called.
fn enter_all(enter: &impl Fn(&Registered, usize, &mut dyn FnMut()), f: &mut dyn FnMut()) {
    match thread::may_call() {
        true => enter_from(&REGISTERED, 0, enter, f),
        false => f(),
    }
}

fn enter_from(
    link: &'static Next,
    index: usize,
    enter: &impl Fn(&Registered, usize, &mut dyn FnMut()),
    f: &mut dyn FnMut(),
) {
    let Some(registered) = link.get() else {
        // Their thread-locals are made by now. Without any, they are not yet.
        if index > 0 {
            thread::called();
        }
        return f();
    };
    enter(registered, index, &mut || {
        enter_from(&registered.next, index + 1, enter, f);
    });
}

/// The companions that are left alone, by their places; of the first 64.
#[derive(Clone, Copy, Default)]
pub(crate) struct LeftAlone(u64);

impl LeftAlone {
    fn one(index: usize) -> LeftAlone {
        let bit = u32::try_from(index)
            .ok()
            .and_then(|index| 1_u64.checked_shl(index));
        LeftAlone(bit.unwrap_or_default())
    }

    fn has(self, index: usize) -> bool {
        self.0 & LeftAlone::one(index).0 != 0
    }
}

/// The companions of whose values the ones here are current on this thread; up to the first of which
/// it is not. With that one, which is left, something else may become current of those after it, as
/// the spans of another subscriber.
pub(crate) fn current_among(companions: &Companions) -> LeftAlone {
    if !thread::may_call() {
        return LeftAlone::default();
    }
    let current = companions.slots().take_while(|slot| {
        let value = slot.value.as_deref();
        value.is_some_and(Value::is_current)
    });
    // What is captured and dropped to answer that has no companions, of which to ask the same.
    let left_alone =
        thread::capturing(|| current.fold(0, |bits, slot| bits | LeftAlone::one(slot.index).0));
    thread::called();
    left_alone.map(LeftAlone).unwrap_or_default()
}

/// Calls `f` while what is current of the companions in `left_alone` stays so, and nothing of the
/// others is.
pub(crate) fn enter_none_but(left_alone: LeftAlone, f: &mut dyn FnMut()) {
    let enter = |registered: &Registered, index, f: &mut dyn FnMut()| match left_alone.has(index) {
        true => f(),
        false => registered.companion.enter_none(f),
    };
    enter_all(&enter, f);
}

impl Registered {
    /// Calls `f` while what the companions have for this one is current.
    #[inline]
    fn enter(&self, index: usize, companions: Option<&Companions>, f: &mut dyn FnMut()) {
        match companions.and_then(|companions| companions.value(index)) {
            Some(value) => value.enter(f),
            None => self.companion.enter_none(f),
        }
    }
}
