//! The contexts that are entered on this thread.
//!
//! They are in a thread-local without a destructor, so that reading, entering and leaving work for
//! as long as the thread does, also while its thread-locals are destroyed. Only the root context,
//! the thread's own, is freed at thread exit, by [`RootGuard`].

use std::any::Any;
use std::cell::Cell;
use std::mem;
use std::rc::Rc;

use super::kind::{Kind, Users};
use crate::catch::catch;
use crate::companion;
use crate::context::Context;
use crate::error::SetErrorKind;
use crate::id::VarKey;
use crate::raw::{Contexts, Lookup};
use crate::running_task::RunningTask;
use crate::slot::Slot;
use crate::sync::thread_local;
use crate::value;

const ROOT_KIND: &Kind = &Kind::new(Users::Root);

thread_local! {
    static CONTEXTS: Contexts<Context, Kind, Overriding> =
        const { Contexts::new(Context::new(), ROOT_KIND) };
    static ROOT: RootGuard = const { RootGuard };
}

impl Lookup for Context {
    type Kept = Slot;

    #[inline]
    fn stamp(&self) -> u64 {
        /// The stamp of a context without bindings.
        const EMPTY: u64 = crate::id::RESERVED;
        self.bindings().map_or(EMPTY, |bindings| bindings.stamp())
    }

    fn keep(&self, var: VarKey) -> Option<Slot> {
        self.bindings()?.slot(var).cloned()
    }

    fn find<T: Send + Sync + 'static>(&self, var: VarKey) -> (Option<&T>, bool) {
        let slot = self.bindings().and_then(|bindings| bindings.slot(var));
        let value = slot.and_then(|slot| slot.visible(self.id()));
        // The end of a guard shows through its layers, without new bindings.
        let is_lasting = slot.is_none_or(|slot| !slot.has_layers());
        (
            value.and_then(|value| value::downcast(&**value)),
            is_lasting,
        )
    }
}

#[inline]
pub(super) fn contexts() -> &'static Contexts<Context, Kind, Overriding> {
    Contexts::here(&CONTEXTS)
}

/// Runs `f`, which must neither call user code nor allocate, on the current context. `None` if that
/// is busy.
#[inline]
pub(super) fn glance<R>(f: impl FnOnce(&Context, &Kind) -> R) -> Option<R> {
    contexts().frames().glance(f)
}

/// From now on, the thread's own context is freed when the thread exits.
#[inline]
pub(super) fn free_at_thread_exit() -> Result<(), SetErrorKind> {
    ROOT.try_with(|_| ()).map_err(|_| SetErrorKind::ThreadExit)
}

/// Frees the thread's own context when the thread exits.
struct RootGuard;

impl Drop for RootGuard {
    fn drop(&mut self) {
        // In a frame (the process exits inside one) the root context is out of reach, and the
        // process is about to free everything anyway.
        let garbage = contexts().change(|context, kind| match kind.users {
            Users::Root => mem::take(context),
            _ => Context::new(),
        });
        // A panic here would end the process.
        catch(|| drop(garbage));
        companion::thread_exits();
    }
}

/// What overrides the scope of a frame for a while.
pub(super) struct Overriding {
    pub(super) scope: Box<dyn Any>,
    /// The task that has it do so. Others that run in the same frame are not sent there.
    pub(super) task: RunningTask,
    pub(super) is_live: Cell<bool>,
    /// What did so before in this frame.
    pub(super) below: Cell<Option<Rc<Overriding>>>,
}

impl Drop for Overriding {
    fn drop(&mut self) {
        // Without recursion: there may be more of them than the machine stack is deep.
        let mut next = self.below.take();
        while let Some(below) = next.and_then(Rc::into_inner) {
            next = below.below.take();
        }
    }
}
