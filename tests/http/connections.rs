//! What happens to connections: clients that go away, upgrades, shutdown.

use std::convert::Infallible;
use std::sync::Arc;

use aiocontextvars::shim;
use aiocontextvars::shim::tower::HttpContextLayer;
use futures::stream::{self, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use test_support::axum::Router;
use test_support::axum::body::Body;
use test_support::axum::extract::{Path, Request};
use test_support::axum::http::header::{CONNECTION, UPGRADE};
use test_support::axum::http::{Response, StatusCode};
use test_support::axum::routing::get;
use test_support::hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

use crate::service::{Probe, Server, client, expected, for_each_version, frames, run};
use crate::{CHUNKS, ID};

#[test]
fn a_body_whose_client_goes_away_is_dropped_in_its_context() {
    for_each_version(async |version| {
        let (probe, mut seen) = Probe::new();
        let hangs = async move |Path(id): Path<u64>| {
            ID.set(id);
            let armed = probe.arm();
            let first = stream::once(async move {
                CHUNKS.set(1);
                Ok::<_, Infallible>("first")
            });
            Body::from_stream(first.chain(stream::pending()).inspect(move |_| {
                let _armed = &armed;
            }))
        };
        let app = Router::new()
            .route("/{id}", get(hangs))
            .layer(HttpContextLayer::new());
        let server = Server::start(app).await;
        for id in 1..=3 {
            let client = client(version);
            let request = server.get(version, &format!("/{id}"));
            let mut response = client.request(request).await.unwrap();
            let first = response.body_mut().frame().await.unwrap().unwrap();
            assert_eq!(first.into_data().unwrap(), "first");
            assert!(seen.try_recv().is_err());
            drop((response, client));
            assert_eq!(seen.recv().await.unwrap(), (Some(id), 1));
        }
    });
}

#[test]
fn a_request_whose_client_goes_away_is_dropped_in_its_context() {
    for_each_version(async |version| {
        let (probe, mut seen) = Probe::new();
        let (entered, mut has_entered) = tokio::sync::mpsc::unbounded_channel();
        let hangs = async move |Path(id): Path<u64>| {
            ID.set(id);
            let _armed = probe.arm();
            entered.send(()).unwrap();
            std::future::pending::<()>().await;
        };
        let app = Router::new()
            .route("/{id}", get(hangs))
            .layer(HttpContextLayer::new());
        let server = Server::start(app).await;
        for id in 1..=3 {
            let client = client(version);
            let request = server.get(version, &format!("/{id}"));
            let asked = tokio::spawn(async move { client.request(request).await.map(drop) });
            has_entered.recv().await.unwrap();
            asked.abort();
            assert!(asked.await.unwrap_err().is_cancelled());
            assert_eq!(seen.recv().await.unwrap(), (Some(id), 0));
        }
    });
}

#[test]
fn an_upgraded_connection_is_served_in_its_requests_context() {
    run(async {
        let upgrade = async |Path(id): Path<u64>, request: Request| {
            ID.set(id);
            shim::spawn(async move {
                let upgraded = hyper::upgrade::on(request).await.unwrap();
                let mut io = BufReader::new(TokioIo::new(upgraded));
                let mut line = String::new();
                while io.read_line(&mut line).await.unwrap() != 0 {
                    let answer = format!("{:?} {line}", ID.get());
                    io.get_mut().write_all(answer.as_bytes()).await.unwrap();
                    line.clear();
                }
            })
            .detach();
            let switching = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            let switching = switching
                .header(CONNECTION, "upgrade")
                .header(UPGRADE, "echo");
            switching.body(Body::empty()).unwrap()
        };
        let app = Router::new()
            .route("/{id}", get(upgrade))
            .layer(HttpContextLayer::new());
        let server = Server::start(app).await;
        let mut streams = Vec::new();
        for id in 1..=3 {
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
        for (id, stream) in &mut streams {
            stream.get_mut().write_all(b"hello\n").await.unwrap();
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            assert_eq!(line, format!("Some({id}) hello\n"));
        }
        for (_, mut stream) in streams {
            stream.get_mut().shutdown().await.unwrap();
            assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        }
    });
}

#[test]
fn a_body_that_is_under_way_at_shutdown_ends_in_its_context() {
    for_each_version(async |version| {
        let (probe, mut seen) = Probe::new();
        let gate = Arc::new(Barrier::new(2));
        let at_the_gate = Arc::clone(&gate);
        let stream = async move |Path(id): Path<u64>| {
            ID.set(id);
            Body::new(StreamBody::new(frames(3, &probe, at_the_gate)))
        };
        let app = Router::new()
            .route("/{id}", get(stream))
            .layer(HttpContextLayer::new());
        let server = Server::start(app).await;
        let client = client(version);
        let response = client.request(server.get(version, "/7")).await.unwrap();
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let served = server.shut_down();
        gate.wait().await;
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!([first, rest].concat(), expected(7, 3).into_bytes());
        drop(client);
        assert!(served.await.unwrap().is_ok());
        assert_eq!(seen.recv().await.unwrap(), (Some(7), 3));
    });
}
