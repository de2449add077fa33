//! Running a future on the calling thread.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Waker};

use super::entered::ExecutorFrame;
use super::mark::Mark;
use super::native::in_home;
use super::parker::Parker;
use crate::sync::thread_local;
use crate::task_context::{BlockOn, ContextFor, TaskContext};

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
    context: impl TaskContext,
    frame: ExecutorFrame,
    future: F,
) -> Result<F::Output, BlockOnError> {
    run(
        block,
        in_home(frame, future, ContextFor::<_, BlockOn>::new(context)),
    )
}

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
    output.ok_or(BlockOnError {
        reason: "the executor returned before the future had completed",
    })
}

thread_local! {
    /// How many steps, of executors that cannot be run by whoever blocks on them, this thread is in.
    static STEPS: Cell<u32> = const { Cell::new(0) };
    /// Whether this thread is in the call that schedules a step, and not in a step within it.
    static SCHEDULING: Cell<bool> = const { Cell::new(false) };
    /// Whether the innermost step runs within the call that scheduled it, within another step.
    static INLINE: Cell<bool> = const { Cell::new(false) };
    /// Who is woken from elsewhere when this thread has left its outermost step.
    static LATER: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
    /// Whether this thread is parked on a future, or polls it.
    static PARKED: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread is running a blocking job.
    static IN_JOB: Cell<bool> = const { Cell::new(false) };
}

/// Calls `f` as a step of an executor.
pub(crate) fn step<R>(f: impl FnOnce() -> R) -> R {
    struct Leave {
        _inline: Mark,
        _scheduling: Mark,
    }

    impl Drop for Leave {
        fn drop(&mut self) {
            STEPS.set(STEPS.get() - 1);
            if STEPS.get() == 0 {
                // Not there any more at thread exit.
                let later = LATER.try_with(RefCell::take);
                later
                    .unwrap_or_default()
                    .into_iter()
                    .for_each(wake_elsewhere);
            }
        }
    }

    let is_inline = STEPS.get() > 0 && SCHEDULING.get();
    STEPS.set(STEPS.get() + 1);
    let _leave = Leave {
        _inline: Mark::put(&INLINE, is_inline),
        _scheduling: Mark::put(&SCHEDULING, false),
    };
    f()
}

/// Marks this thread as being in the call that schedules a step, until dropped.
pub(crate) fn scheduling() -> Mark {
    Mark::set(&SCHEDULING)
}

/// Whether this thread is in a step that runs within the call that scheduled it, within another step.
pub(crate) fn is_inline_step() -> bool {
    INLINE.get()
}

/// Wakes a task that is being run as a step of this thread, from another thread and when all of its steps are over:
/// an executor that runs steps where they are scheduled would run it within them.
pub(crate) fn wake_after_steps(waker: Waker) {
    let mut waker = Some(waker);
    let _at_exit = LATER.try_with(|later| later.borrow_mut().extend(waker.take()));
    waker.into_iter().for_each(wake_elsewhere);
}

fn wake_elsewhere(waker: Waker) {
    blocking::unblock(move || waker.wake()).detach();
}

/// Marks this thread as running a blocking job, until dropped.
pub(crate) fn job() -> Mark {
    Mark::set(&IN_JOB)
}

/// Whether this thread is running a blocking job, which may block.
#[cfg_attr(
    not(feature = "tokio"),
    expect(dead_code, reason = "other runtimes do not take jobs for tasks")
)]
pub(crate) fn in_job() -> bool {
    IN_JOB.get()
}

/// Parks the thread until `future` is done: for executors that run by themselves.
pub(crate) fn park_on(mut future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
    // The thread may be the one that its executor needs to complete the future.
    if STEPS.get() > 0 || PARKED.get() || is_in_futures_executor() {
        return Err(BlockOnError::nested(
            "this thread is running a task; await the future instead",
        ));
    }
    let _parked = Mark::set(&PARKED);
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(Arc::clone(&parker));
    let mut cx = task::Context::from_waker(&waker);
    while future.as_mut().poll(&mut cx).is_pending() {
        parker.park_until(None);
    }
    Ok(())
}

/// Whether one of `futures`' executors runs on this thread. Their tasks are not all steps of ours.
fn is_in_futures_executor() -> bool {
    #[cfg(feature = "futures-executor")]
    return futures_executor::enter().is_err();
    #[cfg(not(feature = "futures-executor"))]
    false
}
