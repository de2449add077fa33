//! The executors of the `futures` crate, with the feature `futures-executor`.

use futures_core::future::LocalBoxFuture;
use futures_executor::{LocalSpawner, ThreadPool};
use futures_task::{LocalSpawn, SpawnError};

use super::executor::{Executor, LocalExecutor, LocalRunnable, Runnable};

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

    fn is_handle(&self) -> bool {
        true
    }
}
