//! [`TaskList`]: the tasks of an event loop, so that they can be reached when one is aborted or the loop goes.
//!
//! A task is one allocation, `async-task`'s: [`Step`] is its metadata, and a [`ListEntry`] is part
//! of its future. It has a slot on the list until its destructors have run. What few tasks need is
//! kept beside the slots.
//!
//! An abort is noted on the loop's thread, where steps look for it: one from another thread comes
//! by the queue.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::panic::Location;
use std::sync::{Arc, PoisonError};
use std::task::Waker;

use async_task::{Runnable, Task};
use slab::Slab;

use super::task::TaskScope;
use crate::catch::catch;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, ThreadId};
use crate::sync::{Mutex, MutexGuard};

/// The tasks of a loop, and what they know of it. They keep its queue, but not what is in there:
/// that goes with the loop.
pub(crate) struct TaskList {
    /// The scope that the tasks' frames have.
    scope: Box<dyn Any + Send + Sync>,
    /// Adds to the loop's queue.
    enqueue: Box<dyn Fn(Errand) + Send + Sync>,
    /// The address of that queue.
    pub(super) queue: usize,
    thread: ThreadId,
    closed: AtomicBool,
    /// Whether a task is to be aborted, or one with a note has ended. Of the loop's thread, and
    /// changed under the lock.
    has_news: AtomicBool,
    slots: Mutex<Slots>,
}

/// What is to be done on the loop's thread.
pub(crate) enum Errand {
    Step(Runnable<Step>),
    /// A task is to be aborted.
    Abort(ListedId),
}

/// What a loop has to keep of a task that is about to be polled.
pub(crate) struct Step {
    pub(super) list: Arc<TaskList>,
    pub(super) location: &'static Location<'static>,
    place: Place,
}

/// Tells a task from the others on the list, for a step, whose task is there: only the low half of
/// its serial number, which makes a task smaller.
#[derive(Clone, Copy)]
struct Place {
    key: u32,
    serial: u32,
}

/// Tells a task from all others that the list had and will have: also while it is being dropped,
/// when `async-task` calls it finished.
#[derive(Clone, Copy)]
pub(crate) struct ListedId {
    key: u32,
    serial: u64,
}

/// What is kept for a task beside its slot, and given back when it has ended.
pub(crate) type Note = Arc<dyn Any + Send + Sync>;

#[derive(Default)]
struct Slots {
    tasks: Slab<ListedTask>,
    next_serial: u64,
    /// The serial numbers of the tasks that are to be aborted.
    aborted: BTreeSet<u64>,
    /// By the serial numbers of their tasks.
    notes: BTreeMap<u64, Note>,
    /// The notes of tasks that have ended, with the serial numbers of these, until they are taken.
    ended: Vec<(u64, Note)>,
}

struct ListedTask {
    waker: Waker,
    serial: u64,
}

impl Slots {
    fn has_news(&self) -> bool {
        !(self.aborted.is_empty() && self.ended.is_empty())
    }

    fn find(&self, id: ListedId) -> Option<&ListedTask> {
        let slot = self.tasks.get(id.key as usize);
        slot.filter(|slot| slot.serial == id.serial)
    }
}

