//! Wake-ups, from other threads, of tasks that stay on theirs, for executors that can only run
//! runnables.

use std::cell::RefCell;
use std::mem;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};

use async_task::Runnable;
use futures_core::future::LocalBoxFuture;
use slab::Slab;

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, ThreadId};
use crate::sync::{Mutex, thread_local};

/// The runnables of a thread that other threads have woken.
struct Inbox {
    thread: thread::Thread,
    /// With the key of what schedules the runnable.
    woken: Mutex<Vec<(usize, Runnable)>>,
    any: AtomicBool,
}

/// Schedules a runnable on this thread.
pub(crate) type Schedule = Rc<dyn Fn(Runnable)>;

thread_local! {
    static INBOX: Arc<Inbox> = Arc::new(Inbox {
        thread: thread::current(),
        woken: Mutex::default(),
        any: AtomicBool::new(false),
    });
    /// What schedules the tasks of this thread, by the key that they know.
    static SCHEDULERS: RefCell<Slab<Schedule>> = const { RefCell::new(Slab::new()) };
}

/// Removes the scheduler of a task that has ended.
struct RemoveScheduler {
    key: usize,
    thread: ThreadId,
}

impl Drop for RemoveScheduler {
    fn drop(&mut self) {
        if thread::current().id() == self.thread {
            // Not there any more while the thread's locals are being destroyed.
            let removed = SCHEDULERS.try_with(|all| all.borrow_mut().try_remove(self.key));
            drop(removed);
        }
    }
}

/// Spawns `task`, whose runnables are handed to `schedule`, on this thread, wherever it is woken.
pub(crate) fn spawn(task: LocalBoxFuture<'static, ()>, schedule: Schedule) {
    let inbox = INBOX.with(Arc::clone);
    let key = SCHEDULERS.with(|all| all.borrow_mut().insert(schedule));
    let remove = RemoveScheduler {
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
    handle.detach();
    runnable.schedule();
}

/// Without the scheduler, the runnable is dropped, which cancels the task.
fn schedule_here(key: usize, runnable: Runnable) {
    let schedule = SCHEDULERS.try_with(|all| all.borrow().get(key).cloned());
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
    let woken = INBOX.try_with(|inbox| {
        if !inbox.any.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        mem::take(&mut *inbox.woken.lock().unwrap_or_else(PoisonError::into_inner))
    });
    for (key, runnable) in woken.unwrap_or_default() {
        schedule_here(key, runnable);
    }
}
