//! A server of one's own: a connection carries many requests, and each has its own context.

mod common;

use std::convert::Infallible;
use std::net::SocketAddr;

use aiocontextvars::shim::tower::HttpContextLayer;
use aiocontextvars::{Context, ContextExt, shim};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, service_fn};

use common::{TENANT, tenant};

/// Sets the tenant that the request names, if it names one, and says whose it is.
async fn handle<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    if let Some(tenant) = request.headers().get("x-tenant") {
        TENANT.set(tenant.to_str().unwrap().to_owned());
    }
    let tenant = shim::spawn(tenant()).await.unwrap();
    Ok(Response::new(Full::new(Bytes::from(tenant))))
}

/// The same by a body that is streamed: it sets the tenant, and says whose it is, when it is polled.
async fn stream<B>(request: Request<B>) -> Result<Response<Streamed>, Infallible> {
    let named = request.headers().get("x-tenant");
    let named = named.map(|tenant| tenant.to_str().unwrap().to_owned());
    let says = stream::once(async {
        if let Some(tenant) = named {
            TENANT.set(tenant);
        }
        Ok(Frame::data(Bytes::from(TENANT.get())))
    });
    Ok(Response::new(StreamBody::new(says.boxed())))
}

type Streamed = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// Serves one connection, in a context of its own, and returns where it listens.
macro_rules! serve {
    ($service:expr) => {{
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = TowerToHyperService::new($service);
        let serve = async move {
            let (stream, _) = listener.accept().await.unwrap();
            let server = auto::Builder::new(shim::tokio::executor());
            let connection = server.serve_connection(TokioIo::new(stream), service);
            connection.await.unwrap();
        };
        shim::spawn_in(Context::new(), serve).detach();
        address
    }};
}

/// Whether this has the length that its head says, or its last chunk.
fn is_complete(response: &str) -> bool {
    let Some((head, body)) = response.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) => body.len() == length.parse::<usize>().unwrap(),
        None => body.ends_with("\r\n0\r\n\r\n"),
    }
}

/// What the responses of two requests on one connection say, of which the first names a tenant.
async fn two_on_one_connection(server: SocketAddr) -> [String; 2] {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let mut tenants = [const { String::new() }; 2];
    for (tenant, header) in tenants.iter_mut().zip(["x-tenant: acme\r\n", ""]) {
        let request = format!("GET / HTTP/1.1\r\nhost: {server}\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        while !is_complete(&response) {
            let mut part = [0; 1024];
            let read = stream.read(&mut part).await.unwrap();
            assert_ne!(read, 0, "the connection has ended: {response}");
            response.push_str(str::from_utf8(&part[..read]).unwrap());
        }
        // The length of a chunk, the chunk, and the last one, which is empty.
        let body = response.split("\r\n\r\n").nth(1).unwrap();
        *tenant = body.split("\r\n").nth(1).unwrap_or(body).to_owned();
    }
    tenants
}

#[tokio::test]
async fn each_request_of_a_connection_has_its_own_context() {
    let right = ["acme", "nobody"];
    let wrapped = serve!(service_fn(|request| {
        handle(request).in_context(Context::new())
    }));
    assert_eq!(two_on_one_connection(wrapped).await, right);
    let layered = serve!(HttpContextLayer::new().layer(service_fn(handle)));
    assert_eq!(two_on_one_connection(layered).await, right);
    // Over the body too.
    let layered = serve!(HttpContextLayer::new().layer(service_fn(stream)));
    assert_eq!(two_on_one_connection(layered).await, right);
    let wrapped = serve!(service_fn(|request| {
        let response = async {
            let response = stream(request).await?;
            Ok::<_, Infallible>(response.map(|body| body.in_current_context()))
        };
        response.in_context(Context::new())
    }));
    assert_eq!(two_on_one_connection(wrapped).await, right);
}

#[tokio::test]
async fn without_one_the_next_request_sees_what_the_one_before_has_set() {
    let wrong = ["acme", "acme"];
    let bare = serve!(service_fn(handle));
    assert_eq!(two_on_one_connection(bare).await, wrong);
    // The body is the connection's, and not in the context of its request.
    let wrapped = serve!(service_fn(|request| {
        stream(request).in_context(Context::new())
    }));
    assert_eq!(two_on_one_connection(wrapped).await, wrong);
}
