//! Which tasks of a set have to be asked for their result.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, Weak};
use std::task::Wake;

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard, WakerCell};

/// The keys of tasks that were woken, in that order, and who waits for them.
#[derive(Default)]
pub(super) struct Woken {
    keys: Mutex<VecDeque<usize>>,
    pub(super) waiter: WakerCell,
}

impl Woken {
    /// The waker of a new task, which has to be asked once to begin with.
    pub(super) fn insert(self: &Arc<Self>, key: usize) -> Arc<TaskWaker> {
        self.lock().push_back(key);
        Arc::new(TaskWaker {
            key,
            is_listed: AtomicBool::new(true),
            woken: Arc::downgrade(self),
        })
    }

    pub(super) fn next(&self) -> Option<usize> {
        self.lock().pop_front()
    }

    pub(super) fn any(&self) -> bool {
        !self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<usize>> {
        // No user code runs under this lock.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The waker of one task of a set, which may outlive both.
pub(super) struct TaskWaker {
    /// Another task has it when this one was taken out. To be asked once too often does it no harm.
    key: usize,
    is_listed: AtomicBool,
    /// Weak: whoever keeps a waker must not keep the task that waits for the set.
    woken: Weak<Woken>,
}

impl TaskWaker {
    /// The task is asked now, so that it has to be listed again when it is woken.
    pub(super) fn is_asked(&self) {
        // Not a store: this has to see what was done before the mark was set, by those who left it
        // at that.
        self.is_listed.swap(false, Ordering::AcqRel);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Some(woken) = self.woken.upgrade() else {
            return;
        };
        if !self.is_listed.swap(true, Ordering::AcqRel) {
            woken.lock().push_back(self.key);
            woken.waiter.wake();
        }
    }
}
