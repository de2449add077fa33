//! The span of a request, and how a hop tells which one it is in.

use aiocontextvars::bridge::tracing::CurrentSpan;
use aiocontextvars::companion::{self, AlreadyRegistered};
use tracing::Span;

/// Has spans follow the work, beside the carrier.
pub(crate) fn follow() -> Result<(), AlreadyRegistered> {
    companion::register(CurrentSpan)
}

/// The number of the current span, which no other has as long as that one is open.
pub(crate) fn current() -> Option<u64> {
    Span::current().id().map(|id| id.into_u64())
}