impl TaskList {
    /// For a loop of this thread, whose queue has this address.
    pub(super) fn new(
        scope: impl Any + Send + Sync,
        queue: usize,
        enqueue: impl Fn(Errand) + Send + Sync + 'static,
    ) -> TaskList {
        TaskList {
            scope: Box::new(scope),
            enqueue: Box::new(enqueue),
            queue,
            thread: thread::current().id(),
            closed: AtomicBool::new(false),
            has_news: AtomicBool::new(false),
            slots: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        // No user code runs under this lock.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists the task that `spawn` makes of its metadata, whose [`ListEntry`] has the key. It is
    /// called under the lock: it moves the future, and runs no code of it.
    #[inline]
    pub(super) fn add<T>(
        self: &Arc<Self>,
        location: &'static Location<'static>,
        spawn: impl FnOnce(Step, u32) -> (Runnable<Step>, Task<T, Step>),
    ) -> (Runnable<Step>, Task<T, Step>, ListedId) {
        let slots = &mut *self.lock();
        let serial = slots.next_serial;
        slots.next_serial += 1;
        let vacant = slots.tasks.vacant_entry();
        let key = match u32::try_from(vacant.key()) {
            Ok(key) if key != ListEntry::NONE => key,
            _ => panic!("an event loop has less than 2³² tasks"),
        };
        let place = Place {
            key,
            serial: serial as u32,
        };
        let step = Step {
            list: Arc::clone(self),
            location,
            place,
        };
        let (runnable, task) = spawn(step, key);
        vacant.insert(ListedTask {
            waker: runnable.waker(),
            serial,
        });
        (runnable, task, ListedId { key, serial })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether this is the loop's thread.
    pub(super) fn is_here(&self) -> bool {
        thread::current().id() == self.thread
    }

    /// From now on a task of the list is dropped when it is woken on the loop's thread.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Enqueues a step, from outside of the loop's turns.
    #[cold]
    #[inline(never)]
    pub(super) fn push(&self, step: Runnable<Step>) {
        if self.is_closed() && self.is_here() {
            // Cancels the task.
            catch(|| drop(step));
        } else {
            (self.enqueue)(Errand::Step(step));
        }
    }

    /// Wakes all tasks. Returns whether there are any.
    pub(super) fn wake_all(&self) -> bool {
        let slots = self.lock();
        let wakers: Vec<_> = slots
            .tasks
            .iter()
            .map(|(_, slot)| slot.waker.clone())
            .collect();
        drop(slots);
        let any = !wakers.is_empty();
        wakers.into_iter().for_each(Waker::wake);
        any
    }

    /// Whether the task is there. It leaves when its destructors have run.
    pub(super) fn has(&self, id: ListedId) -> bool {
        self.lock().find(id).is_some()
    }

    /// Has the task dropped at its next step, which is soon.
    pub(super) fn abort(&self, id: ListedId) {
        if self.is_here() {
            self.abort_here(id);
        } else {
            (self.enqueue)(Errand::Abort(id));
        }
    }

    /// The same on the loop's thread.
    pub(super) fn abort_here(&self, id: ListedId) {
        let mut slots = self.lock();
        let Some(waker) = slots.find(id).map(|slot| slot.waker.clone()) else {
            return;
        };
        slots.aborted.insert(id.serial);
        self.has_news.store(true, Ordering::Relaxed);
        drop(slots);
        waker.wake();
    }

    /// The note of a task, made now if it has none. `None` if the task has left the list, and nobody
    /// is to take the note yet.
    pub(super) fn note(&self, id: ListedId, make: impl FnOnce() -> Note) -> Option<Note> {
        let mut slots = self.lock();
        if let Some((_, note)) = slots.ended.iter().find(|(serial, _)| *serial == id.serial) {
            return Some(Arc::clone(note));
        }
        slots.find(id)?;
        Some(Arc::clone(
            slots.notes.entry(id.serial).or_insert_with(make),
        ))
    }

    #[inline]
    fn has_news(&self) -> bool {
        self.has_news.load(Ordering::Relaxed)
    }

    /// The notes of the tasks that have ended since the last call.
    #[cold]
    pub(super) fn take_ended(&self) -> Vec<Note> {
        let mut slots = self.lock();
        let ended = mem::take(&mut slots.ended);
        self.has_news.store(slots.has_news(), Ordering::Relaxed);
        ended.into_iter().map(|(_, note)| note).collect()
    }

    #[cold]
    fn is_aborted(&self, place: Place) -> bool {
        let slots = self.lock();
        let slot = slots.tasks.get(place.key as usize);
        let slot = slot.filter(|slot| slot.serial as u32 == place.serial);
        slot.is_some_and(|slot| slots.aborted.contains(&slot.serial))
    }
}

impl Step {
    /// Polls the task, or drops it if it is to be aborted. Returns whether there may be notes of
    /// tasks that have ended.
    #[inline]
    pub(super) fn run(step: Runnable<Step>, list: &TaskList) -> bool {
        if list.has_news() && list.is_aborted(step.metadata().place) {
            catch(|| drop(step));
        } else {
            step.run();
        }
        list.has_news()
    }
}

/// Takes a task off the list when its future is dropped, and knows the scope of its frame.
pub(crate) struct ListEntry {
    list: Arc<TaskList>,
    /// [`NONE`](ListEntry::NONE) before the task is on the list.
    key: u32,
}

impl ListEntry {
    const NONE: u32 = u32::MAX;

    /// For a task that is to be added to the list.
    #[inline]
    pub(super) fn new(list: Arc<TaskList>) -> ListEntry {
        ListEntry {
            list,
            key: ListEntry::NONE,
        }
    }

    /// For the task that has been added with this key.
    #[inline]
    pub(super) fn at(mut self, key: u32) -> ListEntry {
        self.key = key;
        self
    }

    pub(super) fn list(&self) -> &Arc<TaskList> {
        &self.list
    }

    #[inline]
    pub(super) fn scope(&self) -> &dyn Any {
        &*self.list.scope
    }
}

impl TaskScope for ListEntry {
    #[inline]
    fn polled(&self) -> Option<&dyn Any> {
        Some(self.scope())
    }
}

impl Drop for ListEntry {
    #[inline]
    fn drop(&mut self) {
        if self.key == ListEntry::NONE {
            return;
        }
        let mut slots = self.list.lock();
        let slot = slots.tasks.try_remove(self.key as usize);
        if !(slots.aborted.is_empty() && slots.notes.is_empty()) {
            if let Some(slot) = &slot {
                self.list.forget(&mut slots, slot.serial);
            }
        }
        drop(slots);
        // The task's own, and not the last reference to it.
        drop(slot);
    }
}

impl TaskList {
    #[cold]
    fn forget(&self, slots: &mut Slots, serial: u64) {
        slots.aborted.remove(&serial);
        let note = slots.notes.remove(&serial);
        slots.ended.extend(note.map(|note| (serial, note)));
        self.has_news.store(slots.has_news(), Ordering::Relaxed);
    }
}
