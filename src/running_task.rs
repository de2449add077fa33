//! Which tasks of runtimes run on this thread: what tells work that the shim did not start from work that it did.
//!
//! The one file below the shim that reaches the adapters. The probes are there as soon as a runtime's feature is on, so
//! that nothing depends on what was called before.

use crate::shim::runtime::Runtime;
use crate::shim::{adapters, runtimes};

macro_rules! running_task {
    ($($module:ident $Variant:ident $feature:literal)*) => {
        /// The tasks that run on this thread, one for each runtime that can be asked.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) struct RunningTask {
            $($module: Option<<adapters::$module::Runtime as Runtime>::TaskId>,)*
        }

        impl RunningTask {
            /// No task at all.
            pub(crate) const NONE: RunningTask = RunningTask {
                $($module: None,)*
            };

            /// Asks the runtimes, whose code may touch thread-locals of theirs.
            #[inline]
            pub(crate) fn now() -> RunningTask {
                RunningTask {
                    $($module: <adapters::$module::Runtime as Runtime>::running_task(),)*
                }
            }
        }
    };
}

runtimes!(running_task);

impl RunningTask {
    /// Whether these tasks run now.
    #[inline]
    pub(crate) fn is_running(self) -> bool {
        self == RunningTask::now()
    }
}
