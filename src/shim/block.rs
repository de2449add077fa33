//! Running a future on the calling thread.

use std::borrow::Cow;
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker};

use super::parker::Parker;
use super::thread_state;

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
    reason: Cow<'static, str>,
}

impl BlockOnError {
    pub(crate) fn new(reason: impl Into<Cow<'static, str>>) -> BlockOnError {
        BlockOnError {
            reason: reason.into(),
        }
    }

    pub(crate) fn unsupported() -> BlockOnError {
        BlockOnError::new(
            "this executor cannot be run from here; run it by its own means, and await instead",
        )
    }
}

impl fmt::Display for BlockOnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot block on a future here: {}", self.reason)
    }
}

impl Error for BlockOnError {}

/// Runs `future` by means of `block`.
pub(crate) fn run<F: Future>(
    block: impl FnOnce(Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError>,
    future: F,
) -> Result<F::Output, BlockOnError> {
    let mut output = None;
    {
        let output = &mut output;
        let mut future = std::pin::pin!(async move { *output = Some(future.await) });
        block(future.as_mut())?;
    }
    output.ok_or_else(|| BlockOnError::new("the executor returned before the future had completed"))
}

/// Parks the thread until `future` is done, for executors that have threads of their own.
pub(crate) fn park_on(mut future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
    // The thread may be the one that its executor needs to complete the future.
    let is_needed = thread_state::with(|state| state.runnables.get() > 0 || state.is_parked.get());
    if is_needed || is_in_futures_executor() {
        return Err(BlockOnError::new(
            "this thread is running a task; await the future instead",
        ));
    }
    let _parked = thread_state::mark(|state| &state.is_parked, true);
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(Arc::clone(&parker));
    let mut cx = task::Context::from_waker(&waker);
    while future.as_mut().poll(&mut cx).is_pending() {
        parker.park_until(None);
    }
    Ok(())
}

/// Turns the panic by which a runtime refuses to block into an error. A panic of the future goes
/// on.
#[allow(dead_code, reason = "there may be no runtime that does")]
pub(crate) fn unless_refused(
    future: Pin<&mut dyn Future<Output = ()>>,
    reason: &'static str,
    block_on: impl FnOnce(NotePoll<'_>),
) -> Result<(), BlockOnError> {
    let polled = &Cell::new(false);
    match panic::catch_unwind(AssertUnwindSafe(|| block_on(NotePoll { future, polled }))) {
        Ok(()) => Ok(()),
        Err(_) if !polled.get() => Err(BlockOnError::new(reason)),
        Err(payload) => panic::resume_unwind(payload),
    }
}

/// Notes that the runtime has begun to poll the future.
pub(crate) struct NotePoll<'a> {
    future: Pin<&'a mut dyn Future<Output = ()>>,
    polled: &'a Cell<bool>,
}

impl Future for NotePoll<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        self.polled.set(true);
        self.future.as_mut().poll(cx)
    }
}

/// Whether one of `futures`' executors runs on this thread. Their tasks are not all runnables of
/// ours.
fn is_in_futures_executor() -> bool {
    #[cfg(feature = "futures-executor")]
    return futures_executor::enter().is_err();
    #[cfg(not(feature = "futures-executor"))]
    false
}
