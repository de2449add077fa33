//! rayon's pools as executors.

use std::future::Future;
use std::pin::Pin;

use ::rayon::ThreadPool;

use crate::shim::block::{self, BlockOnError};
use crate::shim::executor::{Adapter, Executor, ExecutorName, Hooks, QueueKey};
use crate::shim::runnable::Runnable;

impl Executor for ThreadPool {
    fn schedule(&self, task: Runnable) {
        // In order, or a task that wakes itself would keep the worker from those it waits for.
        self.spawn_fifo(|| task.run());
    }

    fn hooks(&self) -> Hooks<'_, ExecutorName> {
        Hooks::adapted(QueueKey::address(self), self)
    }
}

impl Adapter for ThreadPool {
    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        if self.current_thread_index().is_some() {
            return Err(BlockOnError::new(
                "this thread is a worker of the pool; await the future instead",
            ));
        }
        block::park_on(future)
    }
}
