//! Request bodies: what a client streams, polled by the task of its connection, and what a handler
//! reads of it.

use std::sync::{Arc, LazyLock};

use aiocontextvars::propagation::Propagator;
use aiocontextvars::shim::tower::{HttpContextLayer, InjectLayer};
use aiocontextvars::{Context, ContextExt, shim};
use futures::future;
use futures::stream::{self, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use test_support::axum::Router;
use test_support::axum::body::Body;
use test_support::axum::extract::Path;
use test_support::axum::http::{Request, Version};
use test_support::axum::routing::post;
use test_support::hyper_util::client::legacy::Client;
use test_support::hyper_util::rt::TokioExecutor;
use test_support::tower::{Layer, ServiceExt};
use tokio::sync::Barrier;

use crate::service::{AT_ONCE, Probe, Server, expected, for_each_version, frames, read};
use crate::{CHUNKS, ID};

const CHUNKS_EACH: u64 = 3;

static IDS: LazyLock<Propagator> = LazyLock::new(|| Propagator::new().both("id", &ID));

fn post_to(server: &Server, version: Version, body: Body) -> Request<Body> {
    let uri = format!("http://{}/", server.address);
    let request = Request::post(uri).version(version);
    request.body(body).unwrap()
}

#[test]
fn what_a_client_streams_and_a_handler_reads_is_in_the_context_of_the_request() {
    for_each_version(async |version| {
        let echo = async |body: Body| {
            let mut chunks = body.into_data_stream();
            let mut all = String::new();
            while let Some(chunk) = chunks.next().await {
                all += std::str::from_utf8(&chunk.unwrap()).unwrap();
                CHUNKS.set(CHUNKS.get() + 1);
            }
            format!("{all}{:?} read {}", ID.get(), CHUNKS.get() > 0)
        };
        let app = Router::new().route("/", post(echo));
        let server = Server::start(app.layer(HttpContextLayer::new().extracting(&IDS))).await;
        let mut builder = Client::builder(TokioExecutor::new());
        let client = builder.http2_only(version == Version::HTTP_2);
        let client = InjectLayer::new(&IDS).layer(client.build_http::<Body>());
        let (probe, mut seen) = Probe::new();
        // All bodies are under way at once.
        let gate = Arc::new(Barrier::new(AT_ONCE));
        let asked = (1..=AT_ONCE as u64).map(|id| {
            let context = Context::new().with_value(&ID, id);
            // Made in the context, or `in_current_context` there.
            let frames = frames(CHUNKS_EACH, &probe, Arc::clone(&gate));
            let body = StreamBody::new(frames).in_context(context.clone());
            let request = post_to(&server, version, Body::new(body));
            let asked = shim::spawn_in(context, client.clone().oneshot(request));
            async move {
                let response = asked.await.unwrap().unwrap();
                let expected = format!("{}Some({id}) read true", expected(id, CHUNKS_EACH));
                assert_eq!(read(response).await.0, expected);
            }
        });
        future::join_all(asked.collect::<Vec<_>>()).await;
        let mut dropped = Vec::new();
        for _ in 0..AT_ONCE {
            dropped.push(seen.recv().await.unwrap());
        }
        dropped.sort_unstable();
        let expected = (1..=AT_ONCE as u64).map(|id| (Some(id), CHUNKS_EACH));
        assert_eq!(dropped, expected.collect::<Vec<_>>());
    });
}

#[test]
fn a_handler_whose_client_goes_away_in_its_upload_ends_in_its_context() {
    for_each_version(async |version| {
        let (probe, mut seen) = Probe::new();
        let (entered, mut has_entered) = tokio::sync::mpsc::unbounded_channel();
        let reads = async move |body: Body| {
            ID.set(7);
            let _armed = probe.arm();
            let mut chunks = body.into_data_stream();
            while let Some(Ok(_)) = chunks.next().await {
                CHUNKS.set(CHUNKS.get() + 1);
                entered.send(()).unwrap();
            }
        };
        let app = Router::new().route("/", post(reads));
        let server = Server::start(app.layer(HttpContextLayer::new())).await;
        let mut builder = Client::builder(TokioExecutor::new());
        let client = builder.http2_only(version == Version::HTTP_2);
        let client = client.build_http::<Body>();
        let first = stream::once(async { Ok::<_, hyper::Error>(Frame::data(Bytes::from("x"))) });
        let body = Body::new(StreamBody::new(first.chain(stream::pending())));
        let request = post_to(&server, version, body);
        let asked = tokio::spawn(async move { client.request(request).await.map(drop) });
        has_entered.recv().await.unwrap();
        assert!(seen.try_recv().is_err());
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        assert_eq!(seen.recv().await.unwrap(), (Some(7), 1));
    });
}

#[test]
fn a_request_that_is_under_way_at_shutdown_ends_in_its_context() {
    for_each_version(async |version| {
        let gate = Arc::new(Barrier::new(2));
        let of_handler = Arc::clone(&gate);
        let waits = async move |Path(id): Path<u64>, body: Body| {
            ID.set(id);
            of_handler.wait().await;
            of_handler.wait().await;
            let body = body.collect().await.unwrap().to_bytes();
            format!("{:?} {}", ID.get(), body.len())
        };
        let app = Router::new().route("/{id}", post(waits));
        let server = Server::start(app.layer(HttpContextLayer::new())).await;
        let mut builder = Client::builder(TokioExecutor::new());
        let client = builder.http2_only(version == Version::HTTP_2);
        let client = client.build_http::<Body>();
        let uri = format!("http://{}/7", server.address);
        let request = Request::post(uri).version(version).body(Body::from("body"));
        let asked = tokio::spawn(client.request(request.unwrap()));
        gate.wait().await;
        let served = server.shut_down();
        gate.wait().await;
        let response = asked.await.unwrap().unwrap();
        assert_eq!(read(response).await.0, "Some(7) 4");
        drop(client);
        assert!(served.await.unwrap().is_ok());
    });
}
