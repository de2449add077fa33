//! The tasks of a loop: how their steps come into its line, and how it reaches them when it goes.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{self, Poll, Waker};

use async_task::{Runnable, Task};
use futures_core::future::LocalBoxFuture;
use pin_project_lite::pin_project;
use slab::Slab;

use crate::contain::contain;
use crate::shim::entered::{FrameExecutor, Home};
use crate::shim::location;
use crate::shim::queue::{Item, Queue};
use crate::shim::task::{CatchPanic, StepTask};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, ThreadId};
use crate::sync::{Mutex, MutexGuard};

/// The tasks of a loop, and what they know of it. They keep its queue, but not what is in there: that goes with the loop.
pub struct LoopTasks {
    /// How the frames of the tasks name the loop.
    pub(crate) frame: FrameExecutor,
    queue: Arc<Queue>,
    pub(super) thread: ThreadId,
    pub(super) closed: AtomicBool,
    wakers: Mutex<Slab<Waker>>,
}

impl LoopTasks {
    /// For a loop of this thread.
    pub(super) fn new(frame: FrameExecutor, queue: Arc<Queue>) -> LoopTasks {
        LoopTasks {
            frame,
            queue,
            thread: thread::current().id(),
            closed: AtomicBool::new(false),
            wakers: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Waker>> {
        // No user code runs under this lock.
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spawns a finished task.
    #[inline]
    #[track_caller]
    pub(crate) fn launch<F>(self: &Arc<Self>, task: F) -> StepTask<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let location = Location::caller();
        let task = CatchPanic::new(task);
        let schedule = self.scheduler();
        let task = self.spawn(|entry| {
            let task = Listed {
                task,
                location,
                entry,
            };
            async_task::spawn(task, schedule)
        });
        StepTask::new(task)
    }

    /// The same for one that stays on this thread, and says itself where it was spawned.
    pub(super) fn launch_local(self: &Arc<Self>, task: LocalBoxFuture<'static, ()>) {
        let schedule = self.scheduler();
        let task = self.spawn(|entry| {
            let task = async move {
                let _entry = entry;
                task.await;
            };
            async_task::spawn_local(task, schedule)
        });
        task.detach();
    }

    /// Lists the task that `spawn` makes of an entry, which it keeps for as long as its future, and puts its first step
    /// into the line.
    #[inline]
    fn spawn<T>(self: &Arc<Self>, spawn: impl FnOnce(TaskEntry) -> (Runnable, Task<T>)) -> Task<T> {
        let (step, task) = {
            let mut wakers = self.lock();
            let place = wakers.vacant_entry();
            let (step, task) = spawn(TaskEntry {
                tasks: Arc::clone(self),
                key: place.key(),
            });
            place.insert(step.waker());
            (step, task)
        };
        self.push(step);
        task
    }

    fn scheduler(self: &Arc<Self>) -> impl Fn(Runnable) + Send + Sync + 'static {
        let tasks = Arc::clone(self);
        move |step| tasks.push(step)
    }

    /// Puts a step into the line.
    pub(super) fn push(&self, step: Runnable) {
        if self.closed.load(Ordering::Acquire) && thread::current().id() == self.thread {
            // Cancels the task.
            contain(|| drop(step));
        } else {
            // The loop drives its queue itself.
            self.queue.push_item(|| Item::Task(step), &mut drop);
        }
    }

    /// Wakes all tasks. Returns whether there are any.
    pub(super) fn wake_all(&self) -> bool {
        let wakers: Vec<_> = self.lock().iter().map(|(_, waker)| waker.clone()).collect();
        let any = !wakers.is_empty();
        wakers.into_iter().for_each(Waker::wake);
        any
    }
}

impl fmt::Debug for LoopTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopTasks").finish_non_exhaustive()
    }
}

/// Where the tasks of a loop run.
pub(crate) struct LoopHome(pub(crate) Arc<LoopTasks>);

impl Home for LoopHome {
    fn executor(&self) -> &FrameExecutor {
        &self.0.frame
    }
}

pin_project! {
    /// A task on a loop's list.
    struct Listed<F> {
        #[pin]
        task: F,
        location: &'static Location<'static>,
        // Dropped after the task.
        entry: TaskEntry,
    }
}

impl<F: Future> Future for Listed<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        location::announce(this.location);
        this.task.poll(cx)
    }
}

/// Takes a task off the list when its future is dropped.
struct TaskEntry {
    tasks: Arc<LoopTasks>,
    key: usize,
}

impl Drop for TaskEntry {
    fn drop(&mut self) {
        let waker = self.tasks.lock().try_remove(self.key);
        drop(waker);
    }
}
