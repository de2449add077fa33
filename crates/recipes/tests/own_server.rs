//! A server of one's own: a connection carries many requests, and each has its own context.

mod common;

use std::convert::Infallible;
use std::net::SocketAddr;

use aiocontextvars::shim::tower::HttpContextLayer;
use aiocontextvars::{Context, ContextExt, shim};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
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

/// What the responses of two requests on one connection say, of which the first names a tenant.
async fn two_on_one_connection(server: SocketAddr) -> [String; 2] {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let mut tenants = [const { String::new() }; 2];
    for (tenant, header) in tenants.iter_mut().zip(["x-tenant: acme\r\n", ""]) {
        let request = format!("GET / HTTP/1.1\r\nhost: {server}\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        let body = |response: &str| Some(response.split_once("\r\n\r\n")?.1.to_owned());
        // Both say something of so many bytes or more.
        while body(&response).is_none_or(|body| body.len() < "acme".len()) {
            let mut part = [0; 1024];
            let read = stream.read(&mut part).await.unwrap();
            assert_ne!(read, 0, "the connection has ended: {response}");
            response.push_str(str::from_utf8(&part[..read]).unwrap());
        }
        *tenant = body(&response).unwrap();
    }
    tenants
}

#[tokio::test]
async fn each_request_of_a_connection_has_its_own_context() {
    let wrapped = serve!(service_fn(|request| {
        handle(request).in_context(Context::new())
    }));
    assert_eq!(two_on_one_connection(wrapped).await, ["acme", "nobody"]);
    let layered = serve!(HttpContextLayer::new().layer(service_fn(handle)));
    assert_eq!(two_on_one_connection(layered).await, ["acme", "nobody"]);
}

#[tokio::test]
async fn without_one_the_next_request_sees_what_the_one_before_has_set() {
    let bare = serve!(service_fn(handle));
    assert_eq!(two_on_one_connection(bare).await, ["acme", "acme"]);
}
