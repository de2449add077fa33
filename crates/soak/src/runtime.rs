//! The runtimes that are compiled in.

/// One of them. The number is its row in the ledger.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Runtime {
    EventLoop,
    FromSchedule,
    ThreadPool,
    LocalPool,
    Tokio,
    TokioCurrentThread,
    TokioLocalSet,
    AsyncStd,
    Smol,
    SmolExecutor,
    SmolLocalExecutor,
}

impl Runtime {
    pub(crate) const ALL: &[Runtime] = &[
        Runtime::EventLoop,
        Runtime::FromSchedule,
        Runtime::ThreadPool,
        Runtime::LocalPool,
        Runtime::Tokio,
        Runtime::TokioCurrentThread,
        Runtime::TokioLocalSet,
        Runtime::AsyncStd,
        Runtime::Smol,
        Runtime::SmolExecutor,
        Runtime::SmolLocalExecutor,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Runtime::EventLoop => "event-loop",
            Runtime::FromSchedule => "from-schedule",
            Runtime::ThreadPool => "futures-thread-pool",
            Runtime::LocalPool => "futures-local-pool",
            Runtime::Tokio => "tokio",
            Runtime::TokioCurrentThread => "tokio-current-thread",
            Runtime::TokioLocalSet => "tokio-local-set",
            Runtime::AsyncStd => "async-std",
            Runtime::Smol => "smol",
            Runtime::SmolExecutor => "smol-executor",
            Runtime::SmolLocalExecutor => "smol-local-executor",
        }
    }

    /// tokio and async-std tell which task is running.
    pub(crate) fn refuses_foreign_writes(self) -> bool {
        self.name().starts_with("tokio") || self.name() == "async-std"
    }

    /// The jobs of a local executor are out of its reach, on another thread.
    pub(crate) fn is_found_by_jobs(self) -> bool {
        !matches!(self.name(), "futures-local-pool" | "smol-local-executor")
    }

    /// Whether the thread that drives it runs nobody else's tasks, and may have a context of its
    /// own.
    pub(crate) fn has_own_thread(self) -> bool {
        self.name().starts_with("futures")
            || matches!(self, Runtime::EventLoop | Runtime::FromSchedule)
    }
}
