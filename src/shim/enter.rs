//! Entering an executor and blocking on it: the same for both kinds.

use std::future::Future;
use std::sync::Arc;

use super::block::{self, BlockOnError};
use super::context_aware::ContextAwareExecutor;
use super::entered::EnterGuard;
use super::executor::{Executor, LocalExecutor};

/// An executor of either kind, [`Executor`] or [`LocalExecutor`].
///
/// `Kind` tells which of the two it is, so that both can have one `enter` and one `block_on`. It is
/// inferred; a type that is both has to name it. The trait is sealed.
pub trait AnyExecutor<Kind>: sealed::Enter<Kind> {}

impl<E: sealed::Enter<Kind>, Kind> AnyExecutor<Kind> for E {}

/// The kind of every [`Executor`]; see [`AnyExecutor`].
#[derive(Debug)]
pub enum Anywhere {}

/// The kind of every [`LocalExecutor`]; see [`AnyExecutor`].
#[derive(Debug)]
pub enum Here {}

impl<E> ContextAwareExecutor<E> {
    /// Sends what the free functions of [`shim`](super) spawn on this thread to this executor, until
    /// the guard is dropped.
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
    ///
    /// On an executor of one thread, [`shim::spawn_local`](super::spawn_local) goes to it as well:
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// use std::rc::Rc;
    /// use aiocontextvars::shim::{self, ContextAwareExecutor};
    /// use futures::executor::LocalPool;
    ///
    /// let mut pool = LocalPool::new();
    /// let executor = ContextAwareExecutor::new(pool.spawner());
    /// let _guard = executor.enter();
    /// let task = shim::spawn_local(async { Rc::new(1) });
    /// assert_eq!(*pool.run_until(task).unwrap(), 1);
    /// # }
    /// ```
    pub fn enter<Kind>(&self) -> EnterGuard<'_>
    where
        E: AnyExecutor<Kind>,
    {
        EnterGuard::new(E::entered_frame(self))
    }

    /// Runs `future` to completion on the calling thread, in a copy of the current context; what it
    /// spawns goes to this executor. An executor of one thread runs its tasks meanwhile.
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
    pub fn block_on<F: Future, Kind>(&self, future: F) -> F::Output
    where
        E: AnyExecutor<Kind>,
    {
        match self.try_block_on(future) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`block_on`](Self::block_on).
    ///
    /// # Errors
    ///
    /// A [`BlockOnError`] if this thread may not block on this executor. Nothing has been entered then, and
    /// the future has not been polled.
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
    /// assert!(executor.try_block_on(async { 1 }).is_err());
    /// # }
    /// ```
    pub fn try_block_on<F: Future, Kind>(&self, future: F) -> Result<F::Output, BlockOnError>
    where
        E: AnyExecutor<Kind>,
    {
        block::block_on(
            |future| self.inner.block(future),
            self.new_context(),
            E::running_frame(self),
            future,
        )
    }
}

mod sealed {
    use std::pin::Pin;

    use super::super::entered::{ExecutorFrame, FrameExecutor, FrameLocal};
    use super::super::native::frame_of;
    use super::*;

    #[allow(
        private_interfaces,
        reason = "the trait cannot be named outside the crate"
    )]
    pub trait Enter<Kind>: Sized {
        /// The frame of a thread that has entered the executor and does not run it.
        fn entered_frame(aware: &ContextAwareExecutor<Self>) -> ExecutorFrame;

        /// The frame of a thread that runs the executor.
        fn running_frame(aware: &ContextAwareExecutor<Self>) -> ExecutorFrame {
            Self::entered_frame(aware)
        }

        fn block(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError>;
    }

    #[allow(private_interfaces, reason = "as in the trait")]
    impl<E: Executor> Enter<Anywhere> for E {
        fn entered_frame(aware: &ContextAwareExecutor<E>) -> ExecutorFrame {
            // Held weakly: the guard borrows the wrapper. A native's own name for itself may mean "this
            // thread's runtime", which is not where the guard is.
            let executor: Arc<dyn Executor> = aware.inner.clone();
            ExecutorFrame::new(
                FrameExecutor::Weak(Arc::downgrade(&executor)),
                None,
                aware.fixed.clone(),
            )
        }

        fn running_frame(aware: &ContextAwareExecutor<E>) -> ExecutorFrame {
            let executor: Arc<dyn Executor> = aware.inner.clone();
            ExecutorFrame::new(frame_of(&executor), None, aware.fixed.clone())
        }

        fn block(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
            self.block_on(future)
        }
    }

    #[allow(private_interfaces, reason = "as in the trait")]
    impl<E: LocalExecutor> Enter<Here> for E {
        fn entered_frame(aware: &ContextAwareExecutor<E>) -> ExecutorFrame {
            aware.frame()
        }

        fn block(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
            self.block_on(future)
        }
    }

    impl<E: LocalExecutor> ContextAwareExecutor<E> {
        /// The frame of work on this executor.
        pub(crate) fn frame(&self) -> ExecutorFrame {
            // The executor's own answers, not those of the pointer.
            let executor: &E = &self.inner;
            let local = executor.frame_local().unwrap_or_else(|| {
                let inner: Arc<dyn LocalExecutor> = self.inner.clone();
                if executor.is_handle() {
                    FrameLocal::Strong(inner)
                } else {
                    FrameLocal::Weak(Arc::downgrade(&inner))
                }
            });
            ExecutorFrame::new(
                executor.frame().unwrap_or(FrameExecutor::None),
                Some(local),
                self.fixed.clone(),
            )
        }
    }
}
