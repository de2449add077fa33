//! Which executor the free functions go to.
//!
//! In this order: the innermost frame (a task's, a callback's, `enter`'s), the tokio runtime of this
//! thread, async-std's current task, the default of the process, and the global executor of smol or
//! async-std if exactly one of these two is compiled in.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::entered::{self, ExecutorFrame};
use super::executor::Clock;
use super::native::{Destination, Target};

/// There is no executor to send work to.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// if let Err(error) = shim::try_spawn(async {}) {
///     assert!(error.to_string().contains("enter"));
/// }
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoRuntime {
    local: bool,
}

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.local {
            return f.write_str(
                "no local executor is entered on this thread: call `ContextAwareExecutor::enter` on one, \
                 use its `spawn_local`, or run inside `EventLoop::run_until_complete`",
            );
        }
        f.write_str(
            "no executor here: call this inside a task, `shim::block_on` or a runtime, enter a \
             `ContextAwareExecutor`, or set one with `shim::set_default`",
        )?;
        if cfg!(all(feature = "smol", feature = "async-std")) {
            f.write_str(
                "; the global executors of smol and async-std are both compiled in, so that neither is \
                 the obvious one: name it, as in `shim::smol::spawn`",
            )?;
        } else if !cfg!(any(feature = "smol", feature = "async-std")) {
            f.write_str(
                "; the features `tokio`, `smol` and `async-std` of `aiocontextvars` add runtimes",
            )?;
        }
        Ok(())
    }
}

impl Error for NoRuntime {}

static DEFAULT: RwLock<Option<Destination>> = RwLock::new(None);

/// Sets the executor of last resort, and returns the one before.
pub(crate) fn set_default(destination: Destination) -> Option<Destination> {
    DEFAULT
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .replace(destination)
}

fn default() -> Option<Destination> {
    DEFAULT
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// The executor for a unit of work from here.
pub(crate) fn destination() -> Result<Destination, NoRuntime> {
    let framed = entered::peek(|frame| {
        Target::of_frame(&frame.executor).map(|executor| Destination {
            executor,
            fixed: frame.fixed.clone(),
        })
    });
    framed
        .or_else(|| {
            ambient().map(|executor| Destination {
                executor,
                fixed: None,
            })
        })
        .or_else(|| default())
        .or_else(|| {
            global().map(|executor| Destination {
                executor,
                fixed: None,
            })
        })
        .ok_or(NoRuntime { local: false })
}

/// The runtime that says it runs on this thread.
fn ambient() -> Option<Target> {
    #[cfg(feature = "tokio")]
    if super::tokio::is_current() {
        return Some(Target::TokioCurrent);
    }
    #[cfg(feature = "async-std")]
    if super::async_std::is_current() {
        return Some(Target::AsyncStd);
    }
    None
}

/// The global executor, if there is only one.
fn global() -> Option<Target> {
    #[cfg(all(feature = "smol", not(feature = "async-std")))]
    return Some(Target::Smol);
    #[cfg(all(feature = "async-std", not(feature = "smol")))]
    return Some(Target::AsyncStd);
    #[cfg(any(
        all(feature = "smol", feature = "async-std"),
        not(any(feature = "smol", feature = "async-std"))
    ))]
    None
}

/// The frame of the local executor that is entered on this thread.
pub(crate) fn local_frame() -> Result<ExecutorFrame, NoRuntime> {
    entered::peek(|frame| frame.local.is_some().then(|| frame.clone()))
        .filter(|frame| {
            frame
                .local
                .as_ref()
                .is_some_and(|local| local.upgrade().is_some())
        })
        .ok_or(NoRuntime { local: true })
}

/// The clock of the executor that this thread is in.
pub(crate) fn clock() -> Option<Arc<dyn Clock>> {
    if let Ok(frame) = local_frame() {
        return frame.local.as_ref()?.upgrade().map(|local| local.clock());
    }
    destination()
        .ok()
        .map(|destination| destination.executor.as_executor().clock())
}
