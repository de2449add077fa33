//! Frames: entering a context once, or the current one again.

use std::any::Any;
use std::mem;

use super::drops::drop_values;
use super::enter::{Entering, enter_as};
use super::kind::{Kind, Origin, Owner, Users};
use super::thread::{contexts, glance};
use super::values::copy_outer;
use crate::context::Context;
use crate::shared::SharedContext;

/// Calls `f` in a frame of its own for the same context, which is that of a synchronous call.
pub(crate) fn enter_call<R>(f: impl FnOnce() -> R) -> R {
    enter_again_as(Owner::Call.users(), None, f)
}

/// Calls `f` in a frame of its own for the same context, with these users and this scope.
fn enter_again_as<R>(users: Users, scope: Option<&dyn Any>, f: impl FnOnce() -> R) -> R {
    let origin = glance(|_, kind| kind.origin.clone()).unwrap_or(Origin::Own);
    contexts().enter_again(&Kind { users, origin }, scope, f)
}

/// Calls `f` in a frame of its own for the same context, with this scope.
pub(crate) fn enter_again<R>(scope: &dyn Any, f: impl FnOnce() -> R) -> R {
    match glance(|_, kind| kind.users) {
        Some(users) => enter_again_as(users, Some(scope), f),
        // Busy: a signal handler.
        None => f(),
    }
}

/// Calls `f` in an empty context, for user code that is called outside of any context of its own.
pub(crate) fn enter_empty<R>(f: impl FnOnce() -> R) -> R {
    let frame = Frame::new(Context::new().apart(), Owner::Call.users());
    frame.enter_scope(None, true, f)
}

/// Calls `f` in a copy of the values of the frame around the innermost one, for code that is told of
/// what is left there. Empty if what runs now may not read that frame. The scope stays that of the
/// innermost one.
#[allow(dead_code, reason = "which companions there are is not known here")]
pub(crate) fn enter_outer<R>(f: impl FnOnce() -> R) -> R {
    Frame::new(copy_outer(), Owner::Call.users()).enter(f)
}

/// Calls `f`, whose result everybody will see, in an empty context, so that it is no request's.
///
/// It may run a runtime, whose tasks are not to write here. But whoever reads a default first may
/// be a signal handler, which can ask which task runs only where this thread has asked before.
pub(crate) fn enter_for_all<R>(f: fn() -> R) -> R {
    let users = match glance(|_, kind| kind.users) {
        Some(Users::Root | Users::BlockOn(_) | Users::Call(_)) => Owner::Call.users(),
        _ => Users::Poll,
    };
    let frame = Frame {
        context: Context::new(),
        kind: Kind {
            users,
            origin: Origin::FOR_ALL,
        },
    };
    frame.enter(f)
}

/// Calls `f` in an empty context that cannot be written to, and in this scope, for waits in which a
/// thread may run work of others.
#[allow(dead_code, reason = "only adapters wait so")]
pub(crate) fn enter_wait<R>(scope: &dyn Any, f: impl FnOnce() -> R) -> R {
    let frame = Frame::new(Context::new().apart(), Users::Wait);
    frame.enter_scope(Some(scope), false, f)
}

/// Calls `f`, which runs an executor here, where nothing can be read or written: the tasks that
/// others have given to the executor may run in it. The scope is that around.
///
/// A shared context stays the innermost one: what is run may have to enter it again, and would wait
/// for this thread to leave it.
pub(crate) fn enter_run<R>(f: impl FnOnce() -> R) -> R {
    match glance(|_, kind| kind.shared().is_some()) {
        Some(true) => enter_again_as(Users::Run, None, f),
        Some(false) => Frame::new(Context::new(), Users::Run).enter(f),
        // Busy: a signal handler.
        None => f(),
    }
}

/// A context to be entered once, and released then.
pub(crate) struct Frame {
    context: Context,
    /// A shared context was marked as entered, and is released with the frame.
    kind: Kind,
}

impl Frame {
    /// For work that has `context` to itself. It has no companions.
    #[inline]
    pub(crate) fn new(context: Context, users: Users) -> Frame {
        Frame {
            context,
            kind: Kind::new(users),
        }
    }

    /// For work in `shared`, which has been marked as entered, and has the bindings of `context`.
    pub(crate) fn shared(shared: SharedContext, context: Context, users: Users) -> Frame {
        Frame {
            context,
            kind: Kind {
                users,
                origin: Origin::Shared(shared),
            },
        }
    }

    /// The same, in which nothing is current that was not captured.
    pub(crate) fn apart(mut self) -> Frame {
        self.context = mem::take(&mut self.context).apart();
        self
    }

    /// Calls `f` in it.
    #[inline]
    pub(crate) fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        self.enter_scope(None, false, f)
    }

    /// Calls `f` in it, with this scope.
    #[inline]
    pub(crate) fn enter_scope<R>(
        mut self,
        scope: Option<&dyn Any>,
        is_drop: bool,
        f: impl FnOnce() -> R,
    ) -> R {
        enter_as(&mut self.context, &self.kind, scope, is_drop, f)
    }

    /// Calls `f` in the frame, in this way. Without a frame, in a new one for the current context,
    /// whose users are those of `entering`: who runs now need not be who entered the context.
    pub(crate) fn enter_any<R>(
        frame: Option<Frame>,
        entering: Entering<'_>,
        f: impl FnOnce() -> R,
    ) -> R {
        match frame {
            Some(frame) => frame.enter_scope(entering.scope, entering.is_drop, f),
            None => enter_again_as(entering.users(), entering.scope, f),
        }
    }
}

impl Drop for Frame {
    /// The thread is in the outer frame, if this one was entered, so values may be dropped here.
    #[inline]
    fn drop(&mut self) {
        let origin = mem::replace(&mut self.kind.origin, Origin::Own);
        let context = mem::take(&mut self.context);
        let Origin::Shared(shared) = origin else {
            return drop_values(context);
        };
        shared.release();
        // As those of the last reference.
        drop_values(context.apart());
        shared.into_last().into_iter().for_each(drop_values);
    }
}
