//! The runtimes that the service can run on. They differ in how they are started
//! and in how they spawn the tasks of connections.

use std::future::Future;
use std::io;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim;

/// One of the runtimes that are compiled in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Runtime {
    EventLoop,
    #[cfg(feature = "tokio")]
    Tokio,
    #[cfg(feature = "tokio")]
    TokioCurrentThread,
    #[cfg(feature = "async-std")]
    AsyncStd,
    #[cfg(feature = "smol")]
    Smol,
}

/// Every name that is known, compiled in or not, and the feature it needs.
const NAMES: [(&str, Option<&str>); 5] = [
    ("event-loop", None),
    ("tokio", Some("tokio")),
    ("tokio-current-thread", Some("tokio")),
    ("async-std", Some("async-std")),
    ("smol", Some("smol")),
];

impl Runtime {
    pub(crate) const ALL: &[Runtime] = &[
        Runtime::EventLoop,
        #[cfg(feature = "tokio")]
        Runtime::Tokio,
        #[cfg(feature = "tokio")]
        Runtime::TokioCurrentThread,
        #[cfg(feature = "async-std")]
        Runtime::AsyncStd,
        #[cfg(feature = "smol")]
        Runtime::Smol,
    ];

    /// The name of all that are compiled in.
    pub(crate) const EVERY: &str = "all";

    /// Those that go by a name; the error is a message.
    pub(crate) fn named(name: &str) -> Result<Vec<Runtime>, String> {
        if name == Runtime::EVERY {
            return Ok(Runtime::ALL.to_vec());
        }
        if let Some(runtime) = Runtime::ALL.iter().find(|runtime| runtime.name() == name) {
            return Ok(vec![*runtime]);
        }
        Err(match NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, Some(feature))) => {
                format!(
                    "the runtime `{name}` is not compiled in: build with `--features {feature}`"
                )
            }
            _ => {
                let names = NAMES.map(|(known, _)| known).join(", ");
                let every = Runtime::EVERY;
                format!("there is no runtime `{name}`; choose from {names}, {every}")
            }
        })
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Runtime::EventLoop => "event-loop",
            #[cfg(feature = "tokio")]
            Runtime::Tokio => "tokio",
            #[cfg(feature = "tokio")]
            Runtime::TokioCurrentThread => "tokio-current-thread",
            #[cfg(feature = "async-std")]
            Runtime::AsyncStd => "async-std",
            #[cfg(feature = "smol")]
            Runtime::Smol => "smol",
        }
    }

    pub(crate) fn is_tokio(self) -> bool {
        self.name().starts_with("tokio")
    }

    /// Whether the runtime tells which of its tasks is running, so that writes in tasks that the
    /// shim did not spawn are refused.
    pub(crate) fn tells_its_tasks(self) -> bool {
        match self {
            // The shim spawns all tasks of an event loop.
            Runtime::EventLoop => false,
            #[cfg(feature = "tokio")]
            Runtime::Tokio | Runtime::TokioCurrentThread => true,
            #[cfg(feature = "async-std")]
            Runtime::AsyncStd => true,
            #[cfg(feature = "smol")]
            Runtime::Smol => false,
        }
    }

    /// Spawns the task of a connection with the runtime's own `spawn`, as hyper-util and axum do.
    ///
    /// On smol with the shim's: a write in a task of smol's own cannot be refused. It would go to
    /// the worker thread, and all such tasks on that thread would see it.
    pub(crate) fn spawn_connection<F>(self, connection: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self {
            Runtime::EventLoop => shim::spawn(connection).detach(),
            #[cfg(feature = "tokio")]
            Runtime::Tokio | Runtime::TokioCurrentThread => drop(tokio::spawn(connection)),
            #[cfg(feature = "async-std")]
            Runtime::AsyncStd => drop(async_std::task::spawn(connection)),
            #[cfg(feature = "smol")]
            Runtime::Smol => shim::spawn(connection).detach(),
        }
    }

    /// Runs `future` on a runtime of this kind. Those that are not global are new, and end with it.
    pub(crate) fn block_on<F: Future>(self, future: F) -> io::Result<F::Output> {
        match self {
            Runtime::EventLoop => Ok(EventLoop::new().run_until_complete(future)),
            #[cfg(feature = "tokio")]
            Runtime::Tokio => block_on_tokio(tokio::runtime::Builder::new_multi_thread(), future),
            #[cfg(feature = "tokio")]
            Runtime::TokioCurrentThread => {
                block_on_tokio(tokio::runtime::Builder::new_current_thread(), future)
            }
            #[cfg(feature = "async-std")]
            Runtime::AsyncStd => Ok(shim::async_std::block_on(future)),
            #[cfg(feature = "smol")]
            Runtime::Smol => Ok(shim::smol::block_on(future)),
        }
    }
}

#[cfg(feature = "tokio")]
fn block_on_tokio<F: Future>(
    mut builder: tokio::runtime::Builder,
    future: F,
) -> io::Result<F::Output> {
    use aiocontextvars::ContextExt;

    let runtime = builder.enable_time().build()?;
    Ok(runtime.block_on(future.in_current_context()))
}
