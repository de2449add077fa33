//! [`Propagator`]: declared variables among OpenTelemetry's propagators.

use std::sync::LazyLock;

use aiocontextvars::copy_context;
use aiocontextvars::propagation::{self, BAGGAGE, Extracted};
use opentelemetry::Context;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};

use crate::baggage;

/// The variables that a [`Propagator`](propagation::Propagator) lists, in the headers of messages,
/// beside OpenTelemetry's `TraceContextPropagator`.
///
/// - Going out, the values are those of the code that injects. The baggage of the OpenTelemetry
///   context goes in the same header, behind them, within the limits of W3C Baggage. A key that is
///   listed speaks for its variable only: what others have put into the baggage by that key stays
///   here. What is left out is told to nobody: `TextMapPropagator` has no way to.
/// - Coming in, [`received`] has the context of the variables, for the code that handles the
///   message to run in, and what was left out. It has the values of the message only, whoever reads
///   it; [`Context::apply`](aiocontextvars::Context::apply) adds them to the current ones. A header
///   that is no text, opentelemetry-http's `HeaderExtractor` keeps to itself.
///
/// OpenTelemetry's own `BaggagePropagator` may be there too, *before* this one: both write the same
/// header, and the last one counts. It fills the OpenTelemetry baggage of messages that come in,
/// where this one fills variables only.
///
/// # Examples
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::LazyLock;
/// use aiocontextvars::{context_var, propagation};
/// use aiocontextvars_opentelemetry::{Propagator, received};
/// use opentelemetry::global;
/// use opentelemetry::propagation::TextMapCompositePropagator;
/// use opentelemetry_sdk::propagation::TraceContextPropagator;
///
/// context_var! { static TENANT: String; }
///
/// static PROPAGATOR: LazyLock<propagation::Propagator> =
///     LazyLock::new(|| propagation::Propagator::new().both("tenant", &TENANT));
///
/// // In `main`.
/// global::set_text_map_propagator(TextMapCompositePropagator::new(vec![
///     Box::new(TraceContextPropagator::new()),
///     Box::new(Propagator(&PROPAGATOR)),
/// ]));
///
/// let mut headers = HashMap::new();
/// TENANT.sync_scope("acme".to_owned(), || {
///     global::get_text_map_propagator(|propagator| propagator.inject(&mut headers));
/// });
/// assert_eq!(headers["baggage"], "tenant=acme");
///
/// // In the other process.
/// let parent = global::get_text_map_propagator(|propagator| propagator.extract(&headers));
/// let mut context = received(&parent).unwrap().context.clone();
/// context.run(|| assert_eq!(TENANT.get().unwrap(), "acme"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Propagator(
    /// What travels, and in which direction.
    pub &'static propagation::Propagator,
);

/// What a [`Propagator`] has read for this context, or for the one that it was made from: the
/// context of the variables, and what was left out of the message.
///
/// # Examples
///
/// See [`Propagator`].
pub fn received(context: &Context) -> Option<&Extracted> {
    context.get::<Extracted>()
}

impl TextMapPropagator for Propagator {
    fn inject_context(&self, context: &Context, injector: &mut dyn Injector) {
        let mut headers = Vec::new();
        // What is left out goes nowhere.
        let _ = self.0.inject(&copy_context(), &mut headers);
        let own = headers.pop().map(|(_, value)| value).unwrap_or_default();
        let header = baggage::append(own, context, self.0);
        if !header.is_empty() {
            injector.set(BAGGAGE, header);
        }
    }

    fn extract_with_context(&self, context: &Context, extractor: &dyn Extractor) -> Context {
        // Not of the current values: the variables that a message says nothing of would be those of
        // whoever reads it.
        let values = aiocontextvars::Context::new();
        context.with_value(self.0.extract(values, &Headers(extractor)))
    }

    fn fields(&self) -> FieldIter<'_> {
        static FIELDS: LazyLock<[String; 1]> = LazyLock::new(|| [BAGGAGE.to_owned()]);
        FieldIter::new(&*FIELDS)
    }
}

struct Headers<'a>(&'a dyn Extractor);

impl propagation::Extractor for Headers<'_> {
    fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let values = self.0.get_all(name).unwrap_or_default();
        values.into_iter().map(str::as_bytes)
    }
}
