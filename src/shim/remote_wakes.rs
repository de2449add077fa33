//! Wake-ups, from other threads, of tasks that stay on theirs, for executors that can only run
//! runnables.

use std::cell::RefCell;
use std::mem;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};

use async_task::{Runnable, Task};
use futures_core::future::LocalBoxFuture;
use slab::Slab;

use crate::catch::catch;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, ThreadId};
use crate::sync::{Mutex, thread_local};

/// The runnables of a thread that other threads have woken.
struct Inbox {
    thread: thread::Thread,
    /// With the key of the runnable's task.
    woken: Mutex<Vec<(usize, Runnable)>>,
    any: AtomicBool,
}

impl Inbox {
    fn take(&self) -> Vec<(usize, Runnable)> {
        mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Schedules a runnable on this thread.
pub(crate) type Schedule = Rc<dyn Fn(Runnable)>;

/// A task that has not ended.
struct WakeableTask {
    schedule: Schedule,
    /// `None` until it has been spawned. Cancels the task when it is dropped.
    handle: Option<Task<()>>,
}

/// The tasks of this thread, by the key that they know, and what wakes them from elsewhere.
struct Tasks {
    inbox: Arc<Inbox>,
    entries: RefCell<Slab<WakeableTask>>,
}

thread_local! {
    static TASKS: Tasks = Tasks {
        inbox: Arc::new(Inbox {
            thread: thread::current(),
            woken: Mutex::default(),
            any: AtomicBool::new(false),
        }),
        entries: RefCell::default(),
    };
}

impl Drop for Tasks {
    /// Cancels the tasks, which nobody else can run or drop: so their handles hear of their end.
    fn drop(&mut self) {
        for mut entry in self.entries.take().into_iter().map(|(_, entry)| entry) {
            catch(|| drop(entry.handle.take()));
        }
        // Those were woken, and had been waiting here to be scheduled.
        for (_, runnable) in self.inbox.take() {
            catch(|| drop(runnable));
        }
    }
}

/// Removes the entry of a task that has ended.
struct RemoveEntry {
    key: usize,
    thread: ThreadId,
}

impl Drop for RemoveEntry {
    fn drop(&mut self) {
        if thread::current().id() == self.thread {
            // Not there any more while the thread's locals are being destroyed.
            let removed = TASKS.try_with(|tasks| tasks.entries.borrow_mut().try_remove(self.key));
            let handle = removed.ok().flatten().and_then(|entry| entry.handle);
            handle.into_iter().for_each(Task::detach);
        }
    }
}

/// Spawns `task`, whose runnables are handed to `schedule`, on this thread, wherever it is woken.
/// Where the thread's locals are gone, the task is dropped, which cancels it.
pub(crate) fn spawn(task: LocalBoxFuture<'static, ()>, schedule: Schedule) {
    let entered = TASKS.try_with(|tasks| {
        let entry = WakeableTask {
            schedule,
            handle: None,
        };
        let key = tasks.entries.borrow_mut().insert(entry);
        (Arc::clone(&tasks.inbox), key)
    });
    let Ok((inbox, key)) = entered else {
        return;
    };
    let remove = RemoveEntry {
        key,
        thread: inbox.thread.id(),
    };
    let wake = move |runnable| {
        if thread::current().id() == inbox.thread.id() {
            schedule_here(key, runnable);
        } else {
            inbox
                .woken
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((key, runnable));
            inbox.any.store(true, Ordering::Release);
            inbox.thread.unpark();
        }
    };
    let task = async move {
        let _remove = remove;
        task.await;
    };
    let (runnable, handle) = async_task::spawn_local(task, wake);
    TASKS.with(|tasks| tasks.entries.borrow_mut()[key].handle = Some(handle));
    runnable.schedule();
}

/// Without the entry, the runnable is dropped, which cancels the task.
fn schedule_here(key: usize, runnable: Runnable) {
    let schedule = TASKS.try_with(|tasks| {
        let entries = tasks.entries.borrow();
        entries.get(key).map(|entry| Rc::clone(&entry.schedule))
    });
    if let Some(schedule) = schedule.ok().flatten() {
        schedule(runnable);
    }
}

/// Schedules the tasks that other threads have woken on this thread, for a
/// [`LocalExecutor`](super::LocalExecutor) that can only run runnables.
///
/// A wake-up from another thread unparks this one. Every
/// [`LocalRunnable::run`](super::LocalRunnable::run) calls this too, so that an executor has to
/// call it only when it has nothing to run, before it parks.
///
/// # Examples
///
/// See [`LocalExecutor`](super::LocalExecutor).
pub fn deliver_remote_wakes() {
    let woken = TASKS.try_with(
        |tasks| match tasks.inbox.any.swap(false, Ordering::AcqRel) {
            true => tasks.inbox.take(),
            false => Vec::new(),
        },
    );
    for (key, runnable) in woken.unwrap_or_default() {
        schedule_here(key, runnable);
    }
}
