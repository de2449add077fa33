//! Upgraded connections: those of HTTP/1.1, and streams of HTTP/2 by an extended CONNECT (RFC 8441).
//! WebSockets are either.

use aiocontextvars::shim;
use aiocontextvars::shim::tower::HttpContextLayer;
use hyper::ext::Protocol;
use test_support::axum::Router;
use test_support::axum::body::Body;
use test_support::axum::extract::{Path, Request};
use test_support::axum::http::header::{CONNECTION, UPGRADE};
use test_support::axum::http::{Method, Response, StatusCode, Version};
use test_support::axum::routing::any;
use test_support::hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::ID;
use crate::service::{Probe, Server, run};

const STREAMS: u64 = 3;

/// A service that says whose connection it is to each line that it reads there.
fn app(probe: Probe) -> Router {
    let upgrade = async move |Path(id): Path<u64>, request: Request| {
        ID.set(id);
        let response = match request.version() {
            Version::HTTP_2 => Response::builder(),
            _ => Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header(CONNECTION, "upgrade")
                .header(UPGRADE, "echo"),
        };
        let armed = probe.arm();
        shim::spawn(async move {
            let _armed = armed;
            let upgraded = hyper::upgrade::on(request).await.unwrap();
            let mut io = BufReader::new(TokioIo::new(upgraded));
            let mut line = String::new();
            while io.read_line(&mut line).await.unwrap() != 0 {
                let answer = format!("{:?} {line}", ID.get());
                io.get_mut().write_all(answer.as_bytes()).await.unwrap();
                line.clear();
            }
            io.get_mut().shutdown().await.unwrap();
        })
        .detach();
        response.body(Body::empty()).unwrap()
    };
    Router::new()
        .route("/{id}", any(upgrade))
        .layer(HttpContextLayer::new())
}

/// All connections are open, and each is answered as whose it is.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mut streams: Vec<(u64, BufReader<S>)>) {
    for (_, stream) in &mut streams {
        stream.get_mut().write_all(b"hello\n").await.unwrap();
    }
    for (id, stream) in &mut streams {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert_eq!(line, format!("Some({id}) hello\n"));
    }
    for (_, mut stream) in streams {
        stream.get_mut().shutdown().await.unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    }
}

#[test]
fn an_upgraded_connection_is_served_in_its_requests_context() {
    run(async {
        let (probe, mut seen) = Probe::new();
        let server = Server::start(app(probe)).await;
        let mut streams = Vec::new();
        for id in 1..=STREAMS {
            let mut stream = BufReader::new(TcpStream::connect(server.address).await.unwrap());
            let head = format!(
                "GET /{id} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
            );
            stream.get_mut().write_all(head.as_bytes()).await.unwrap();
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            assert_eq!(line, "HTTP/1.1 101 Switching Protocols\r\n");
            while line != "\r\n" {
                line.clear();
                stream.read_line(&mut line).await.unwrap();
            }
            streams.push((id, stream));
        }
        converse(streams).await;
        ended(&mut seen).await;
    });
}

#[test]
fn streams_of_one_connection_are_served_in_their_requests_contexts() {
    run(async {
        let (probe, mut seen) = Probe::new();
        let server = Server::start(app(probe)).await;
        let io = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
        let (mut sender, connection) = handshake.await.unwrap();
        let connection = tokio::spawn(connection);
        // Its answer comes after the server's settings, which allow what follows.
        let first = sender.send_request(server.get(Version::HTTP_2, "/"));
        assert_eq!(first.await.unwrap().status(), StatusCode::NOT_FOUND);
        let mut streams = Vec::new();
        for id in 1..=STREAMS {
            let mut request = server.get(Version::HTTP_2, &format!("/{id}"));
            *request.method_mut() = Method::CONNECT;
            let protocol = Protocol::from_static("echo");
            request.extensions_mut().insert(protocol);
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let upgraded = hyper::upgrade::on(response).await.unwrap();
            streams.push((id, BufReader::new(TokioIo::new(upgraded))));
        }
        converse(streams).await;
        ended(&mut seen).await;
        drop(sender);
        connection.await.unwrap().unwrap();
    });
}

/// Each connection's task has ended in its own context.
async fn ended(seen: &mut tokio::sync::mpsc::UnboundedReceiver<(Option<u64>, u64)>) {
    let mut all = Vec::new();
    for _ in 0..STREAMS {
        all.push(seen.recv().await.unwrap());
    }
    all.sort_unstable();
    let expected = (1..=STREAMS).map(|id| (Some(id), 0));
    assert_eq!(all, expected.collect::<Vec<_>>());
}
