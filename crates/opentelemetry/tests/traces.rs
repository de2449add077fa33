//! A trace that goes on in another service, and a consumer that belongs to no request.

use std::collections::HashMap;
use std::sync::LazyLock;

use aiocontextvars::{Context, companion, context_var, propagation, shim};
use aiocontextvars_opentelemetry::{CurrentContext, Propagator, received};
use http::HeaderMap;
use opentelemetry::Context as OtelContext;
use opentelemetry::context::FutureExt;
use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry::trace::{Span, TraceContextExt, TraceId, Tracer, TracerProvider};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

context_var! { static TENANT: String; }

static INSIDE: LazyLock<propagation::Propagator> =
    LazyLock::new(|| propagation::Propagator::new().both("tenant", &TENANT));

static TRACE: LazyLock<TraceContextPropagator> = LazyLock::new(TraceContextPropagator::new);

static TRACER: LazyLock<SdkTracer> = LazyLock::new(|| {
    companion::register(CurrentContext).unwrap();
    SdkTracerProvider::builder().build().tracer("test")
});

fn trace() -> TraceId {
    OtelContext::current().span().span_context().trace_id()
}

#[test]
fn a_trace_goes_on_in_the_service_that_a_task_calls() {
    let root = OtelContext::new().with_span(TRACER.start("caller"));
    let caller = async {
        let call = shim::spawn(async {
            let mut headers = HeaderMap::new();
            TRACE.inject(&mut HeaderInjector(&mut headers));
            headers
        });
        (trace(), call.await.unwrap())
    };
    let (of_the_caller, headers) = shim::block_on(caller.with_context(root));

    let caller = TRACE.extract_with_context(&OtelContext::new(), &HeaderExtractor(&headers));
    let span = TRACER.start_with_context("request", &caller);
    assert_eq!(span.span_context().trace_id(), of_the_caller);
    let handler = async { shim::spawn(async { trace() }).await.unwrap() };
    let seen = shim::block_on(handler.with_context(caller.with_span(span)));
    assert_eq!(seen, of_the_caller);
}

#[test]
fn a_loop_in_an_empty_context_gives_messages_nothing() {
    let root = OtelContext::new().with_span(TRACER.start("first request"));
    let consume = async || {
        let propagator = TextMapCompositePropagator::new(vec![
            Box::new(TraceContextPropagator::new()),
            Box::new(Propagator(&INSIDE)),
        ]);
        let without_headers = HashMap::<String, String>::new();
        let read = propagator.extract(&without_headers);
        let tenant = received(&read).unwrap().context.get(&TENANT).cloned();
        (tenant, read.has_active_span())
    };
    let request = async {
        TENANT.set("acme".to_owned());
        shim::spawn_in(Context::new(), consume()).await.unwrap()
    };
    assert_eq!(shim::block_on(request.with_context(root)), (None, false));
}
