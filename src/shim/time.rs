//! Clocks, `sleep` and `timeout`.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use futures_core::future::BoxFuture;
use pin_project_lite::pin_project;

use super::clock::{Clock, StdClock, deadline};
use super::search;
use crate::shim::platform::Instant;

/// The clock of the current executor, or the operating system's.
pub(crate) fn clock() -> Arc<dyn Clock> {
    match search::destination() {
        Ok(destination) => destination.clock(),
        Err(_) => Arc::new(StdClock),
    }
}

/// The present moment on the clock of the current executor: tokio's, which a test can pause, the
/// event loop's, which can be virtual, or the operating system's.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aiocontextvars::{event_loop::EventLoop, shim};
///
/// let event_loop = EventLoop::with_virtual_clock();
/// event_loop.run_until_complete(async {
///     let start = shim::now();
///     shim::sleep(Duration::from_secs(3600)).await;
///     assert_eq!(shim::now() - start, Duration::from_secs(3600));
/// });
/// ```
pub fn now() -> Instant {
    clock().now()
}

/// Completes after `duration`, on the clock of the executor that polls it first, counted from then.
/// Without an executor the operating system's clock serves.
///
/// # Panics
///
/// When first polled on a tokio runtime without a time driver, and when polled after the end of the
/// runtime that polled it first.
///
/// # Cancel safety
///
/// Dropping the future cancels the timer.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aiocontextvars::shim;
///
/// shim::block_on(shim::sleep(Duration::from_millis(1)));
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    Sleep(SleepStage::After(duration))
}

/// Completes at `at`, on the clock of the executor that polls it first. See [`sleep`].
///
/// # Panics
///
/// When first polled on a tokio runtime without a time driver, and when polled after the end of the
/// runtime that polled it first.
///
/// # Cancel safety
///
/// Dropping the future cancels the timer.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// shim::block_on(async { shim::sleep_until(shim::now()).await });
/// ```
pub fn sleep_until(at: Instant) -> Sleep {
    Sleep(SleepStage::At(at))
}

/// Future of [`sleep`] and [`sleep_until`].
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Sleep(SleepStage);

enum SleepStage {
    After(Duration),
    At(Instant),
    Started(BoxFuture<'static, ()>),
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let started = match &mut self.0 {
            SleepStage::Started(sleep) => return sleep.as_mut().poll(cx),
            SleepStage::After(duration) => {
                let clock = clock();
                clock.sleep_until(deadline(clock.now(), *duration))
            }
            SleepStage::At(at) => clock().sleep_until(*at),
        };
        self.0 = SleepStage::Started(started);
        self.poll(cx)
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").finish_non_exhaustive()
    }
}

/// Gives `future` at most `duration`, on the clock of the executor that polls it first, counted
/// from then.
///
/// The future is not spawned: it shares the caller's context both ways, and is dropped in
/// it when the time is up.
///
/// # Errors
///
/// [`Elapsed`] if the time was up first.
///
/// # Panics
///
/// When first polled on a tokio runtime without a time driver, and when polled after the end of the
/// runtime that polled it first.
///
/// # Cancel safety
///
/// Dropping the returned future drops `future`.
///
/// # Examples
///
/// ```
/// use std::{future, time::Duration};
/// use aiocontextvars::shim;
///
/// let result = shim::block_on(shim::timeout(Duration::from_millis(1), future::pending::<()>()));
/// assert!(result.is_err());
/// ```
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout {
        future: Some(future),
        sleep: sleep(duration),
    }
}

pin_project! {
    /// Future of [`timeout`].
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct Timeout<F> {
        #[pin]
        future: Option<F>,
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let future = this
            .future
            .as_mut()
            .as_pin_mut()
            .expect("`Timeout` polled after it completed");
        if let Poll::Ready(output) = future.poll(cx) {
            this.future.set(None);
            return Poll::Ready(Ok(output));
        }
        Pin::new(this.sleep).poll(cx).map(|()| {
            this.future.set(None);
            Err(Elapsed { _private: () })
        })
    }
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").finish_non_exhaustive()
    }
}

/// The time was up before the future had completed.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Elapsed {
    _private: (),
}

impl fmt::Debug for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Elapsed")
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline has elapsed")
    }
}

impl Error for Elapsed {}

/// Lets other tasks run: pending once, then ready.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// shim::block_on(shim::yield_now());
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// Future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
