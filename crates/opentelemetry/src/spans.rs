//! [`SpanAttributes`]: variables as attributes of spans.

use std::time::Duration;

use aiocontextvars::Fields;
use opentelemetry::trace::Span as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use crate::value;

/// Sets the variables as attributes of each span that is started: their values in the code that
/// starts it.
///
/// An attribute that the span is started with as well is there twice, so the names are to be
/// others.
///
/// # Spans of `tracing`
///
/// A layer that turns spans of `tracing` into OpenTelemetry's may start them late, when they are
/// first entered or even closed, in whatever context that happens. There the variables of the code
/// that *made* the span are right, which `aiocontextvars::bridge::tracing_subscriber::SpanFields`
/// has: it reads them where the span is made.
///
/// # Examples
///
/// ```
/// use std::sync::LazyLock;
/// use aiocontextvars::{Fields, context_var};
/// use aiocontextvars_opentelemetry::SpanAttributes;
/// use opentelemetry::KeyValue;
/// use opentelemetry::trace::{Span, Tracer, TracerProvider};
/// use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
///
/// context_var! { static TENANT: String; }
///
/// static FIELDS: LazyLock<Fields> = LazyLock::new(|| Fields::new().with("tenant", &TENANT));
///
/// let exporter = InMemorySpanExporter::default();
/// let provider = SdkTracerProvider::builder()
///     .with_span_processor(SpanAttributes::new(&FIELDS))
///     .with_simple_exporter(exporter.clone())
///     .build();
/// TENANT.set("acme".to_owned());
/// provider.tracer("example").start("request").end();
/// let spans = exporter.get_finished_spans().unwrap();
/// assert_eq!(spans[0].attributes, [KeyValue::new("tenant", "acme")]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SpanAttributes {
    fields: &'static Fields,
}

impl SpanAttributes {
    /// These variables.
    ///
    /// # Examples
    ///
    /// See [`SpanAttributes`].
    pub fn new(fields: &'static Fields) -> SpanAttributes {
        SpanAttributes { fields }
    }
}

impl SpanProcessor for SpanAttributes {
    fn on_start(&self, span: &mut Span, _: &Context) {
        self.fields
            .for_each(|name, value| span.set_attribute(KeyValue::new(name, value::of(value))));
    }

    // It keeps nothing.

    fn on_end(&self, _: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
