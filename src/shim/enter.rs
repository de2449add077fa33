//! Entering an executor, and blocking on it.

use std::future::Future;
use std::sync::Arc;

use super::block::{self, BlockOnError};
use super::context_aware::ContextAwareExecutor;
use super::executor::{Executor, ExecutorName, LocalExecutor};
use super::executor_ref::ScopeExecutor;
use super::scope::{EnterGuard, ExecutorScope};
use super::task::TaskFuture;

impl<E: Executor> ContextAwareExecutor<E> {
    /// Sends what the free functions of [`shim`](super) spawn on this thread to this executor,
    /// until the guard is dropped or the poll or call that this is in ends, whichever comes first.
    /// So not across an await: use the methods of the executor there. Other tasks on this thread are
    /// not sent there, as far as their runtime tells them apart.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// use aiocontextvars::shim::{self, ContextAwareExecutor};
    /// use futures::executor::ThreadPool;
    ///
    /// let executor = ContextAwareExecutor::new(ThreadPool::new().unwrap());
    /// let task = {
    ///     let _guard = executor.enter();
    ///     shim::spawn(async { 1 })
    /// };
    /// assert_eq!(executor.block_on(task).unwrap(), 1);
    /// # }
    /// ```
    pub fn enter(&self) -> EnterGuard<'_> {
        // Held weakly: the guard borrows the wrapper. A runtime's name may mean that of the thread,
        // which is not where the guard is.
        let executor: Arc<dyn Executor> = self.inner.clone();
        let name = ExecutorName::Weak(Arc::downgrade(&executor));
        EnterGuard::new(ExecutorScope::new(
            ScopeExecutor::Value(name),
            self.fixed.clone(),
        ))
    }

    /// Runs `future` to completion on the calling thread, in a copy of the current context; what it
    /// spawns goes to this executor. An executor that runs on the calling thread only runs its
    /// tasks meanwhile.
    ///
    /// # Panics
    ///
    /// Where [`try_block_on`](Self::try_block_on) gives an error.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// use aiocontextvars::shim::ContextAwareExecutor;
    /// use futures::executor::ThreadPool;
    ///
    /// let executor = ContextAwareExecutor::new(ThreadPool::new().unwrap());
    /// assert_eq!(executor.block_on(async { 1 }), 1);
    /// # }
    /// ```
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self.try_block_on(future) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`block_on`](Self::block_on).
    ///
    /// # Errors
    ///
    /// A [`BlockOnError`] if this thread may not block on this executor. Nothing has been entered
    /// then, and the future has not been polled.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// use aiocontextvars::shim::ContextAwareExecutor;
    /// use futures::executor::ThreadPool;
    ///
    /// // A task of the pool may not block one of its threads.
    /// let executor = ContextAwareExecutor::new(ThreadPool::new().unwrap());
    /// let same = executor.clone();
    /// let task = executor.spawn(async move { same.try_block_on(async { 1 }).is_err() });
    /// assert!(executor.block_on(task).unwrap());
    /// # }
    /// ```
    pub fn try_block_on<F: Future>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let on = self.on_executor();
        let future = TaskFuture::to_block_on(on.new_context(), on.scope(), future);
        block::run(|future| self.inner.hooks().block_on(future), future)
    }
}

impl<E: LocalExecutor> ContextAwareExecutor<E> {
    /// Sends what the free functions of [`shim`](super) spawn on this thread to this executor,
    /// until the guard is dropped, or the poll or call ends in which this is called:
    /// [`spawn_local`](super::spawn_local) and its family, and if the executor has no runtime
    /// beside it, as a `LocalSet` has, all others too.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// use std::rc::Rc;
    /// use aiocontextvars::shim::{self, ContextAwareExecutor};
    /// use futures::executor::LocalPool;
    ///
    /// let mut pool = LocalPool::new();
    /// let executor = ContextAwareExecutor::new(pool.spawner());
    /// let _guard = executor.enter_local();
    /// let task = shim::spawn_local(async { Rc::new(1) });
    /// assert_eq!(*pool.run_until(task).unwrap(), 1);
    /// # }
    /// ```
    pub fn enter_local(&self) -> EnterGuard<'_> {
        EnterGuard::new(self.scope())
    }

    /// Runs `future` to completion on the calling thread, in a copy of the current context; what it
    /// spawns goes to this executor, whose tasks run meanwhile.
    ///
    /// # Panics
    ///
    /// Where [`try_block_on_local`](Self::try_block_on_local) gives an error.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "smol")] {
    /// use std::rc::Rc;
    /// use aiocontextvars::shim::{self, ContextAwareExecutor};
    ///
    /// let executor = ContextAwareExecutor::new(Rc::new(smol::LocalExecutor::new()));
    /// let output = executor.block_on_local(async {
    ///     shim::spawn_local(async { Rc::new(1) }).await.unwrap()
    /// });
    /// assert_eq!(*output, 1);
    /// # }
    /// ```
    #[track_caller]
    pub fn block_on_local<F: Future>(&self, future: F) -> F::Output {
        match self.try_block_on_local(future) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`block_on_local`](Self::block_on_local).
    ///
    /// # Errors
    ///
    /// A [`BlockOnError`] if this thread may not block on this executor. Nothing has been entered
    /// then, and the future has not been polled.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// use aiocontextvars::shim::ContextAwareExecutor;
    /// use futures::executor::LocalPool;
    ///
    /// // A spawner cannot run its pool.
    /// let executor = ContextAwareExecutor::new(LocalPool::new().spawner());
    /// assert!(executor.try_block_on_local(async { 1 }).is_err());
    /// # }
    /// ```
    pub fn try_block_on_local<F: Future>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let future = TaskFuture::to_block_on(self.new_context(), self.scope(), future);
        block::run(|future| self.inner.hooks().block_on(future), future)
    }
}
