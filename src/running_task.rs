//! Which tasks of runtimes run on this thread, and whether it is one of a library's threads, which
//! run jobs: what tells work that the shim did not start from work that it did.
//!
//! The list of the runtimes says how each is asked. The probes are there as soon as a feature is
//! on, so that nothing depends on what was called before.

use crate::runtimes::{job_libraries, runtimes};

macro_rules! running_task {
    ($(
        $(#[$doc:meta])*
        $module:ident $Variant:ident $feature:literal $target:meta { $($now:expr => $Id:ty)? }
    )*) => {
        /// The tasks that run on this thread, one for each runtime that can be asked, and the jobs.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) struct RunningTask {
            jobs: RunningJobs,
            $($(
                #[cfg(all(feature = $feature, $target))]
                $module: Option<$Id>,
            )?)*
        }

        impl RunningTask {
            /// No task at all.
            pub(crate) const NONE: RunningTask = RunningTask {
                jobs: RunningJobs::NONE,
                $($(
                    #[cfg(all(feature = $feature, $target))]
                    $module: None::<$Id>,
                )?)*
            };

            /// Asks the runtimes, whose code may touch thread-locals of theirs.
            #[inline]
            pub(crate) fn now() -> RunningTask {
                RunningTask {
                    jobs: RunningJobs::now(),
                    $($(
                        #[cfg(all(feature = $feature, $target))]
                        $module: $now,
                    )?)*
                }
            }
        }
    };
}

runtimes!(running_task);

macro_rules! running_jobs {
    ($($module:ident $feature:literal { $now:expr => $Job:ty })*) => {
        /// The jobs that run on this thread, one for each library that is asked.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        struct RunningJobs {
            $(
                #[cfg(feature = $feature)]
                $module: Option<$Job>,
            )*
        }

        impl RunningJobs {
            const NONE: RunningJobs = RunningJobs {
                $(
                    #[cfg(feature = $feature)]
                    $module: None::<$Job>,
                )*
            };

            #[inline]
            fn now() -> RunningJobs {
                RunningJobs {
                    $(
                        #[cfg(feature = $feature)]
                        $module: $now,
                    )*
                }
            }
        }
    };
}

job_libraries!(running_jobs);

impl RunningTask {
    /// Whether jobs run, and no tasks.
    pub(crate) fn is_job(self) -> bool {
        let mut tasks = self;
        tasks.jobs = RunningJobs::NONE;
        self.jobs != RunningJobs::NONE && tasks == RunningTask::NONE
    }
}
