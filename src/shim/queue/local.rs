//! [`LocalQueue`]: the part of a queue that belongs to the thread which runs its turns. What is added from within needs no lock.
//!
//! A callback that schedules another is the common case, on every executor. The order stays that of
//! scheduling: what others have added before, under the lock, is put into the local queue first;
//! what they add later comes after it.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::mem::{self, ManuallyDrop};
use std::ptr;
use std::sync::Arc;

use async_task::Runnable;

use super::entry::Entry;
use super::state::Queue;
use crate::current;
use crate::raw::cell_here;
use crate::shim::platform::Instant;
use crate::shim::task_list::Step;
use crate::sync::atomic::Ordering;
use crate::sync::thread_local;

/// What waits for the next turn, with the queue that it belongs to.
pub(super) struct LocalQueue {
    pub(super) queue: Arc<Queue>,
    pub(super) entries: VecDeque<Entry>,
    pub(super) scope: QueueScope,
    /// The frame that the turns run in. Calls from within, in the same executor's scope, come here.
    pub(super) frame: Option<usize>,
}

/// Which calls go to a queue, from the frame in which its turns run.
#[derive(Clone, Copy, Default)]
pub(crate) struct QueueScope {
    /// Those that go to the current executor.
    pub(crate) executor: bool,
    /// Those that go to the current local executor.
    pub(crate) local: bool,
}

thread_local! {
    // Without a destructor: it is empty when no turn is running.
    static LOCAL: RefCell<ManuallyDrop<Option<Box<LocalQueue>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

#[inline]
fn here() -> RefMut<'static, Option<Box<LocalQueue>>> {
    RefMut::map(cell_here(&LOCAL).borrow_mut(), |local| &mut **local)
}

/// Makes `local` that of this thread's turn, and returns the one that was.
pub(super) fn replace(local: Option<Box<LocalQueue>>) -> Option<Box<LocalQueue>> {
    mem::replace(&mut *here(), local)
}

/// Adds an entry if this thread is running turns of `queue`. Otherwise gives back what makes it.
#[inline]
pub(super) fn push<F: FnOnce() -> Entry>(queue: &Queue, entry: F) -> Result<(), F> {
    match &mut *here() {
        Some(local) if ptr::eq(&*local.queue, queue) => {
            local.push(entry);
            Ok(())
        }
        _ => Err(entry),
    }
}

/// Adds a step if this thread is running turns of the queue with this address. Otherwise gives it
/// back.
#[inline]
pub(crate) fn push_step(queue: usize, step: Runnable<Step>) -> Result<(), Runnable<Step>> {
    match &mut *here() {
        Some(local) if ptr::from_ref(&*local.queue).addr() == queue => {
            local.push(|| Entry::Step(step));
            Ok(())
        }
        _ => Err(step),
    }
}

/// Whether this thread is running turns of the queue that serves `which`.
#[inline]
pub(crate) fn is_own(which: impl Fn(QueueScope) -> bool) -> bool {
    let frame = match &*here() {
        Some(local) if which(local.scope) => local.frame,
        _ => return false,
    };
    // Not within a frame of another executor that has been entered meanwhile.
    frame.is_some() && frame == current::scope_frame()
}

/// Calls `f`, which must not call user code, on the queue whose turns are running.
#[inline]
pub(super) fn with<R>(f: impl FnOnce(&mut LocalQueue) -> R) -> R {
    f(here().as_mut().expect("turns are running on this thread"))
}

impl LocalQueue {
    /// Adds what `entry` makes.
    #[inline]
    pub(super) fn push(&mut self, entry: impl FnOnce() -> Entry) {
        self.take_shared();
        self.entries.push_back(entry());
    }

    /// Moves what has been added under the lock to here.
    #[inline]
    pub(super) fn take_shared(&mut self) {
        if self.queue.has_ready.load(Ordering::Acquire) {
            self.append_shared();
        }
    }

    fn append_shared(&mut self) {
        let mut state = self.queue.lock();
        self.queue.has_ready.store(false, Ordering::Relaxed);
        if self.entries.is_empty() {
            mem::swap(&mut self.entries, &mut state.ready);
        } else {
            self.entries.append(&mut state.ready);
        }
    }

    /// Moves the timers that are due to here.
    pub(super) fn fire_due(&mut self, now: Instant) {
        let mut state = self.queue.lock();
        state.timers.fire_due(now, &mut self.entries);
        let any = !state.timers.is_empty();
        self.queue.may_have_timers.store(any, Ordering::Relaxed);
    }
}
