//! Tasks that stay on their thread, on any [`LocalExecutor`].

use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{self, Poll};

use futures_channel::oneshot;
use futures_core::future::LocalBoxFuture;
use pin_project_lite::pin_project;
use slab::Slab;

use super::entered::{ExecutorFrame, FrameLocal};
use super::executor::LocalRunnable;
use super::join::done::{Done, DoneCallbackId, Notice};
use super::join::{Abort, JoinError, JoinHandle, RunsOn};
use super::location;
use super::native::task_in;
use super::task::{CatchPanic, Unclaimed};
use crate::contain::contain;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, ThreadId};
use crate::sync::{Mutex, WakerCell, thread_local};
use crate::task_context::TaskContext;

/// Spawns `future` in `context` on the executor that `frame` names. If that is gone, the task is cancelled.
#[track_caller]
pub(crate) fn spawn<C, F>(frame: ExecutorFrame, context: C, future: F) -> JoinHandle<F::Output>
where
    C: TaskContext,
    F: Future + 'static,
    F::Output: 'static,
{
    let local = frame
        .local
        .clone()
        .expect("the frame of a local task names its executor");
    let runs_on = RunsOn::Frame(frame.executor.clone());
    let (sender, receiver) = oneshot::channel();
    let abort = Arc::new(AbortFlag::default());
    let task = LocalTask {
        task: CatchPanic::new(task_in(frame, future, context)),
        abort: Finish(Arc::clone(&abort)),
        sender: Some(sender),
        location: Location::caller(),
    };
    submit(&local, Box::pin(task));
    let receiver = Some(receiver);
    JoinHandle::from_local(LocalJoin { receiver, abort }, runs_on)
}

fn submit(local: &FrameLocal, task: LocalBoxFuture<'static, ()>) {
    // A dead executor drops the task, which cancels it.
    if let Some(executor) = local.upgrade() {
        if let Err(task) = executor.spawn_local(task) {
            spawn_by_steps(local.clone(), task);
        }
    }
}

pin_project! {
    /// Sends the outcome of a task to its handle when the task's destructors have run. On a drop the
    /// order of the fields sees to that.
    struct LocalTask<F: Future> {
        #[pin]
        task: CatchPanic<F>,
        abort: Finish,
        sender: Option<oneshot::Sender<Unclaimed<F::Output>>>,
        location: &'static Location<'static>,
    }
}

impl<F: Future> Future for LocalTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let mut this = self.project();
        location::announce(this.location);
        let flag = &this.abort.0;
        flag.waker.register(cx.waker());
        let outcome = if flag.aborted.load(Ordering::Acquire) {
            // Dropped before the sender: the handle hears of it when the destructors have run.
            let panic = this.task.as_mut().drop_future().err();
            panic.map(|panic| Unclaimed::new(Err(panic)))
        } else {
            Some(task::ready!(this.task.poll(cx)))
        };
        flag.finished.store(true, Ordering::Release);
        if let (Some(sender), Some(outcome)) = (this.sender.take(), outcome) {
            let _unread = sender.send(outcome);
        }
        flag.done.end();
        Poll::Ready(())
    }
}

#[derive(Default)]
struct AbortFlag {
    aborted: AtomicBool,
    finished: AtomicBool,
    waker: WakerCell,
    done: Done,
}

/// Marks the task as finished when it is dropped, after its destructors.
struct Finish(Arc<AbortFlag>);

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.finished.store(true, Ordering::Release);
        self.0.done.end();
    }
}

impl Abort for AbortFlag {
    fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}

/// The handle's half of a local task.
pub(crate) struct LocalJoin<T> {
    /// `None` once the result has been given out.
    receiver: Option<oneshot::Receiver<Unclaimed<T>>>,
    abort: Arc<AbortFlag>,
}

impl<T> LocalJoin<T> {
    pub(crate) fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<T, JoinError>> {
        let receiver = self
            .receiver
            .as_mut()
            .expect("`JoinHandle` polled after it gave its result");
        let outcome = task::ready!(Pin::new(receiver).poll(cx));
        self.receiver = None;
        Poll::Ready(match outcome {
            Ok(outcome) => outcome.claim(),
            Err(oneshot::Canceled) => Err(JoinError::cancelled()),
        })
    }

    pub(crate) fn abort(&self) {
        self.abort.abort();
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.abort.is_finished()
    }

    pub(crate) fn add_notice(&self, notice: Notice) -> DoneCallbackId {
        self.abort.done.add(notice)
    }

    pub(crate) fn remove_notice(&self, id: DoneCallbackId) -> bool {
        self.abort.done.remove(id)
    }

    pub(crate) fn share(&self) -> Arc<dyn Abort> {
        Arc::clone(&self.abort) as Arc<dyn Abort>
    }
}

// Tasks of executors that can only run steps.

/// What other threads leave for a thread: the steps that they have woken.
struct Inbox {
    home: thread::Thread,
    /// With the key of the executor that runs the step.
    woken: Mutex<Vec<(usize, async_task::Runnable)>>,
    any: AtomicBool,
}

thread_local! {
    static INBOX: Arc<Inbox> = Arc::new(Inbox {
        home: thread::current(),
        woken: Mutex::default(),
        any: AtomicBool::new(false),
    });
    /// The executors that run steps on this thread, by the key that their tasks know.
    static STEPPERS: RefCell<Slab<FrameLocal>> = const { RefCell::new(Slab::new()) };
}

/// Removes the executor of a task that has ended.
struct RemoveStepper {
    key: usize,
    home: ThreadId,
}

impl Drop for RemoveStepper {
    fn drop(&mut self) {
        if thread::current().id() == self.home {
            // Not there any more when the thread's locals are being destroyed.
            let stepper = STEPPERS.try_with(|steppers| steppers.borrow_mut().try_remove(self.key));
            drop(stepper);
        }
    }
}

fn spawn_by_steps(executor: FrameLocal, task: LocalBoxFuture<'static, ()>) {
    let inbox = INBOX.with(Arc::clone);
    let key = STEPPERS.with(|steppers| steppers.borrow_mut().insert(executor));
    let remove = RemoveStepper {
        key,
        home: inbox.home.id(),
    };
    let schedule = move |runnable| {
        if thread::current().id() == inbox.home.id() {
            step(key, runnable);
        } else {
            inbox
                .woken
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((key, runnable));
            inbox.any.store(true, Ordering::Release);
            inbox.home.unpark();
        }
    };
    let (runnable, handle) = async_task::spawn_local(
        async move {
            let _remove = remove;
            task.await;
        },
        schedule,
    );
    handle.detach();
    runnable.schedule();
}

/// Hands a step to its executor. Without the executor it is dropped, which cancels the task.
fn step(key: usize, runnable: async_task::Runnable) {
    let executor = STEPPERS
        .try_with(|steppers| steppers.borrow().get(key)?.upgrade())
        .ok()
        .flatten();
    if let Some(executor) = executor {
        // A panic drops the step. It would come out of a wake-up.
        contain(|| executor.schedule_local(LocalRunnable::new(runnable)));
    }
}

/// Schedules what other threads have woken on this thread, for a [`LocalExecutor`](super::LocalExecutor) that can
/// only run steps.
///
/// A wake-up from another thread unparks this one. Every [`LocalRunnable::run`] calls this too, so that an executor
/// has to call it only when it has nothing to run, before it parks.
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
        step(key, runnable);
    }
}
