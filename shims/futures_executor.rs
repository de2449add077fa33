//! The executors of the `futures` crate, with the feature `futures-executor`.

use std::future::Future;
use std::pin::Pin;

use futures_core::future::LocalBoxFuture;
use futures_executor::{LocalSpawner, ThreadPool};
use futures_task::{LocalSpawn, SpawnError};

use crate::shim::block::BlockOnError;
use crate::shim::executor::{Adapter, Executor, Hooks, LocalExecutor, LocalName, QueueKey};
use crate::shim::runnable::{LocalRunnable, Runnable};

impl Executor for ThreadPool {
    fn schedule(&self, task: Runnable) {
        self.spawn_ok(async move { task.run() });
    }
}

impl LocalExecutor for LocalSpawner {
    fn schedule_local(&self, task: LocalRunnable) {
        // Fails if the pool is gone; that drops the step and cancels its task.
        let _: Result<(), SpawnError> =
            self.spawn_local_obj(Box::new(async move { task.run() }).into());
    }

    fn spawn_local(
        &self,
        task: LocalBoxFuture<'static, ()>,
    ) -> Result<(), LocalBoxFuture<'static, ()>> {
        let _: Result<(), SpawnError> = self.spawn_local_obj(task.into());
        Ok(())
    }

    fn hooks(&self) -> Hooks<'_, LocalName> {
        Hooks::adapted(QueueKey::address(self), self)
    }
}

impl Adapter for LocalSpawner {
    fn is_handle(&self) -> bool {
        true
    }

    fn block_on(&self, _: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        Err(BlockOnError::unsupported())
    }
}
