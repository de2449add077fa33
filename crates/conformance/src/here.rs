//! An executor of one thread, which runs inside of whoever waits for it.

use std::cell::RefCell;
use std::future::{self, Future};
use std::pin::pin;
use std::task::{Context, Poll};

use aiocontextvars::shim::{LocalExecutor, LocalRunnable};
use futures::executor;
use futures::future::LocalBoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};

type Task = LocalBoxFuture<'static, ()>;

#[derive(Default)]
pub(crate) struct Here {
    new: RefCell<Vec<Task>>,
    tasks: RefCell<FuturesUnordered<Task>>,
}

impl Here {
    /// Runs its tasks until `future` is done.
    pub(crate) fn run_until<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        executor::block_on(future::poll_fn(|cx| {
            let output = future.as_mut().poll(cx);
            // Those that it has spawned as well.
            self.poll(cx);
            output
        }))
    }

    /// Runs its tasks until none is left.
    #[allow(dead_code, reason = "not all that include this file wait for that")]
    pub(crate) fn run(&self) {
        executor::block_on(future::poll_fn(|cx| match self.poll(cx) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }));
    }

    /// Polls the tasks that are woken. Returns whether any are left.
    fn poll(&self, cx: &mut Context<'_>) -> bool {
        let mut tasks = self.tasks.borrow_mut();
        loop {
            tasks.extend(self.new.take());
            let ended = tasks.poll_next_unpin(cx);
            if self.new.borrow().is_empty() && !matches!(ended, Poll::Ready(Some(()))) {
                return ended.is_pending();
            }
        }
    }

    fn push(&self, task: Task) {
        self.new.borrow_mut().push(task);
    }
}

impl LocalExecutor for Here {
    fn schedule_local(&self, step: LocalRunnable) {
        self.push(Box::pin(async { step.run() }));
    }

    fn spawn_local(&self, task: Task) -> Result<(), Task> {
        self.push(task);
        Ok(())
    }
}
