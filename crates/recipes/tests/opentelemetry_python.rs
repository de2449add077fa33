//! Baggage to a Python service that uses opentelemetry-python, and from it to a service here.
//! `ci/opentelemetry-python.sh` installs that and runs this.

use std::env;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::LazyLock;

use aiocontextvars::propagation::Propagator;
use aiocontextvars::shim::tower::{HttpContextLayer, InjectLayer};
use aiocontextvars::{Context, context_var, shim};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use futures::future::join_all;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tower::{Layer, ServiceExt};

context_var! {
    static TENANT: String;
    static REQUEST_ID: u64;
    /// Set by the Python service.
    static FROM_PYTHON: String;
}

static INSIDE: LazyLock<Propagator> = LazyLock::new(|| {
    Propagator::new()
        .both("tenant", &TENANT)
        .both("request-id", &REQUEST_ID)
        .receive("from-python", &FROM_PYTHON)
});

/// A service that calls the URL in its query with the baggage that it was called with, and answers
/// with what it has read of it and with what it was answered.
const SERVICE: &str = r#"
import sys, urllib.parse, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator

propagator = W3CBaggagePropagator()

class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        context = propagator.extract(dict(self.headers))
        seen = baggage.get_all(context)
        context = baggage.set_baggage("from-python", sys.argv[1], context)
        headers = {}
        propagator.inject(headers, context)
        url = urllib.parse.urlparse(self.path).query
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            text = "%s %s\n" % (seen["tenant"], seen["request-id"]) + answer.read().decode()
        body = text.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// What Python's side sets.
const OF_PYTHON: &str = "ä,b;c=d%20\"\\";

async fn start_python() -> (Child, SocketAddr) {
    let python = env::var("PYTHON_WITH_OPENTELEMETRY");
    let python = python.expect("run this by `bash ci/opentelemetry-python.sh`");
    let mut child = Command::new(python)
        .args(["-c", SERVICE, OF_PYTHON])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = lines.next_line().await.unwrap().expect("no port");
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
    (child, address)
}

async fn whose() -> String {
    let tenant = TENANT.get().unwrap_or_default();
    let from_python = FROM_PYTHON.get().unwrap_or_default();
    format!("{tenant} {:?} {from_python}", REQUEST_ID.get())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python with opentelemetry-api: `bash ci/opentelemetry-python.sh`"]
async fn values_go_to_python_and_back() {
    let (_child, python) = start_python().await;
    let layer = HttpContextLayer::new().extracting(&INSIDE);
    let app = Router::new()
        .route("/", get(whose))
        .layer(layer.on_problem(|problem| {
            panic!("{problem}");
        }));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let here = listener.local_addr().unwrap();
    let served = tokio::spawn(async move { axum::serve(listener, app).await });

    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let client = InjectLayer::new(&INSIDE).layer(client);
    let tenants = [
        "acme",
        "100%",
        "a=b,c;d",
        "Käse&Co",
        "1+1",
        "\"\\",
        "日本語",
        "%2B",
    ];
    let calls = tenants.into_iter().zip(1..).map(|(tenant, id)| {
        let context = Context::new()
            .with_value(&TENANT, tenant.to_owned())
            .with_value(&REQUEST_ID, id);
        let request = Request::get(format!("http://{python}/?http://{here}/"));
        let request = request.body(Body::empty()).unwrap();
        let asked = shim::spawn_in(context, client.clone().oneshot(request));
        async move {
            let response = asked.await.unwrap().unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let expected = format!("{tenant} {id}\n{tenant} Some({id}) {OF_PYTHON}");
            assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
        }
    });
    join_all(calls.collect::<Vec<_>>()).await;

    // It reads a space as one, and writes it as `+`, which is none in baggage.
    let context = Context::new()
        .with_value(&TENANT, "two words".to_owned())
        .with_value(&REQUEST_ID, 99);
    let request = Request::get(format!("http://{python}/?http://{here}/"));
    let request = request.body(Body::empty()).unwrap();
    let asked = shim::spawn_in(context, client.oneshot(request));
    let response = asked.await.unwrap().unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let expected = format!("two words 99\ntwo+words Some(99) {OF_PYTHON}");
    assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
    served.abort();
}
