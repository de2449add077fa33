//! Tasks that stay on their thread, and the handles that may leave it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{self, Poll};

use futures_channel::oneshot;
use pin_project_lite::pin_project;

use super::done::Done;
use super::id::TaskId;
use crate::shim::join_error::JoinError;
use crate::shim::join_task::Abort;
use crate::shim::outcome::{CatchPanic, Joined, Outcome};
use crate::sync::WakerCell;
use crate::sync::atomic::{AtomicBool, Ordering};

/// A task and its handle.
pub(crate) fn local_task<F: Future>(future: F) -> (LocalTask<F>, LocalJoin<F::Output>) {
    let (sender, receiver) = oneshot::channel();
    let ending = Arc::new(Ending::default());
    let task = LocalTask {
        task: CatchPanic::new(future),
        end: EndOnDrop(Arc::clone(&ending)),
        sender: Some(sender),
    };
    let receiver = Some(receiver);
    (task, LocalJoin { receiver, ending })
}

pin_project! {
    /// Sends the outcome of a task to its handle when the task's destructors have run. When this is
    /// dropped, the order of the fields does the same.
    pub(crate) struct LocalTask<F: Future> {
        #[pin]
        task: CatchPanic<F>,
        end: EndOnDrop,
        sender: Option<oneshot::Sender<Outcome<F::Output>>>,
    }
}

impl<F: Future> Future for LocalTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let ending = &this.end.0;
        ending.waker.register(cx.waker());
        let outcome = if ending.is_aborted.load(Ordering::Acquire) {
            // Dropped before the sender: the handle hears of it when the destructors have run.
            let panic = this.task.as_mut().drop_future().err();
            panic.map(|panic| Outcome::new(Err(panic)))
        } else {
            Some(task::ready!(this.task.poll(cx)))
        };
        ending.is_finished.store(true, Ordering::Release);
        if let (Some(sender), Some(outcome)) = (this.sender.take(), outcome) {
            let _unread = sender.send(outcome);
        }
        ending.done.end();
        Poll::Ready(())
    }
}

/// What a task and its handles share of its end.
#[derive(Default)]
pub(super) struct Ending {
    is_aborted: AtomicBool,
    is_finished: AtomicBool,
    waker: WakerCell,
    done: Done,
    id: OnceLock<TaskId>,
}

/// Marks the task as finished when it is dropped, after its destructors.
struct EndOnDrop(Arc<Ending>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.is_finished.store(true, Ordering::Release);
        self.0.done.end();
    }
}

impl Ending {
    pub(super) fn done(&self) -> &Done {
        &self.done
    }
}

impl Abort for Ending {
    fn abort(&self) {
        self.is_aborted.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Acquire)
    }
}

/// The handle's half of a local task.
pub(crate) struct LocalJoin<T> {
    /// `None` once the outcome has been given out.
    receiver: Option<oneshot::Receiver<Outcome<T>>>,
    ending: Arc<Ending>,
}

impl<T> LocalJoin<T> {
    pub(super) fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
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

    pub(super) fn is_finished(&self) -> bool {
        self.ending.is_finished()
    }

    pub(super) fn id(&self) -> TaskId {
        *self.ending.id.get_or_init(TaskId::next)
    }

    pub(super) fn ending(&self) -> Arc<Ending> {
        Arc::clone(&self.ending)
    }
}
