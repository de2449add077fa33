//! The tasks of a loop: how their steps come into its line, and how it reaches them when it goes.

use std::any::Any;
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
use crate::shim::executor::Executor;
use crate::shim::join_task::NoJoin;
use crate::shim::outcome::CatchPanic;
use crate::shim::runnable::Runnable as Unit;
use crate::shim::runnable_join::RunnableJoin;
use crate::shim::runtime::{self, Spawned};
use crate::shim::thread_state;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, ThreadId};
use crate::sync::{Mutex, MutexGuard};

/// The tasks of a loop, and what they know of it. They keep its queue, but not what is in there: that goes with the loop.
pub(crate) struct LoopTasks {
    /// The scope that the tasks' frames have.
    scope: Box<dyn Any + Send + Sync>,
    /// Adds to the loop's queue.
    enqueue: Box<dyn Fn(Runnable) + Send + Sync>,
    pub(super) thread: ThreadId,
    pub(super) closed: AtomicBool,
    wakers: Mutex<Slab<Waker>>,
}

impl LoopTasks {
    /// For a loop of this thread.
    pub(super) fn new(
        scope: impl Any + Send + Sync,
        enqueue: impl Fn(Runnable) + Send + Sync + 'static,
    ) -> LoopTasks {
        LoopTasks {
            scope: Box::new(scope),
            enqueue: Box::new(enqueue),
            thread: thread::current().id(),
            closed: AtomicBool::new(false),
            wakers: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Waker>> {
        // No user code runs under this lock.
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    #[track_caller]
    fn spawn_task<F>(self: &Arc<Self>, task: F) -> RunnableJoin<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let location = Location::caller();
        let task = CatchPanic::new(task);
        let schedule = self.scheduler();
        let task = self.list(|entry| {
            let task = Listed {
                task,
                location,
                entry,
            };
            async_task::spawn(task, schedule)
        });
        RunnableJoin::new(task)
    }

    /// Spawns a task that stays on this thread, and announces itself where it was spawned.
    pub(super) fn spawn_local_task(self: &Arc<Self>, task: LocalBoxFuture<'static, ()>) {
        let schedule = self.scheduler();
        let task = self.list(|entry| {
            let task = async move {
                let _entry = entry;
                task.await;
            };
            async_task::spawn_local(task, schedule)
        });
        task.detach();
    }

    /// Lists the task that `spawn` makes of an entry, which it keeps for as long as its future, and schedules it.
    #[inline]
    fn list<T>(self: &Arc<Self>, spawn: impl FnOnce(TaskEntry) -> (Runnable, Task<T>)) -> Task<T> {
        let (runnable, task) = {
            let mut wakers = self.lock();
            let place = wakers.vacant_entry();
            let (runnable, task) = spawn(TaskEntry {
                tasks: Arc::clone(self),
                key: place.key(),
            });
            place.insert(runnable.waker());
            (runnable, task)
        };
        self.push(runnable);
        task
    }

    fn scheduler(self: &Arc<Self>) -> impl Fn(Runnable) + Send + Sync + 'static {
        let tasks = Arc::clone(self);
        move |runnable| tasks.push(runnable)
    }

    pub(super) fn push(&self, runnable: Runnable) {
        if self.closed.load(Ordering::Acquire) && thread::current().id() == self.thread {
            // Cancels the task.
            contain(|| drop(runnable));
        } else {
            (self.enqueue)(runnable);
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

/// Event loops, none of which is known by a name.
#[derive(Clone, Copy)]
pub(crate) enum Runtime {}

impl Executor for Runtime {
    fn schedule(&self, _: Unit) {
        match *self {}
    }
}

impl runtime::Runtime for Runtime {
    /// They need no feature.
    const IS_COMPILED_IN: bool = false;
    const BY_NAME: Option<Runtime> = None;
    type Executor = Runtime;
    type Native<'a> = &'a Arc<LoopTasks>;
    type Scope = Arc<LoopTasks>;
    type Join<T: 'static> = NoJoin<T>;

    fn current() -> Option<Runtime> {
        None
    }

    fn executor(self) -> Runtime {
        match self {}
    }

    fn native(self) -> &'static Arc<LoopTasks> {
        match self {}
    }

    fn native_of(any: &dyn Any) -> Option<&Arc<LoopTasks>> {
        any.downcast_ref()
    }

    #[inline]
    fn scope(tasks: &Arc<LoopTasks>) -> Option<Arc<LoopTasks>> {
        Some(Arc::clone(tasks))
    }

    #[inline]
    fn scope_of(tasks: &Arc<LoopTasks>) -> Option<&dyn Any> {
        Some(&*tasks.scope)
    }

    #[inline]
    #[track_caller]
    fn spawn<F>(tasks: &Arc<LoopTasks>, task: F) -> Spawned<NoJoin<F::Output>, F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Spawned::Runnable(tasks.spawn_task(task))
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
        thread_state::announce(this.location);
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
