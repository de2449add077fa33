//! OpenTelemetry's context follows the work of [`aiocontextvars`], and its variables are attributes
//! and baggage.
//!
//! Once [`CurrentContext`] is registered, what is started in a span is in that span: tasks at each
//! poll, callbacks, timers, blocking jobs, threads, messages to actors, and the destructors of all
//! of these.
//!
//! ```
//! use aiocontextvars::{companion, shim};
//! use aiocontextvars_opentelemetry::CurrentContext;
//! use opentelemetry::Context;
//! use opentelemetry::trace::{Span, TraceContextExt, Tracer, TracerProvider};
//! use opentelemetry_sdk::trace::SdkTracerProvider;
//!
//! // Once, in `main`.
//! companion::register(CurrentContext)?;
//!
//! let tracer = SdkTracerProvider::builder().build().tracer("example");
//! shim::block_on(async {
//!     let request = Context::current_with_span(tracer.start("request"));
//!     let trace = request.span().span_context().trace_id();
//!     let task = {
//!         let _guard = request.attach();
//!         shim::spawn(async move { tracer.start("query").span_context().trace_id() })
//!     };
//!     assert_eq!(task.await.unwrap(), trace);
//! });
//! # Ok::<(), companion::AlreadyRegistered>(())
//! ```
//!
//! [`SpanAttributes`] and [`LogAttributes`] have the variables that a
//! [`Fields`](aiocontextvars::Fields) lists in each span and log record, [`Propagator`] those that
//! a [`Propagator`](aiocontextvars::propagation::Propagator) lists in the headers of messages.
//!
//! # With `tracing`
//!
//! Where spans are `tracing`'s and go to OpenTelemetry by a layer, register
//! `aiocontextvars::bridge::tracing::CurrentSpan` before [`CurrentContext`]. (Alone, it serves where
//! nothing attaches contexts of OpenTelemetry by hand, and the layer has no filter of its own.)
//!
//! The layer attaches a context where a span is entered. Where work that is in another span, or in
//! none, runs on a thread that is in one, that span is left and entered again, so that what was
//! attached by hand inside of it comes to lie below. It is so within a poll or call for contexts
//! that were captured elsewhere, a nested `block_on` and the waits of rayon.

mod baggage;
mod current;
mod logs;
mod propagator;
mod spans;
mod value;

pub use self::current::CurrentContext;
pub use self::logs::LogAttributes;
pub use self::propagator::{Propagator, received};
pub use self::spans::SpanAttributes;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
