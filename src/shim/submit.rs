//! Every kind of work, sent to its place.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use super::callback::{Call, CallHandle, TimerHandle};
use super::entered::{ExecutorFrame, FrameExecutor, ValueHome};
use super::executor::{self, Clock};
use super::join::JoinHandle;
use super::local;
use super::native::{Destination, Target, frame_of, in_home};
use super::queue::{Driver, Queue, adding, queue_for};
use super::search::Place;
use super::task;
use super::time::StdClock;
use crate::context::Context;
use crate::future::TaskContext;

impl Place {
    pub(crate) fn new_context(&self) -> Context {
        match self {
            Place::Anywhere(destination) => destination.new_context(),
            Place::Here(frame) => frame.new_context(),
        }
    }

    #[track_caller]
    pub(crate) fn spawn<C, F>(self, context: C, future: F) -> JoinHandle<F::Output>
    where
        C: TaskContext,
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match self {
            Place::Anywhere(destination) => destination.spawn(context, future),
            Place::Here(frame) => local::spawn(frame, context, future),
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
                let job = in_home(home, Once(Some(f)), context);
                task::spawn_blocking(executor::spawn_blocking, job)
            }
        }
    }

    #[track_caller]
    pub(crate) fn call_soon(self, call: Call) -> CallHandle {
        match self {
            Place::Anywhere(destination) => call_soon(&destination, call),
            Place::Here(frame) => call_soon_local(frame, call),
        }
    }

    #[track_caller]
    pub(crate) fn call_at(self, when: Instant, call: Call) -> TimerHandle {
        match self {
            Place::Anywhere(destination) => call_at(&destination, when, call),
            Place::Here(frame) => call_at_local(frame, when, call),
        }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        match self {
            Place::Anywhere(destination) => destination.executor.as_executor().clock(),
            Place::Here(frame) => local_clock(frame),
        }
    }
}

pub(crate) fn spawn_blocking<C: TaskContext, T: Send + 'static>(
    destination: &Destination,
    context: C,
    f: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let executor = destination.executor.as_executor();
    let home = ValueHome {
        executor: frame_of(&executor),
        fixed: destination.fixed.clone(),
    };
    // By its frame's name: the handle of a job would keep an executor alive whose task awaits it.
    let frame = home.executor.clone();
    let submit = move |job| match Target::of_frame(&frame) {
        Some(executor) => executor.as_executor().spawn_blocking(job),
        None => executor::spawn_blocking(job),
    };
    task::spawn_blocking(submit, in_home(home, Once(Some(f)), context))
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
        Poll::Ready(f())
    }
}

#[track_caller]
pub(crate) fn call_soon(destination: &Destination, call: Call) -> CallHandle {
    let executor = destination.executor.as_executor();
    let queue = queue_for(executor.queue_key(), || executor.clock());
    let _adding = adding();
    let id = queue.push(call.fixed(destination.fixed.clone()), None);
    start(destination, &queue);
    CallHandle::new(&queue, id)
}

#[track_caller]
pub(crate) fn call_at(destination: &Destination, when: Instant, call: Call) -> TimerHandle {
    let executor = destination.executor.as_executor();
    let queue = queue_for(executor.queue_key(), || executor.clock());
    check_timers(&queue, &*executor.clock(), when);
    let _adding = adding();
    let id = queue.push(call.fixed(destination.fixed.clone()), Some(when));
    start(destination, &queue);
    TimerHandle::new(CallHandle::new(&queue, id), when)
}

/// A runtime that cannot serve timers refuses the first one here, in the caller.
#[track_caller]
fn check_timers(queue: &Queue, clock: &dyn Clock, when: Instant) {
    if !queue.has_timers() {
        drop(clock.sleep_until(when));
    }
}

/// Starts a driver for the queue unless it has one.
#[track_caller]
fn start(destination: &Destination, queue: &Arc<Queue>) {
    if let Some(driver) = queue.drive() {
        // In an empty context: the driver outlives the caller and must not pin its values.
        destination.spawn(Context::new(), driver).detach();
    }
}

pub(crate) fn call_soon_local(frame: ExecutorFrame, call: Call) -> CallHandle {
    let queue = local_queue(&frame);
    let id = queue.push(call.fixed(frame.fixed.clone()), None);
    start_local(frame, queue.drive());
    CallHandle::new(&queue, id)
}

#[track_caller]
pub(crate) fn call_at_local(frame: ExecutorFrame, when: Instant, call: Call) -> TimerHandle {
    let queue = local_queue(&frame);
    check_timers(&queue, &**queue.clock(), when);
    let id = queue.push(call.fixed(frame.fixed.clone()), Some(when));
    start_local(frame, queue.drive());
    TimerHandle::new(CallHandle::new(&queue, id), when)
}

/// The queue of a local executor. Without the executor it is one that nobody drives: what is pushed is
/// dropped with it.
fn local_queue(frame: &ExecutorFrame) -> Arc<Queue> {
    match frame.upgrade_local() {
        Some(executor) => queue_for(executor.queue_key(), || executor.clock()),
        None => Arc::new(Queue::new(Arc::new(StdClock))),
    }
}

fn local_clock(frame: &ExecutorFrame) -> Arc<dyn Clock> {
    match frame.upgrade_local() {
        Some(executor) => executor.clock(),
        None => Arc::new(StdClock),
    }
}

fn start_local(frame: ExecutorFrame, driver: Option<Driver>) {
    if let Some(driver) = driver {
        local::spawn(frame, Context::new(), driver).detach();
    }
}
