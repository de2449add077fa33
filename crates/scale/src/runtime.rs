//! What tasks run on: runtimes that need no thread but the one that starts them.

use std::future::Future;

use aiocontextvars::Context;
use aiocontextvars::event_loop::EventLoop;

/// A kind of runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Runtime {
    EventLoop,
    Tokio,
    Smol,
}

impl Runtime {
    pub(crate) const ALL: &[Runtime] = &[Runtime::EventLoop, Runtime::Tokio, Runtime::Smol];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Runtime::EventLoop => "event loop",
            Runtime::Tokio => "tokio",
            Runtime::Smol => "smol",
        }
    }

    /// Whether it exists without this crate.
    pub(crate) fn can_be_bare(self) -> bool {
        !matches!(self, Runtime::EventLoop)
    }

    pub(crate) fn start(self) -> Started {
        match self {
            Runtime::EventLoop => Started::EventLoop(EventLoop::new()),
            Runtime::Tokio => Started::Tokio(tokio::runtime()),
            Runtime::Smol => Started::Smol(smol::executor()),
        }
    }
}

/// One that runs. Its tasks go with it.
pub(crate) enum Started {
    EventLoop(EventLoop),
    Tokio(::tokio::runtime::Runtime),
    Smol(smol::Executor),
}

impl Started {
    /// Runs `future` in a copy of the current context.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            Started::EventLoop(event_loop) => event_loop.run_until_complete(future),
            Started::Tokio(runtime) => tokio::block_on(runtime, future),
            Started::Smol(executor) => executor.block_on(future),
        }
    }

    /// Spawns as a program without this crate does; on the event loop, which is of this crate,
    /// without variables.
    pub(crate) fn spawn_bare(&self, future: impl Future<Output = ()> + Send + 'static) {
        match self {
            Started::EventLoop(event_loop) => {
                event_loop.spawn_in(Context::new(), future).detach();
            }
            Started::Tokio(runtime) => drop(runtime.spawn(future)),
            Started::Smol(executor) => executor.get_ref().spawn(future).detach(),
        }
    }
}

mod tokio {
    use std::future::Future;

    use ::tokio::runtime::{Builder, Runtime};
    use aiocontextvars::ContextExt;

    pub(super) fn runtime() -> Runtime {
        let runtime = Builder::new_current_thread().build();
        runtime.expect("a runtime can be started")
    }

    pub(super) fn block_on<F: Future>(runtime: &Runtime, future: F) -> F::Output {
        runtime.block_on(future.in_current_context())
    }
}

mod smol {
    use std::sync::Arc;

    use aiocontextvars::shim::ContextAwareExecutor;

    pub(super) type Executor = ContextAwareExecutor<Arc<::smol::Executor<'static>>>;

    pub(super) fn executor() -> Executor {
        ContextAwareExecutor::new(Arc::new(::smol::Executor::new()))
    }
}
