//! The trace of a caller goes on in the service that it calls: `traceparent`, over HTTP and gRPC.

#[path = "grpc/service.rs"]
#[allow(dead_code, reason = "one method is enough here")]
mod service;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use aiocontextvars::bridge::tracing::CurrentSpan;
use aiocontextvars::propagation::Propagator;
use aiocontextvars::shim::tower::{HttpContextLayer, InjectLayer};
use aiocontextvars::{companion, context_var, shim};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::response::Response;
use axum::routing::get;
use futures::stream::{self, StreamExt};
use http::uri::PathAndQuery;
use opentelemetry::Context as OtelContext;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tonic::client::Grpc;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Status};
use tower::{ServiceBuilder, ServiceExt};
use tower_http::trace::TraceLayer;
use tracing::level_filters::LevelFilter;
use tracing::{Instrument, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use service::{Echo, EchoServer, Served, Text, UNARY, listen};

context_var! { static TENANT: String; }

static INSIDE: LazyLock<Propagator> = LazyLock::new(|| Propagator::new().both("tenant", &TENANT));

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

static TRACE: LazyLock<TraceContextPropagator> = LazyLock::new(TraceContextPropagator::new);

/// At a client: the current span is the parent of the one that the service makes.
fn send_trace<B>(mut request: http::Request<B>) -> http::Request<B> {
    let current = Span::current().context();
    TRACE.inject_context(&current, &mut HeaderInjector(request.headers_mut()));
    request
}

/// At a server: the span of a request, in the trace of its caller.
fn request_span<B>(request: &http::Request<B>) -> Span {
    let headers = HeaderExtractor(request.headers());
    let caller = TRACE.extract_with_context(&OtelContext::new(), &headers);
    let span = info_span!("request", tenant = TENANT.get());
    // Before the span is entered. An error where no layer of OpenTelemetry listens.
    let _ = span.set_parent(caller);
    span
}

/// Spans end where they are dropped.
struct Noted(&'static str);

impl Drop for Noted {
    fn drop(&mut self) {
        drop(info_span!("noted", at = self.0).entered());
    }
}

async fn chunks() -> Response {
    let task = shim::spawn(async { drop(info_span!("task").entered()) });
    task.await.unwrap();
    let noted = Noted("the body's end");
    let chunks = stream::iter(0..2).map(move |n| {
        let _ = &noted;
        drop(info_span!("chunk").entered());
        Ok::<_, Infallible>(Bytes::from(n.to_string()))
    });
    Response::new(Body::from_stream(chunks))
}

fn app() -> Router {
    Router::new()
        .route("/", get(chunks))
        // Bodies are polled and dropped in what is current around this layer: the span.
        .layer(HttpContextLayer::new())
        // The span has received values for fields,
        .layer(TraceLayer::new_for_http().make_span_with(request_span))
        // which are there inside of this one.
        .layer(HttpContextLayer::new().extracting(&INSIDE))
}

#[derive(Clone)]
struct Tenant;

impl Echo for Tenant {
    async fn unary(self, _: String) -> Result<String, Status> {
        let task = shim::spawn(async { drop(info_span!("task").entered()) });
        task.await.unwrap();
        Ok(format!("{:?}", TENANT.get()))
    }
}

fn exporter() -> InMemorySpanExporter {
    static EXPORTER: LazyLock<InMemorySpanExporter> = LazyLock::new(|| {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(LevelFilter::INFO));
        tracing::subscriber::set_global_default(subscriber).unwrap();
        companion::register(CurrentSpan).unwrap();
        exporter
    });
    EXPORTER.clone()
}

/// The names of the spans of this trace, each behind its parent's, when there are as many as are
/// expected: a server ends the span of a call after its client has the answer.
async fn tree(root: &str, expected: usize) -> Vec<String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let tree = tree_now(root);
        if tree.len() >= expected || Instant::now() > deadline {
            return tree;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn tree_now(root: &str) -> Vec<String> {
    let spans = exporter().get_finished_spans().unwrap();
    let root = spans.iter().find(|span| span.name == root).unwrap();
    let trace = root.span_context.trace_id();
    let of_the_trace = |span: &&SpanData| span.span_context.trace_id() == trace;
    let by_id: HashMap<_, _> = spans
        .iter()
        .filter(of_the_trace)
        .map(|span| (span.span_context.span_id(), span))
        .collect();
    let mut tree: Vec<_> = by_id
        .values()
        .map(|span| {
            let tenant = span.attributes.iter().find(|a| a.key.as_str() == "tenant");
            let tenant = tenant.map(|tenant| format!(" of {}", tenant.value.as_str()));
            let parent = by_id.get(&span.parent_span_id);
            let parent = parent.map_or("", |parent| &parent.name);
            format!("{parent}/{}{}", span.name, tenant.unwrap_or_default())
        })
        .collect();
    tree.sort();
    tree
}

#[tokio::test]
async fn a_trace_goes_on_over_http() {
    exporter();
    // In place of a client that sends it.
    let client = ServiceBuilder::new()
        .layer(InjectLayer::new(&INSIDE))
        .map_request(send_trace)
        .service(app());
    let request = async {
        let request = http::Request::new(Body::empty());
        client.oneshot(request).await.unwrap().into_body()
    };
    let request = request.instrument(info_span!("http"));
    let body = TENANT.scope("acme".to_owned(), request).await;
    // By the task of a connection.
    let body = tokio::spawn(to_bytes(body, 1024)).await.unwrap();
    assert_eq!(body.unwrap(), "01");
    let expected = [
        "/http",
        "http/request of acme",
        "request/chunk",
        "request/chunk",
        "request/noted",
        "request/task",
    ];
    assert_eq!(tree("http", expected.len()).await, expected);
}

#[tokio::test]
async fn a_trace_goes_on_over_grpc() {
    exporter();
    let (listener, address) = listen().await;
    let server = Server::builder()
        .layer(HttpContextLayer::new().extracting(&INSIDE))
        .layer(TraceLayer::new_for_grpc().make_span_with(request_span))
        .add_service(EchoServer(Tenant))
        .serve_with_incoming(TcpIncoming::from(listener));
    let _served = Served::spawn(server);
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let client = ServiceBuilder::new()
        .layer(InjectLayer::new(&INSIDE))
        .map_request(send_trace)
        .service(channel);
    let mut client = Grpc::new(client);
    let call = async {
        client.ready().await.unwrap();
        let request = Request::new("whose".to_owned());
        let answer = client.unary(request, PathAndQuery::from_static(UNARY), Text);
        assert_eq!(answer.await.unwrap().into_inner(), "Some(\"acme\")");
    };
    let call = call.instrument(info_span!("grpc"));
    TENANT.scope("acme".to_owned(), call).await;
    let expected = ["/grpc", "grpc/request of acme", "request/task"];
    assert_eq!(tree("grpc", expected.len()).await, expected);
}
