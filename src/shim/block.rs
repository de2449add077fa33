//! Running a future on the calling thread.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::entered::ExecutorFrame;
use super::mark::Mark;
use super::native::in_home;
use crate::context::Context;
use crate::future::BlockOnContext;

/// `block_on` cannot run here.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// assert_eq!(shim::try_block_on(async { 1 }).unwrap(), 1);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BlockOnError {
    reason: &'static str,
}

impl BlockOnError {
    pub(crate) fn nested(reason: &'static str) -> BlockOnError {
        BlockOnError { reason }
    }

    pub(crate) fn unsupported() -> BlockOnError {
        BlockOnError {
            reason: "this executor cannot be run from here; run it by its own means, and await instead",
        }
    }
}

impl fmt::Display for BlockOnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot block on a future here: {}", self.reason)
    }
}

impl Error for BlockOnError {}

/// Runs `future` in `context` and in `frame`, by means of `block`.
pub(crate) fn block_on<F: Future>(
    block: impl FnOnce(Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError>,
    context: Context,
    frame: ExecutorFrame,
    future: F,
) -> Result<F::Output, BlockOnError> {
    let mut output = None;
    let future = in_home(frame, future, BlockOnContext(context));
    {
        let output = &mut output;
        let mut future = std::pin::pin!(async move { *output = Some(future.await) });
        block(future.as_mut())?;
    }
    output.ok_or(BlockOnError {
        reason: "the executor returned before the future had completed",
    })
}

thread_local! {
    /// Whether this thread is running a step of an executor that cannot be run by whoever blocks on it.
    static STEPPING: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as running a step, until dropped.
pub(crate) fn stepping() -> Mark {
    Mark::set(&STEPPING)
}

/// Parks the thread until `future` is done: for executors that run by themselves.
pub(crate) fn park_on(future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
    // The step would hold the thread that its own executor may need to complete the future.
    if STEPPING.get() || futures::executor::enter().is_err() {
        return Err(BlockOnError::nested(
            "this thread is running a task; await the future instead",
        ));
    }
    futures::executor::block_on(future);
    Ok(())
}
