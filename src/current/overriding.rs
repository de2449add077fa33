//! [`ScopeOverride`]: what overrides the scope of a frame for a while, and reading the current
//! scope.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use super::thread::{Overriding, contexts};
use crate::running_task::RunningTask;

/// Overrides the current scope until it is dropped, or its frame is left. Those of one frame may be
/// dropped in any order: the last one that is left counts.
pub(crate) struct ScopeOverride {
    frame: usize,
    overriding: Rc<Overriding>,
}

impl ScopeOverride {
    pub(crate) fn new(scope: Box<dyn Any>) -> ScopeOverride {
        let overriding = Rc::new(Overriding {
            scope,
            task: RunningTask::now(),
            is_live: Cell::new(true),
            below: Cell::new(None),
        });
        let (frame, before) = contexts()
            .frames()
            .override_scope(None, Some(Rc::clone(&overriding)));
        overriding.below.set(before);
        ScopeOverride { frame, overriding }
    }
}

impl Drop for ScopeOverride {
    fn drop(&mut self) {
        self.overriding.is_live.set(false);
        // If the frame is gone, another may have its number by now. Then nothing changes there.
        let frames = contexts().frames();
        let (_, mut top) = frames.override_scope(Some(self.frame), None);
        // Scopes are user code when they are dropped: not before the frame has another.
        let mut ended = Vec::new();
        while let Some(dead) = top.take_if(|top| !top.is_live.get()) {
            top = dead.below.take();
            ended.push(dead);
        }
        frames.override_scope(Some(self.frame), top);
    }
}

/// Calls `f` on the current scope.
#[inline]
pub(crate) fn scope<R>(f: impl FnOnce(Option<&dyn Any>) -> R) -> R {
    contexts()
        .frames()
        .scope(|current| match current.overriding {
            None => f(current.scope),
            Some(overriding) => overridden(overriding, current.scope, f),
        })
}

/// Apart, so that nothing is dropped where nothing overrides.
#[cold]
#[inline(never)]
fn overridden<R>(
    overriding: Rc<Overriding>,
    scope: Option<&dyn Any>,
    f: impl FnOnce(Option<&dyn Any>) -> R,
) -> R {
    f(match is_own(&overriding) {
        true => Some(&*overriding.scope),
        false => scope,
    })
}

/// A number that tells the frame that has the current scope from those around it. `None` while it
/// is overridden.
#[inline]
pub(crate) fn scope_frame() -> Option<usize> {
    contexts().frames().scope(|current| {
        let overriding = current.overriding.filter(is_own);
        overriding.is_none().then_some(current.frame)
    })
}

/// What another task that runs on this thread overrides with does not count.
#[inline]
fn is_own(overriding: &Rc<Overriding>) -> bool {
    overriding.task == RunningTask::now()
}
