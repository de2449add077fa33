//! The span of a request, and how a hop tells which one it is in.

use aiocontextvars::bridge::tracing::CurrentSpan;
use aiocontextvars::companion::{self, AlreadyRegistered};
use tracing::{Level, Span, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

/// Has spans follow the work, beside the carrier.
pub(crate) fn follow() -> Result<(), AlreadyRegistered> {
    companion::register(CurrentSpan)
}

/// A layer that does nothing, so that requests have spans whatever is logged: they are checked.
pub(crate) fn kept<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    struct Kept;
    impl<S: Subscriber> Layer<S> for Kept {}
    Kept.with_filter(filter_fn(|metadata| {
        metadata.is_span() && *metadata.level() <= Level::INFO
    }))
}

/// The number of the current span, which no other has as long as that one is open.
pub(crate) fn current() -> Option<u64> {
    Span::current().id().map(|id| id.into_u64())
}
