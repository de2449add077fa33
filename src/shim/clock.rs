//! [`Clock`]: what timers follow, and the one of executors that have none of their own.

use std::time::Duration;

use futures_core::future::BoxFuture;

use super::platform::{self, Instant};

/// A clock, and timers that follow it. It may use the crate: no lock is held when it is asked.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
/// use aiocontextvars::shim::Clock;
/// use futures::future::BoxFuture;
///
/// /// Runs ten times as fast as the others.
/// struct Hurried {
///     start: Instant,
/// }
///
/// impl Clock for Hurried {
///     fn now(&self) -> Instant {
///         self.start + self.start.elapsed() * 10
///     }
///
///     fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
///         let left = at.saturating_duration_since(self.now()) / 10;
///         Box::pin(futures_timer::Delay::new(left))
///     }
/// }
///
/// let clock = Hurried { start: Instant::now() };
/// futures::executor::block_on(clock.sleep_until(clock.now() + Duration::from_millis(10)));
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Instant;

    /// Completes when [`now`](Clock::now) reaches `at`.
    ///
    /// # Panics
    ///
    /// The future of a clock whose runtime cannot serve timers panics here, at the call.
    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()>;
}

/// The platform's clock and timers.
pub(crate) struct StdClock;

impl Clock for StdClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                let left = at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return;
                }
                platform::sleep(left).await;
            }
        })
    }
}

/// A deadline that is as good as never, for durations that do not fit.
pub(crate) fn deadline(now: Instant, delay: Duration) -> Instant {
    // About thirty years, as tokio has it: `Instant` has no maximum.
    const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);
    now.checked_add(delay).unwrap_or_else(|| now + FAR)
}
