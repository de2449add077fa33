//! [`StdClock`]: the clock of executors that have none of their own.

use std::time::{Duration, Instant};

use futures_core::future::BoxFuture;

use super::executor::Clock;

/// The operating system's clock, and one timer thread for the process, started on first use.
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
                futures_timer::Delay::new(left).await;
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
