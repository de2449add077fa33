//! What a task leaves until somebody awaits it: [`Outcome`], for executors on which a panic must
//! stay within the task, and [`Unclaimed`], for runtimes that keep panics themselves. What nobody
//! awaits is dropped in an empty context.

use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::task::{self, Poll};

use pin_project_lite::pin_project;

use super::join_error::JoinError;
use crate::catch::catch;
use crate::current;

/// What a task gives to whoever awaits it.
pub(crate) type Joined<T> = Result<T, JoinError>;

/// The output or the panic of a task, until it is claimed. If nobody does, it is dropped by
/// [`drop_unclaimed`].
pub(crate) struct Outcome<T>(Option<Joined<T>>);

impl<T> Outcome<T> {
    #[inline]
    pub(crate) fn new(joined: Joined<T>) -> Outcome<T> {
        Outcome(Some(joined))
    }

    #[inline]
    pub(crate) fn claim(mut self) -> Joined<T> {
        match self.0.take() {
            Some(joined) => joined,
            None => unreachable!("claiming takes the value"),
        }
    }
}

impl<T> Drop for Outcome<T> {
    #[inline]
    fn drop(&mut self) {
        match self.0.take() {
            Some(Ok(output)) if !mem::needs_drop::<T>() => drop(output),
            Some(joined) => drop_unclaimed(joined),
            None => {}
        }
    }
}

/// The output of a task on a runtime that keeps the panics of tasks itself, until it is claimed. If
/// nobody does, it is dropped by [`drop_unclaimed`].
#[allow(dead_code, reason = "there may be no such runtime")]
pub(crate) struct Unclaimed<T>(Option<T>);

#[allow(dead_code, reason = "as above")]
impl<T> Unclaimed<T> {
    #[inline]
    pub(crate) fn claim(mut self) -> T {
        match self.0.take() {
            Some(output) => output,
            None => unreachable!("claiming takes the value"),
        }
    }
}

impl<T> Drop for Unclaimed<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(output) = self.0.take() {
            if mem::needs_drop::<T>() {
                drop_unclaimed(output);
            }
        }
    }
}

pin_project! {
    /// A future whose output is there to be claimed.
    #[allow(dead_code, reason = "as above")]
    pub(crate) struct ToClaim<F> {
        #[pin]
        future: F,
    }
}

#[allow(dead_code, reason = "as above")]
impl<F> ToClaim<F> {
    #[inline]
    pub(crate) fn new(future: F) -> ToClaim<F> {
        ToClaim { future }
    }
}

impl<F: Future> Future for ToClaim<F> {
    type Output = Unclaimed<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let output = self.project().future.poll(cx);
        output.map(|output| Unclaimed(Some(output)))
    }
}

/// Drops what a task has left and nobody has claimed, in an empty context: it is the runtime that
/// drops it, wherever it is then, or whoever had the handle. A destructor must not find there what
/// is another request's, nor leave there what it sets.
///
/// Its panic is caught: `async-task` aborts the process when an output panics while it is dropped.
#[cold]
#[inline(never)]
pub(crate) fn drop_unclaimed<T>(value: T) {
    // The outer one is for what a destructor has set, which goes with the context.
    catch(|| current::enter_empty(|| catch(|| drop(value))));
}

pin_project! {
    /// Catches the panics of a future, in its polls and in its drop.
    ///
    /// `async-task` aborts the process when a future panics while it is dropped by a cancellation,
    /// and smol's and async-std's executors let a panic out to the awaiter.
    pub(crate) struct CatchPanic<F> {
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for CatchPanic<F> {
        fn drop(this: Pin<&mut Self>) {
            // Nobody waits for this task's outcome any more.
            if this.future.is_some() {
                this.drop_future().unwrap_or_else(drop_unclaimed);
            }
        }
    }
}

impl<F> CatchPanic<F> {
    #[inline]
    pub(crate) fn new(future: F) -> CatchPanic<F> {
        CatchPanic {
            future: Some(future),
        }
    }

    /// Drops the future before its time. Its panic is returned.
    #[inline]
    pub(crate) fn drop_future(self: Pin<&mut Self>) -> Joined<()> {
        let mut future = self.project().future;
        panic::catch_unwind(AssertUnwindSafe(|| future.set(None))).map_err(JoinError::panicked)
    }
}

impl<F: Future> Future for CatchPanic<F> {
    type Output = Outcome<F::Output>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.as_mut().project().future.as_pin_mut() else {
            panic!("the task was polled after it had completed");
        };
        let joined = match panic::catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => Err(JoinError::panicked(payload)),
        };
        // The destructors belong to the task: a panic there is its outcome too.
        let outcome = Outcome::new(joined);
        Poll::Ready(match self.drop_future() {
            Ok(()) => outcome,
            Err(error) => Outcome::new(Err(error)),
        })
    }
}
