//! Entering contexts, with what was captured with them.

use std::any::Any;
use std::mem::ManuallyDrop;
use std::panic::{self, AssertUnwindSafe};

use super::kind::{Kind, Origin, Owner, Users};
use super::thread::contexts;
use crate::catch::catch;
use crate::companion::captured::Companions;
use crate::companion::{self, LeftAlone};
use crate::context::Context;

/// How a frame is entered: who may use it, and the scope that it has for what the shim keeps beside
/// the context. The core only passes the scope on.
#[derive(Clone, Copy)]
pub(crate) struct Entering<'a> {
    owner: Owner,
    /// Without one, the frame shares that of the frame around it.
    pub(super) scope: Option<&'a dyn Any>,
    /// Whether it is for a drop: the companions' panics stay here then, and what is called inside
    /// is called all the same.
    pub(super) is_drop: bool,
}

impl<'a> Entering<'a> {
    #[inline]
    pub(crate) fn new(owner: Owner, scope: Option<&'a dyn Any>) -> Entering<'a> {
        Entering {
            owner,
            scope,
            is_drop: false,
        }
    }

    /// For a call, in the scope around it.
    #[inline]
    pub(crate) fn call() -> Entering<'a> {
        Entering::new(Owner::Call, None)
    }

    /// The same for a drop.
    #[inline]
    pub(crate) fn to_drop(self) -> Self {
        Entering {
            is_drop: true,
            ..self
        }
    }

    /// Who may use the frame.
    #[inline]
    pub(crate) fn users(&self) -> Users {
        self.owner.users()
    }
}

/// Calls `f` while `context` is current; then `context` has what was set inside.
#[inline]
pub(crate) fn enter<R>(context: &mut Context, entering: Entering<'_>, f: impl FnOnce() -> R) -> R {
    if context.identity().is_marked() {
        return enter_marked(context, entering, f);
    }
    enter_alone(context, entering, f)
}

/// The same for a context that is not marked: nothing is to be done about companions.
#[inline]
pub(crate) fn enter_alone<R>(
    context: &mut Context,
    entering: Entering<'_>,
    f: impl FnOnce() -> R,
) -> R {
    debug_assert!(!context.identity().is_marked());
    let made;
    let kind = match entering.owner {
        Owner::Task => Kind::POLL,
        owner => {
            // It has nothing to drop.
            made = ManuallyDrop::new(Kind::new(owner.users()));
            &*made
        }
    };
    enter_frame(context, kind, entering.scope, f)
}

/// The same for a context that is marked.
#[cold]
#[inline(never)]
fn enter_marked<R>(context: &mut Context, entering: Entering<'_>, f: impl FnOnce() -> R) -> R {
    by_pointer(f, |f| enter_accompanied(context, entering, f))
}

/// Calls `f` in a frame of this kind for `context`, which has no companions.
#[inline]
pub(super) fn enter_as<R>(
    context: &mut Context,
    kind: &Kind,
    scope: Option<&dyn Any>,
    is_drop: bool,
    f: impl FnOnce() -> R,
) -> R {
    debug_assert!(!context.identity().has_companions());
    if context.identity().is_marked() {
        return by_pointer(f, |f| enter_apart(context, kind, scope, is_drop, f));
    }
    enter_frame(context, kind, scope, f)
}

/// Calls `f` in a frame for `context`, and leaves the companions alone.
#[inline]
fn enter_frame<R>(
    context: &mut Context,
    kind: &Kind,
    scope: Option<&dyn Any>,
    f: impl FnOnce() -> R,
) -> R {
    let is_for_all = kind.users.may_all_read();
    contexts().enter(context, kind, is_for_all, scope, f)
}

/// Has `call` call `f`, once, by a pointer, and returns what `f` returns.
#[inline]
fn by_pointer<R>(f: impl FnOnce() -> R, call: impl FnOnce(&mut dyn FnMut())) -> R {
    let (mut f, mut result) = (Some(f), None);
    call(&mut || {
        if let Some(f) = f.take() {
            result = Some(f());
        }
    });
    match result {
        Some(result) => result,
        None => unreachable!("`Companion::enter` returns what its closure returns"),
    }
}

/// Calls `f` in a frame for `context` while its companions are current, and nothing of the others
/// is.
#[inline(never)]
fn enter_accompanied(context: &mut Context, entering: Entering<'_>, f: &mut dyn FnMut()) {
    /// Puts the companions back into the context when it has been left.
    struct Entered<'a> {
        context: &'a mut Context,
        kind: Kind,
    }
    impl Drop for Entered<'_> {
        #[inline]
        fn drop(&mut self) {
            if let Origin::Accompanied(companions) = &mut self.kind.origin {
                if let Some(companions) = companions.take() {
                    self.context.identity_mut().put_back(companions);
                }
            }
        }
    }
    let Entering { scope, is_drop, .. } = entering;
    let Some(companions) = context.identity_mut().take_companions() else {
        return enter_apart(context, &Kind::new(entering.users()), scope, is_drop, f);
    };
    let entered = Entered {
        context,
        kind: Kind {
            // Found here, and not passed: a copy would wait until its source has been stored, which
            // takes as long as half of all this.
            users: entering.users(),
            origin: Origin::Accompanied(Some(companions)),
        },
    };
    let kind = &entered.kind;
    enter_frame(entered.context, kind, scope, || {
        let companions = match &kind.origin {
            Origin::Accompanied(Some(companions)) => Some(companions.get()),
            _ => None,
        };
        call_accompanied(companions, is_drop, f);
    });
}

/// The same for a context without companions: nothing is current.
fn enter_apart(
    context: &mut Context,
    kind: &Kind,
    scope: Option<&dyn Any>,
    is_drop: bool,
    f: &mut dyn FnMut(),
) {
    enter_frame(context, kind, scope, || call_accompanied(None, is_drop, f));
}

/// Calls `f` while these companions are current, and nothing of the others is.
#[inline]
fn call_accompanied(companions: Option<&Companions>, is_drop: bool, f: &mut dyn FnMut()) {
    match is_drop {
        false => companion::enter(companions, f),
        true => drop_inside(|f| companion::enter(companions, f), f),
    }
}

/// Calls `f` in a frame for `context`, which has no companions, to drop something. If it is marked,
/// nothing of the companions is current there but what is of those in `left_alone`.
pub(super) fn enter_to_drop(
    context: &mut Context,
    owner: Owner,
    left_alone: LeftAlone,
    f: &mut dyn FnMut(),
) {
    debug_assert!(!context.identity().has_companions());
    let is_marked = context.identity().is_marked();
    enter_frame(
        context,
        &Kind::new(owner.users()),
        None,
        || match is_marked {
            true => drop_inside(|f| companion::enter_none_but(left_alone, f), f),
            false => f(),
        },
    );
}

/// Calls `f` by way of companions. Their panics stay here, and those of `f` go on.
#[cold]
fn drop_inside(by: impl FnOnce(&mut dyn FnMut()), f: &mut dyn FnMut()) {
    let mut outcome = None;
    catch(|| {
        by(&mut || {
            outcome = Some(panic::catch_unwind(AssertUnwindSafe(&mut *f)));
        });
    });
    match outcome {
        None => f(),
        Some(Ok(())) => {}
        Some(Err(payload)) => panic::resume_unwind(payload),
    }
}
