//! What is read and written in the current context, and copies of it.

use std::mem;
use std::ptr::NonNull;

use triomphe::Arc;

use super::kind::{Origin, Users};
use super::thread::{contexts, free_at_thread_exit, glance};
use crate::companion;
use crate::context::Context;
use crate::error::SetErrorKind;
use crate::id::VarKey;
use crate::identity::Captured;
use crate::name::Name;
use crate::node::Garbage;
use crate::raw::Reading;
use crate::shared::SharedContext;
use crate::slot::{Guard, Slot};
use crate::token::Replaced;
use crate::value::Value;
use crate::var::ContextVar;

/// Calls `f` on the current value of a variable, where it is.
#[inline]
pub(crate) fn read<T, D, R>(var: &ContextVar<T, D>, f: impl FnOnce(Option<&T>) -> R) -> R
where
    T: Send + Sync + 'static,
{
    contexts().read(var.known_key(), || var.key(), reading, f)
}

/// How the current frame may be read now. Within a change of the frame, not at all.
fn reading() -> Reading {
    let users = glance(|_, kind| kind.users);
    users.map_or(Reading::Nothing, Users::reading)
}

/// A copy of the current context as `quick` makes it, if it can without allocating, or else
/// `thorough`. Neither calls user code. An empty one where what runs may not read.
#[inline]
fn copy_by(
    quick: impl FnOnce(&Context) -> Option<Context>,
    thorough: impl FnOnce(&Context) -> Context,
) -> Context {
    let copy = glance(|context, kind| match kind.users.may_all_read() {
        true => quick(context),
        false => None,
    });
    match copy {
        Some(Some(copy)) => copy,
        _ => copy_if_allowed(thorough),
    }
}

#[cold]
fn copy_if_allowed(thorough: impl FnOnce(&Context) -> Context) -> Context {
    let copy = match reading() {
        Reading::Nothing => None,
        Reading::Once | Reading::Free => contexts().frames().peek(|context, _| thorough(context)),
    };
    copy.unwrap_or_default()
}

/// A copy of the current context.
#[inline]
pub(crate) fn copy() -> Context {
    copy_by(Context::quick_copy, Context::values_only)
}

/// A copy of the values of the frame around the innermost one, empty if what runs now may not read
/// there: also where an executor runs in between, since its tasks may be others'.
pub(super) fn copy_outer() -> Context {
    let frames = contexts().frames();
    match frames.peek_outer(|context, kind| (context.values_only(), kind.users)) {
        // Asked outside of `peek_outer`: the answer may come from code of runtimes.
        Some((copy, users)) if users.reading() != Reading::Nothing => copy,
        _ => Context::new(),
    }
}

/// A copy of the current context for a new unit of work: without `local` variables.
#[inline(always)]
pub(crate) fn inherit() -> Context {
    if companion::any() {
        return inherit_accompanied();
    }
    inherit_values()
}

/// The same with what companions have current.
#[inline(never)]
fn inherit_accompanied() -> Context {
    inherit_values().accompanied(capture_companions())
}

/// The same without.
#[inline]
pub(crate) fn inherit_values() -> Context {
    copy_by(Context::quick_inherit, Context::inherit)
}

/// `context`, a copy, with what companions have current here, unless it has been captured with what
/// was current elsewhere. If nothing is current, what is where it is entered stays so.
#[allow(dead_code, reason = "only adapters have copies of others")]
pub(crate) fn accompany(context: Context) -> Context {
    if !companion::any() || context.identity().is_marked() {
        return context;
    }
    match capture_companions() {
        Captured::No | Captured::Nothing => context,
        captured => context.accompanied(captured),
    }
}

/// What is current on this thread, beside the current context.
#[inline(never)]
fn capture_companions() -> Captured {
    match glance(|_, kind| kind.origin.clone()) {
        Some(Origin::Own | Origin::Shared(_)) => companion::capture(None),
        Some(Origin::Accompanied(Some(before))) => companion::capture(Some(&before)),
        // `FOR_ALL`.
        Some(Origin::Accompanied(None)) => Captured::Nothing,
        // Busy: an allocator or a signal handler, which calls no code of others.
        None => Captured::No,
    }
}

/// Whether `shared` is the context of the innermost frame.
pub(crate) fn is_innermost(shared: &SharedContext) -> bool {
    let is_same = |current: &SharedContext| current.ptr_eq(shared);
    glance(|_, kind| kind.shared().is_some_and(is_same)).unwrap_or_default()
}

