//! The companions that are registered: capturing what they have current, and entering it.

use std::any::TypeId;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::captured::{Companions, Slot, Value};
use super::contract::Companion;
use super::thread;
use crate::catch::caught;
use crate::identity::{Captured, SharedCompanions};

/// A list that only grows, so that it is read without a lock.
static REGISTERED: Link = Link::new();

static ANY: AtomicBool = AtomicBool::new(false);

type Link = OnceLock<Box<Registered>>;

struct Registered {
    id: TypeId,
    companion: &'static dyn Erased,
    next: Link,
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
        next: Link::new(),
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
        Some(Box::new(Held {
            companion: self,
            value,
        }))
    }

    fn enter_none(&self, f: &mut dyn FnMut()) {
        Companion::enter_none(self, f);
    }
}

/// A companion's value, and the companion.
struct Held<C: Companion> {
    companion: &'static C,
    value: C::Value,
}

impl<C: Companion> Value for Held<C> {
    fn is_current(&self) -> bool {
        caught(|| self.companion.is_current(&self.value)).unwrap_or_default()
    }

    fn enter(&self, f: &mut dyn FnMut()) {
        self.companion.enter_unless_current(&self.value, f);
    }
}

/// Whether a capture would find the same.
fn are_current(companions: &Companions) -> bool {
    registered().all(|(index, registered)| match companions.value(index) {
        Some(value) => value.is_current(),
        None => capture_one(registered).is_none(),
    })
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
    let captured = thread::capturing(|| match before {
        Some(before) if are_current(before.get()) => Captured::Companions(before.clone()),
        _ => capture_all(),
    });
    thread::called();
    captured.unwrap_or(Captured::No)
}

fn capture_all() -> Captured {
    let mut slots = registered().filter_map(|(index, registered)| {
        let value = Some(capture_one(registered)?);
        Some(Slot { index, value })
    });
    match slots.next() {
        Some(first) => Captured::Companions(SharedCompanions::new(Companions {
            first,
            others: slots.collect(),
        })),
        None => Captured::Nothing,
    }
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
        _ if thread::may_call() => enter_all(&REGISTERED, 0, companions, f),
        _ => f(),
    }
}

fn enter_all(
    link: &'static Link,
    index: usize,
    companions: Option<&Companions>,
    f: &mut dyn FnMut(),
) {
    let Some(registered) = link.get() else {
        // Their thread-locals are made by now. Without any, they are not yet.
        if index > 0 {
            thread::called();
        }
        return f();
    };
    registered.enter(index, companions, &mut || {
        enter_all(&registered.next, index + 1, companions, f);
    });
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
