//! Which tasks of runtimes run on this thread: what tells work that the shim did not start from work that it did.
//!
//! The one file below the shim that reaches the adapters. The probes are there as soon as a runtime's feature is on, so
//! that nothing depends on what was called before.

/// The tasks that run on this thread, one for each runtime that can be asked. smol cannot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RunningTask {
    #[cfg(feature = "tokio")]
    tokio: Option<::tokio::task::Id>,
    #[cfg(feature = "async-std")]
    async_std: Option<::async_std::task::TaskId>,
}

impl RunningTask {
    /// No task at all.
    pub(crate) const NONE: RunningTask = RunningTask {
        #[cfg(feature = "tokio")]
        tokio: None,
        #[cfg(feature = "async-std")]
        async_std: None,
    };

    /// Asks the runtimes, whose code may touch thread-locals of theirs.
    #[inline]
    pub(crate) fn now() -> RunningTask {
        RunningTask {
            #[cfg(feature = "tokio")]
            tokio: crate::shim::tokio::running_task(),
            #[cfg(feature = "async-std")]
            async_std: crate::shim::async_std::running_task(),
        }
    }

    /// Whether these tasks run now.
    #[inline]
    pub(crate) fn is_running(self) -> bool {
        self == RunningTask::now()
    }
}