/// Whether a write would stay within the work that makes it.
#[inline]
pub(crate) fn check_write() -> Result<(), SetErrorKind> {
    match glance(|_, kind| kind.users) {
        Some(Users::Poll) => Ok(()),
        // Asking runs code of runtimes, so not within `glance`.
        Some(users) => users.writing(free_at_thread_exit),
        None => Err(SetErrorKind::Busy),
    }
}

/// Whether this, which is not 0, is the id of the current context, and that may be written now.
#[inline]
pub(crate) fn is_writable(context: u64) -> bool {
    match glance(|current, kind| (current.id(), kind.users)) {
        Some((id, users)) if id == context => users.writing(free_at_thread_exit).is_ok(),
        _ => false,
    }
}

/// Replaces the value of a variable with this name. The caller has asked [`check_write`].
pub(crate) fn replace(name: Name, var: VarKey, value: Option<Value>) -> Replaced {
    let mut value = value;
    // Most variables have a value and no guards, and most contexts need not be published.
    let swapped = contexts().change(|context, kind| match kind.shared() {
        Some(_) => None,
        None if value.is_none() => None,
        None => Some((context.swap_value(var, &mut value)?, context.id())),
    });
    if let Some(Some(((old, shared_by_others), context))) = swapped {
        drop(shared_by_others);
        return Replaced {
            name,
            var,
            context,
            old: Slot::plain(Some(old)),
        };
    }
    let (context, old) = change(|context| {
        let id = context.ensure_id();
        let (old, garbage) = context.replace(var, value);
        ((id, old), garbage)
    });
    Replaced {
        name,
        var,
        context,
        old,
    }
}

/// Makes a guard for a variable, whose value is `value` under it. Returns it with the id of the
/// context. The caller has asked [`check_write`].
#[inline]
pub(crate) fn push(var: VarKey, value: Value) -> (u64, Arc<Guard>) {
    let mut value = Some(value);
    let pushed = contexts().change(|context, kind| match kind.shared() {
        Some(_) => None,
        None => Some((context.id(), context.push_in_place(var, &mut value)?)),
    });
    match (pushed.flatten(), value) {
        (Some(pushed), _) => pushed,
        (None, Some(value)) => change(|context| {
            let id = context.ensure_id();
            let (guard, garbage) = context.push(var, value);
            ((id, guard), garbage)
        }),
        (None, None) => unreachable!("nobody has taken the value"),
    }
}

/// Ends a guard. Takes out its layer, if `context` is the id of the current context.
///
/// Where that may not be written, only a layer on top whose value has no destructor is taken out:
/// that shows the same as to end the guard, as anybody may. A destructor might write.
#[inline]
pub(crate) fn pop(var: VarKey, context: u64, guard: Arc<Guard>, has_destructor: bool) {
    let mut guard = Some(guard);
    let writable = has_destructor.then(|| is_writable(context));
    if writable != Some(false) {
        let popped = contexts().change(|current, kind| match kind.shared() {
            None if current.id() == context => current.pop_in_place(var, &mut guard),
            _ => None,
        });
        if let Some(value) = popped.flatten() {
            return drop(value);
        }
    }
    if let Some(guard) = guard {
        guard.end();
    }
    if writable.unwrap_or_else(|| is_writable(context)) {
        change(|context| ((), context.pop(var)));
    }
}

/// Replaces the values of several variables at once. The caller has asked [`check_write`].
pub(crate) fn replace_all(values: &Context) {
    // Allocated before the change: during it, only the bindings themselves may allocate.
    let mut kept = Vec::with_capacity(values.len());
    change(|context| {
        context.ensure_id();
        for (var, value) in values.values().filter(|(var, _)| !var.is_local()) {
            kept.push(context.replace(var, Some(value.clone())));
        }
        (mem::take(&mut kept), Garbage::default())
    });
}

/// Changes the current context, and drops what that takes out. The caller has asked
/// [`check_write`].
#[inline]
fn change<R>(f: impl FnOnce(&mut Context) -> (R, Garbage)) -> R {
    let changed = contexts().change(|context, kind| {
        let (result, garbage) = f(context);
        let shared = kind.shared();
        let published = shared.map(|shared| shared.publish(context));
        (result, garbage, published)
    });
    let Some((result, garbage, published)) = changed else {
        unreachable!("a frame that was not busy when that was asked is not since");
    };
    drop(published);
    drop(garbage);
    result
}

/// The address of the current context, which tells it from those around it.
pub(crate) fn address() -> NonNull<Context> {
    contexts().current()
}
