//! What the shim has of the platform, for executors that have none of their own: the time, timers,
//! and threads for blocking jobs.
//!
//! In browsers, where there are no threads and the standard library has no clock,
//! `shims/browser.rs` stands in its place.

#[path = "blocking.rs"]
mod blocking;

use std::time::Duration;

use futures_core::future::BoxFuture;

pub(crate) use self::blocking::submit;
pub use std::time::Instant;

/// Completes after `duration`, or somewhat earlier. One thread serves the timers of the process.
pub(crate) fn sleep(duration: Duration) -> BoxFuture<'static, ()> {
    Box::pin(futures_timer::Delay::new(duration))
}
