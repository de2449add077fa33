//! An axum service whose handlers and middlewares set context variables.
//!
//! axum spawns the tasks of connections itself. Such a task has no context of its own, so setting a
//! variable in it is refused: other requests would see the value. With `HttpContextLayer` around
//! the routes, each request has a context of its own. Handlers may set variables in it, and so may
//! middlewares *inside* of the layer. `shim::spawn` and the like take the values along, and the
//! body of the response is in that context, too.
//!
//! Each line of the log has the request's id and tenant, and is in its span, also in what the request
//! spawns: `FIELDS` and `log` are all that it takes.
//!
//! A value that is set before the service starts is not in these contexts. To have it there, write
//! `let base = inherit_context().without_companions();` after setting it, and
//! `HttpContextLayer::with(move |_: &Request| base.clone())`.
//!
//! ```sh
//! # Serves on 127.0.0.1:3000, or add: -- ADDRESS
//! cargo run --features tokio,tower --example axum
//! # Two requests on one connection
//! curl -H 'x-tenant: acme' http://127.0.0.1:3000/ http://127.0.0.1:3000/
//! # A route outside of the layer
//! curl -i http://127.0.0.1:3000/login
//! # Such requests without curl
//! cargo run --features tokio,tower --example axum -- --self-test
//! ```

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use aiocontextvars::bridge::tracing::CurrentSpan;
use aiocontextvars::bridge::tracing_subscriber::Text;
use aiocontextvars::shim::tower::HttpContextLayer;
use aiocontextvars::{Fields, companion, context_var, shim};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tracing::{Instrument, info, info_span};
use tracing_subscriber::fmt;

context_var! {
    /// Number of the request being served.
    static REQUEST_ID: u64;
    static TENANT: String = "public".to_owned();
}

/// What each line of the log has of the request that it is about.
static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::new()
        .with("request_id", &REQUEST_ID)
        .with("tenant", &TENANT)
});

/// Has the log write them, and the span follow the work.
fn log() -> Outcome<()> {
    let lines = fmt().with_ansi(false).with_writer(io::stderr);
    lines.event_format(Text::new(fmt::format(), &FIELDS)).init();
    Ok(companion::register(CurrentSpan)?)
}

fn app() -> Router {
    Router::new()
        .route("/", get(hello))
        // The body is polled and dropped in the span of the middleware around this layer.
        .layer(HttpContextLayer::new())
        .layer(from_fn(number))
        // Around the routes and the middlewares above it.
        .layer(HttpContextLayer::new())
        .route("/login", get(login))
}

/// A middleware inside of the layer: numbers the request, and gives it a span.
async fn number(request: Request, next: Next) -> Response {
    static NEXT_ID: AtomicU64 = AtomicU64::new(1);
    REQUEST_ID.set(NEXT_ID.fetch_add(1, Ordering::Relaxed));
    let span = info_span!("request", path = request.uri().path());
    next.run(request).instrument(span).await
}

/// A handler inside of the layer: what it sets, its tasks inherit.
async fn hello(headers: HeaderMap) -> String {
    if let Some(Ok(tenant)) = headers.get("x-tenant").map(|tenant| tenant.to_str()) {
        TENANT.set(tenant.to_owned());
    }
    info!("greeting");
    let task = shim::spawn(async {
        info!("a task of the request");
        whose()
    });
    match task.await {
        Ok(of_the_task) => format!("{}; a task sees {of_the_task}\n", whose()),
        Err(error) => format!("{}; the task failed: {error}\n", whose()),
    }
}

fn whose() -> String {
    match REQUEST_ID.get() {
        Some(id) => format!("request {id} of {}", TENANT.get()),
        None => "no request".to_owned(),
    }
}

/// A handler outside of the layer: the write is refused, and the error says what to do instead.
/// `set` panics with the same message.
async fn login() -> (StatusCode, String) {
    match TENANT.try_set("acme".to_owned()) {
        Ok(_) => (StatusCode::OK, "logged in\n".to_owned()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

const ADDRESS: &str = "127.0.0.1:3000";
const USAGE: &str = "usage: axum [ADDRESS | --self-test]";

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<_> = env::args_os().skip(1).collect();
    let args: Option<Vec<&str>> = args.iter().map(|arg| arg.to_str()).collect();
    let outcome = match args.as_deref() {
        Some([]) => serve(ADDRESS).await,
        Some(["--self-test"]) => self_test().await,
        Some([address]) if !address.starts_with('-') => serve(address).await,
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("axum: {error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome<T> = Result<T, Box<dyn Error>>;

async fn bind(address: &str) -> Outcome<(TcpListener, SocketAddr)> {
    let refused = |error| format!("cannot listen on {address}: {error}");
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    Ok((listener, bound))
}

async fn serve(address: &str) -> Outcome<()> {
    log()?;
    let (listener, bound) = bind(address).await?;
    // Nobody need read this: a closed standard output does not keep the service from serving.
    let _ = writeln!(
        io::stdout(),
        "serving on http://{bound}/ until Ctrl-C; try:\n  \
         curl -H 'x-tenant: acme' http://{bound}/ http://{bound}/\n  \
         curl -i http://{bound}/login"
    );
    Ok(axum::serve(listener, app()).await?)
}

async fn self_test() -> Outcome<()> {
    log()?;
    let (listener, bound) = bind("127.0.0.1:0").await?;
    let service = tokio::spawn(async move { axum::serve(listener, app()).await });
    let requests = [
        ("/", Some("acme")),
        ("/", None),
        ("/login", None),
        ("/", None),
    ];
    let responses = ask(bound, &requests).await?;
    service.abort();
    for (status, body) in &responses {
        print!("{status}: {body}");
    }
    let [(_, first), (_, second), (status, refusal), (_, last)] = &responses[..] else {
        return Err("these are not the responses to four requests".into());
    };
    let as_expected = first == "request 1 of acme; a task sees request 1 of acme\n"
        // Nothing is left of the requests before, on the same connection.
        && second == "request 2 of public; a task sees request 2 of public\n"
        && *status == StatusCode::INTERNAL_SERVER_ERROR
        && refusal.contains("HttpContextLayer")
        && last == "request 3 of public; a task sees request 3 of public\n";
    match as_expected {
        true => Ok(()),
        false => Err("these are not the expected responses".into()),
    }
}

/// Asks for paths on one connection, for the tenants that are given.
async fn ask(
    service: SocketAddr,
    requests: &[(&str, Option<&str>)],
) -> Outcome<Vec<(StatusCode, String)>> {
    let stream = TcpStream::connect(service).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut responses = Vec::new();
    for (path, tenant) in requests {
        let mut request = Request::get(*path).header(HOST, service.to_string());
        if let Some(tenant) = tenant {
            request = request.header("x-tenant", *tenant);
        }
        sender.ready().await?;
        let response = sender
            .send_request(request.body(Empty::<Bytes>::new())?)
            .await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        responses.push((status, String::from_utf8_lossy(&body).into_owned()));
    }
    drop(sender);
    connection.await??;
    Ok(responses)
}
