//! Every kind of work, sent to its place.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use super::callback::{Call, CallHandle, TimerHandle};
use super::entered::{FrameExecutor, Serves, ValueHome};
use super::executor::{self, Clock};
use super::join::{JoinHandle, RunsOn};
use super::local;
use super::native::{Destination, Target, task_in};
use super::queue::{Driver, Queue, Reservation, adding};
use super::search::Place;
use super::task;
use super::time::StdClock;
use crate::context::Context;
use crate::current;
use crate::task_context::TaskContext;

impl Place {
    #[inline]
    pub(crate) fn new_context(&self) -> Context {
        match self {
            Place::Anywhere(destination) => destination.new_context(),
            Place::Here(frame) => frame.new_context(),
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn spawn<C, F>(&self, context: C, future: F) -> JoinHandle<F::Output>
    where
        C: TaskContext,
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match self {
            Place::Anywhere(destination) => destination.spawn(context, future),
            Place::Here(frame) => local::spawn(frame.clone(), context, future),
        }
    }

    pub(crate) fn spawn_blocking<C: TaskContext, T: Send + 'static>(
        self,
        context: C,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        match self {
            Place::Anywhere(destination) => spawn_blocking(&destination, context, f),
            Place::Here(frame) => {
                // The job is on another thread, out of the local executor's reach.
                let home = ValueHome {
                    executor: FrameExecutor::None,
                    fixed: frame.fixed,
                };
                let job = task_in(home, Once(Some(f)), context);
                let job = task::spawn_blocking(executor::spawn_blocking, job);
                JoinHandle::from_steps(job, RunsOn::Frame(FrameExecutor::None))
            }
        }
    }

    /// The context of the fixed executor, if this is one.
    pub(crate) fn fixed(&self) -> Option<Arc<Context>> {
        match self {
            Place::Anywhere(destination) => destination.fixed.clone(),
            Place::Here(frame) => frame.fixed.clone(),
        }
    }

    #[track_caller]
    pub(crate) fn call_soon(self, call: Call) -> CallHandle {
        self.push(&call, None);
        CallHandle::new(call)
    }

    #[track_caller]
    pub(crate) fn call_at(self, when: Instant, call: Call) -> TimerHandle {
        let queue = self.push(&call, Some(when));
        TimerHandle::new(call, when, &queue)
    }

    #[track_caller]
    fn push(self, call: &Call, when: Option<Instant>) -> Arc<Queue> {
        let queue = self.queue();
        if let Some(when) = when {
            check_timers(&queue, when);
        }
        let _adding = adding();
        queue.push(call, when, &mut |driver| self.start(driver));
        queue
    }

    /// Keeps a place for a call that is to be made later, from any thread.
    #[track_caller]
    pub(crate) fn reserve(&self) -> Reservation {
        let _adding = adding();
        self.queue().reserve(&mut |driver| self.start(driver))
    }

    /// Without the local executor, the queue is one that nobody drives: what is pushed is dropped with it.
    fn queue(&self) -> Arc<Queue> {
        match self {
            Place::Anywhere(destination) => destination.executor.with(|executor| executor.queue()),
            Place::Here(frame) => match frame.upgrade_local() {
                Some(executor) => executor.queue(),
                None => Arc::new(Queue::new(Arc::new(StdClock))),
            },
        }
    }

    #[track_caller]
    fn start(&self, driver: Driver) {
        // In an empty context: the driver outlives the caller and must not pin its values.
        match self {
            Place::Anywhere(destination) => {
                let driver = driver.serving(Serves {
                    // The frames of tokio's tasks name the runtime of the thread, which `Handle::enter` changes.
                    anywhere: !destination.executor.is_by_thread(),
                    here: false,
                });
                destination.spawn(Context::new(), driver).detach();
            }
            Place::Here(frame) => {
                let driver = driver.serving(Serves {
                    anywhere: matches!(frame.executor, FrameExecutor::None),
                    here: true,
                });
                local::spawn(frame.clone(), Context::new(), driver).detach();
            }
        }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        match self {
            Place::Anywhere(destination) => destination.executor.with(|executor| executor.clock()),
            Place::Here(frame) => match frame.upgrade_local() {
                Some(executor) => executor.clock(),
                None => Arc::new(StdClock),
            },
        }
    }
}

pub(crate) fn spawn_blocking<C: TaskContext, T: Send + 'static>(
    destination: &Destination,
    context: C,
    f: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let home = ValueHome {
        executor: destination.executor.frame(),
        fixed: destination.fixed.clone(),
    };
    // By its frame's name: the handle of a job would keep an executor alive whose task awaits it. Those that a frame
    // names by the thread are held, which keeps nobody alive: the job may be submitted from any thread, and again
    // from whichever leaves the context that it waits for.
    let held = destination.executor.is_by_thread();
    let held = held.then(|| destination.executor.as_executor());
    let frame = home.executor.clone();
    let submit = move |job| match &held {
        Some(executor) => executor.spawn_blocking(job),
        None => match Target::of_frame(&frame) {
            Some(executor) => executor.as_executor().spawn_blocking(job),
            None => executor::spawn_blocking(job),
        },
    };
    let job = task::spawn_blocking(submit, task_in(home, Once(Some(f)), context));
    JoinHandle::from_steps(job, destination.executor.runs_on())
}

/// A closure as a future: ready at the first poll.
struct Once<F>(Option<F>);

// The closure is only ever moved out.
impl<F> Unpin for Once<F> {}

impl<T, F: FnOnce() -> T> Future for Once<F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<T> {
        let f = self
            .0
            .take()
            .expect("a blocking job was polled after it had completed");
        // What the job runs is not a task's own: a runtime, for example, whose tasks may not write to its context.
        Poll::Ready(current::enter_call(f))
    }
}

/// A runtime that cannot serve timers refuses the first one here, in the caller.
#[track_caller]
fn check_timers(queue: &Queue, when: Instant) {
    if !queue.has_timers() {
        drop(queue.clock().sleep_until(when));
    }
}
