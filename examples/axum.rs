//! An axum service whose handlers set context variables.
//!
//! axum spawns one task for each connection, by itself. Such a task has no context of its own, so setting a
//! variable in it is refused: the value would leak into other tasks. With `ContextLayer` around the routes,
//! each request is handled in a context of its own.
//!
//! ```sh
//! cargo run --features tokio,tower --example axum                    # on 127.0.0.1:3000, or add: -- ADDRESS
//! curl -i http://127.0.0.1:3000/ http://127.0.0.1:3000/              # two requests on one connection
//! curl -i http://127.0.0.1:3000/bare                                 # a route outside of the layer
//! cargo run --features tokio,tower --example axum -- --self-test     # the same requests, and no curl
//! ```

use std::env;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use aiocontextvars::shim::tower::ContextLayer;
use aiocontextvars::{context_var, shim};
use async_io::Async;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use smol_hyper::rt::FuturesIo;
use tokio::net::TcpListener;

context_var! {
    /// Number of the request being served.
    static REQUEST_ID: u64;
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

const ADDRESS: &str = "127.0.0.1:3000";
const USAGE: &str = "usage: axum [ADDRESS | --self-test]";

fn app() -> Router {
    // A layer is for the routes before it.
    Router::new()
        .route("/", get(in_a_context))
        .layer(ContextLayer::new())
        .route("/bare", get(bare))
}

/// Inside the layer: the id is set, and a task inherits it.
async fn in_a_context() -> String {
    let found = REQUEST_ID.get();
    REQUEST_ID.set(NEXT_ID.fetch_add(1, Ordering::Relaxed));
    let task = shim::spawn(async { REQUEST_ID.get() });
    let here = REQUEST_ID.get();
    match task.await {
        Ok(seen) => format!("found {found:?}, set {here:?}, a task saw {seen:?}\n"),
        Err(error) => format!("found {found:?}, set {here:?}, the task failed: {error}\n"),
    }
}

/// Outside of it: the error says what can be done. `set` would panic with the same words.
async fn bare() -> (StatusCode, String) {
    match REQUEST_ID.try_set(NEXT_ID.fetch_add(1, Ordering::Relaxed)) {
        Ok(_) => (StatusCode::OK, "set\n".to_owned()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<_> = env::args_os().skip(1).collect();
    let args: Option<Vec<&str>> = args.iter().map(|arg| arg.to_str()).collect();
    let outcome = match args.as_deref() {
        Some([]) => serve(ADDRESS).await,
        Some(["--self-test"]) => self_test().await,
        Some([address]) if !address.starts_with('-') => serve(address).await,
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("axum: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(address: &str) -> Result<(), String> {
    let (bound, service) = start(address).await?;
    // Nobody need read this: a closed standard output does not keep the service from serving.
    let _ = writeln!(
        io::stdout(),
        "serving on http://{bound}/ until Ctrl-C; try:\n  \
         curl -i http://{bound}/ http://{bound}/\n  \
         curl -i http://{bound}/bare"
    );
    match service.await {
        Ok(served) => served.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Starts the service in a task of the shim. This is the first use of the shim on tokio, from which on tasks
/// that the shim did not spawn, as axum's, cannot set variables.
async fn start(address: &str) -> Result<(SocketAddr, shim::JoinHandle<io::Result<()>>), String> {
    let refused = |error| format!("cannot listen on {address}: {error}");
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    let service = shim::spawn(async move { axum::serve(listener, app()).await });
    Ok((bound, service))
}

async fn self_test() -> Result<(), String> {
    let (bound, service) = start("127.0.0.1:0").await?;
    let outcome = ask(bound, &["/", "/", "/bare"])
        .await
        .map_err(|error| error.to_string())?;
    service.abort();
    for (status, body) in &outcome {
        print!("{status}: {body}");
    }
    let [(_, first), (_, second), (status, refusal)] = &outcome[..] else {
        return Err("there are three responses to three requests".to_owned());
    };
    let as_expected = first == "found None, set Some(1), a task saw Some(1)\n"
        // Nothing is left of the request before, on the same connection.
        && second == "found None, set Some(2), a task saw Some(2)\n"
        && *status == StatusCode::INTERNAL_SERVER_ERROR
        && refusal.contains("ContextLayer");
    if as_expected {
        Ok(())
    } else {
        Err("these are not the expected responses".to_owned())
    }
}

/// Asks for `paths` on one connection.
async fn ask(
    service: SocketAddr,
    paths: &[&str],
) -> Result<Vec<(StatusCode, String)>, Box<dyn std::error::Error>> {
    let stream = Async::<TcpStream>::connect(service).await?;
    let (mut sender, connection) = http1::handshake(FuturesIo::new(stream)).await?;
    let connection = shim::spawn(connection);
    let mut responses = Vec::new();
    for path in paths {
        let request = Request::get(*path)
            .header(HOST, service.to_string())
            .body(Empty::<Bytes>::new())?;
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        responses.push((status, String::from_utf8_lossy(&body).into_owned()));
    }
    drop(sender);
    connection.await??;
    Ok(responses)
}
