//! Which executor the free functions go to.
//!
//! In this order: the innermost frame (a task's, a callback's, `enter`'s), the tokio runtime of this
//! thread, async-std's current task, the default of the process, and the global executor of smol or
//! async-std if exactly one of these two is compiled in. A frame that names only a local executor sends
//! all work there.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::entered::{self, ExecutorFrame, Home};
use super::executor::Clock;
use super::native::{Destination, First, Named, Target};

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
                 use its `spawn_local`, or run inside `EventLoop::run_until_complete`; inside a `LocalSet` or \
                 another executor that is not wrapped, spawn by its own means and take the context along: \
                 `tokio::task::spawn_local(future.in_current_context())`",
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

/// Where a unit of work from here goes.
pub(crate) enum Place {
    /// To an executor that any thread can reach.
    Anywhere(Destination),
    /// To the local executor of this frame, because the frame names no other.
    Here(ExecutorFrame),
}

/// The executor for whose tasks a future need not be boxed, if [`place`] is there.
#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std"))]
#[inline]
pub(crate) fn first() -> Option<First> {
    entered::peek(Named::of_frame).and_then(First::of)
}

#[cfg(not(any(feature = "tokio", feature = "smol", feature = "async-std")))]
pub(crate) fn first() -> Option<First> {
    match place() {
        Ok(Place::Anywhere(destination)) => First::of(&destination),
        _ => None,
    }
}

/// Searches for the executor for a unit of work from here.
#[inline]
pub(crate) fn place() -> Result<Place, NoRuntime> {
    match entered::peek(of_frame) {
        Some(place) => Ok(place),
        None => outside(),
    }
}

/// Where work goes that no frame sends anywhere.
fn outside() -> Result<Place, NoRuntime> {
    Named::of_thread()
        .map(|runtime| runtime.target().unfixed())
        .or_else(default)
        .or_else(|| global().map(Target::unfixed))
        .map(Place::Anywhere)
        .ok_or(NoRuntime { local: false })
}

#[inline]
fn of_frame(frame: &dyn Home) -> Option<Place> {
    let destination = Target::of_frame(frame.executor()).map(|executor| {
        Place::Anywhere(Destination {
            executor,
            fixed: frame.fixed().cloned(),
        })
    });
    destination.or_else(|| {
        frame
            .has_live_local()
            .then(|| Place::Here(frame.to_frame()))
    })
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

/// The frame of the local executor that is entered on this thread, or that runs its task.
pub(crate) fn local_frame() -> Result<ExecutorFrame, NoRuntime> {
    let (mut frame, has_live_local) =
        entered::peek(|frame| (frame.to_frame(), frame.has_live_local()));
    if !has_live_local {
        frame.local = Target::of_frame(&frame.executor).and_then(|target| target.local());
    }
    match frame.local {
        Some(_) => Ok(frame),
        None => Err(NoRuntime { local: true }),
    }
}

/// The clock of the executor that this thread is in.
pub(crate) fn clock() -> Option<Arc<dyn Clock>> {
    place().ok().map(|place| place.clock())
}
