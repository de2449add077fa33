//! What happens to connections: clients that go away, shutdown.

use std::convert::Infallible;
use std::sync::Arc;

use aiocontextvars::shim::tower::HttpContextLayer;
use futures::stream::{self, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use test_support::axum::Router;
use test_support::axum::body::Body;
use test_support::axum::extract::Path;
use test_support::axum::routing::get;
use tokio::sync::Barrier;

use crate::service::{Probe, Server, client, expected, for_each_version, frames};
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
