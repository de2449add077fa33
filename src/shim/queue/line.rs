//! The line of the queue that this thread is running a turn of: what is added from within needs no lock.
//!
//! A callback that schedules another is the common case, on every executor. The order stays that of scheduling:
//! what others have added before, under the lock, is put into the line first; what they add later comes after the
//! line.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::iter;
use std::mem::{self, ManuallyDrop};
use std::sync::Arc;
use std::time::Instant;

use super::{Item, Queue};
use crate::raw::cell_here;
use crate::sync::atomic::Ordering;
use crate::sync::thread_local;

/// What waits for the next turn, with the queue that it belongs to.
pub(super) struct Line {
    pub(super) queue: Arc<Queue>,
    pub(super) items: VecDeque<Item>,
}

thread_local! {
    // Without a destructor: it is empty when no turn is running.
    static LINE: RefCell<ManuallyDrop<Option<Box<Line>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

#[inline]
fn here() -> RefMut<'static, Option<Box<Line>>> {
    RefMut::map(cell_here(&LINE).borrow_mut(), |line| &mut **line)
}

/// Makes `line` that of this thread's turn, and returns the one that was.
pub(super) fn replace(line: Option<Box<Line>>) -> Option<Box<Line>> {
    mem::replace(&mut *here(), line)
}

/// Adds to the line if this thread is running turns of `queue`. Otherwise gives back what makes the item.
#[inline]
pub(super) fn push<F: FnOnce() -> Item>(queue: &Queue, item: F) -> Result<(), F> {
    match &mut *here() {
        Some(line) if std::ptr::eq(&*line.queue, queue) => {
            line.push(item);
            Ok(())
        }
        _ => Err(item),
    }
}

#[inline]
pub(super) fn is_running() -> bool {
    here().is_some()
}

/// Calls `f`, which must not call user code, on the line of the turns that are running.
#[inline]
pub(super) fn with<R>(f: impl FnOnce(&mut Line) -> R) -> R {
    f(here().as_mut().expect("turns are running on this thread"))
}

impl Line {
    /// Adds what `item` makes, in its place, because to move it there takes as long as a lock.
    #[inline]
    pub(super) fn push(&mut self, item: impl FnOnce() -> Item) {
        self.take_others();
        self.items.extend(iter::once_with(item));
    }

    /// Puts what has been added under the lock into the line.
    #[inline]
    pub(super) fn take_others(&mut self) {
        if self.queue.has_others.load(Ordering::Acquire) {
            self.append_others();
        }
    }

    fn append_others(&mut self) {
        let mut state = self.queue.lock();
        self.queue.has_others.store(false, Ordering::Relaxed);
        if self.items.is_empty() {
            mem::swap(&mut self.items, &mut state.ready);
        } else {
            self.items.append(&mut state.ready);
        }
    }

    /// Puts the timers that are due into the line.
    pub(super) fn ripen(&mut self, now: Instant) {
        let mut state = self.queue.lock();
        state.timers.ripen(now, &mut self.items);
        let any = !state.timers.is_empty();
        self.queue.may_have_timers.store(any, Ordering::Relaxed);
    }
}
