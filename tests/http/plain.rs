//! hyper without axum: on one connection of each version, served on any executor.

use std::convert::Infallible;
use std::sync::Arc;

use aiocontextvars::shim::tower::HttpContextLayer;
use aiocontextvars::{Context, ContextExt};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn;
use test_support::axum::http::{Request, Response, Version};
use test_support::hyper_util::rt::{TokioExecutor, TokioIo};
use test_support::hyper_util::service::TowerToHyperService;
use test_support::tower::{Layer, service_fn};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

use crate::ID;
use crate::service::{Probe, expected, for_each_version, frames};

#[test]
fn a_body_is_in_its_requests_context() {
    for_each_version(async |version| {
        let (probe, mut seen) = Probe::new();
        let answer = service_fn(move |request: Request<Incoming>| {
            let probe = probe.clone();
            async move {
                ID.set(request.uri().path()[1..].parse().unwrap());
                let gate = Arc::new(Barrier::new(1));
                Ok::<_, Infallible>(Response::new(StreamBody::new(frames(3, &probe, gate))))
            }
        });
        let base = |_: &Request<Incoming>| Context::new();
        let service = TowerToHyperService::new(HttpContextLayer::with(base).layer(answer));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let io = TokioIo::new(listener.accept().await.unwrap().0);
            match version {
                Version::HTTP_2 => {
                    let builder = conn::http2::Builder::new(TokioExecutor::new());
                    builder.serve_connection(io, service).await
                }
                _ => {
                    conn::http1::Builder::new()
                        .serve_connection(io, service)
                        .await
                }
            }
        });

        let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let request = Request::get(format!("http://{address}/7")).header("host", "localhost");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = match version {
            Version::HTTP_2 => {
                let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
                let (mut sender, connection) = handshake.await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap()
            }
            _ => {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(io).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap()
            }
        };
        let text = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(text, expected(7, 3));
        assert_eq!(seen.recv().await.unwrap(), (Some(7), 3));
        assert!(served.await.unwrap().is_ok());
    });
}

#[test]
fn a_body_in_a_context_keeps_its_hints() {
    let body = http_body_util::Full::new(Bytes::from("abc")).in_context(Context::new());
    assert_eq!(body.size_hint().exact(), Some(3));
    assert!(!body.is_end_stream());
    let shared = Context::new().share();
    let body = Empty::<Bytes>::new().in_context(&shared);
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(body.is_end_stream());
}

#[test]
fn a_body_in_a_shared_context_sees_what_others_set() {
    let shared = Context::new().share();
    let (probe, mut seen) = Probe::new();
    let body = StreamBody::new(frames(2, &probe, Arc::new(Barrier::new(1)))).in_context(&shared);
    shared.run(|| ID.set(7)).unwrap();
    let collected = aiocontextvars::shim::block_on(body.collect()).unwrap();
    assert_eq!(collected.trailers().unwrap()["x-id"], "7");
    assert_eq!(collected.to_bytes(), expected(7, 2));
    assert_eq!(seen.try_recv().unwrap(), (Some(7), 2));
    assert_eq!(shared.get(&crate::CHUNKS), Some(2));
}
