//! A composite of propagators over the headers of HTTP requests, by opentelemetry-http.

use std::sync::LazyLock;

use aiocontextvars::{Context, context_var, propagation};
use aiocontextvars_opentelemetry::{Propagator, received};
use http::{HeaderMap, HeaderValue};
use opentelemetry::Context as OtelContext;
use opentelemetry::KeyValue;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};

context_var! {
    static TENANT: String;
    static REQUEST_ID: u64;
}

static OURS: LazyLock<propagation::Propagator> = LazyLock::new(|| {
    propagation::Propagator::new()
        .both("tenant", &TENANT)
        .both("request-id", &REQUEST_ID)
});

fn composite() -> TextMapCompositePropagator {
    TextMapCompositePropagator::new(vec![
        Box::new(TraceContextPropagator::new()),
        Box::new(BaggagePropagator::new()),
        Box::new(Propagator(&OURS)),
    ])
}

/// The headers that the composite writes, over those that are there.
fn inject(headers: &mut HeaderMap) {
    let span = SpanContext::new(
        TraceId::from(7),
        SpanId::from(9),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let cx = OtelContext::new().with_remote_span_context(span);
    let cx = cx.with_baggage([KeyValue::new("user", "ann")]);
    let mut request = Context::new()
        .with_value(&TENANT, "Käse & Co, 100%=x".to_owned())
        .with_value(&REQUEST_ID, 7);
    request.run(|| composite().inject_context(&cx, &mut HeaderInjector(headers)));
}

fn extract(headers: &HeaderMap) -> OtelContext {
    composite().extract_with_context(&OtelContext::new(), &HeaderExtractor(headers))
}

fn all(headers: &HeaderMap) -> Vec<&[u8]> {
    let baggage = headers.get_all("baggage").iter();
    baggage.map(HeaderValue::as_bytes).collect()
}

#[test]
fn there_and_back() {
    let mut headers = HeaderMap::new();
    // As a proxy that copies headers would have it.
    headers.append("baggage", HeaderValue::from_static("tenant=forged"));
    headers.append("baggage", HeaderValue::from_static("evil=1"));
    inject(&mut headers);
    let expected = "tenant=K%C3%A4se%20&%20Co%2C%20100%25%3Dx,request-id=7,user=ann";
    assert_eq!(all(&headers), [expected.as_bytes()]);

    let cx = extract(&headers);
    assert_eq!(cx.span().span_context().trace_id(), TraceId::from(7));
    assert_eq!(cx.baggage().get("user").unwrap().as_str(), "ann");
    let context = &received(&cx).unwrap().context;
    assert_eq!(context.get(&TENANT).unwrap(), "Käse & Co, 100%=x");
    assert_eq!(context.get(&REQUEST_ID), Some(&7));

    // A service without OpenTelemetry reads the same.
    let received = OURS.extract(Context::new(), &headers);
    assert_eq!(received.context.get(&TENANT).unwrap(), "Käse & Co, 100%=x");
}

#[test]
fn what_a_service_without_opentelemetry_has_written_is_read() {
    let mut headers = HeaderMap::new();
    let context = Context::new().with_value(&TENANT, "100%".to_owned());
    assert_eq!(OURS.inject(&context, &mut headers), []);
    let cx = extract(&headers);
    assert_eq!(received(&cx).unwrap().context.get(&TENANT).unwrap(), "100%");
    assert_eq!(cx.baggage().get("tenant").unwrap().as_str(), "100%");
}

#[test]
fn several_headers_are_one_list_and_what_is_wrong_is_left_out() {
    let mut headers = HeaderMap::new();
    headers.append("baggage", HeaderValue::from_static("tenant=acme,nonsense"));
    headers.append("baggage", HeaderValue::from_static("request-id=7"));
    headers.append("baggage", HeaderValue::from_static("request-id=x"));
    // No text, and kept from all propagators by opentelemetry-http.
    let bytes = HeaderValue::from_bytes(b"request-id=8,x=\xff").unwrap();
    headers.append("baggage", bytes);
    let cx = extract(&headers);
    let received = received(&cx).unwrap();
    assert_eq!(received.context.get(&TENANT).unwrap(), "acme");
    assert_eq!(received.context.get(&REQUEST_ID), Some(&7));
    assert_eq!(received.problems.len(), 2);
}
