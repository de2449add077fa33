//! Response bodies: each chunk, the trailers and the drop are in the request's context.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use aiocontextvars::shim;
use aiocontextvars::shim::tower::HttpContextLayer;
use futures::future;
use futures::stream::{self, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, SizeHint};
use test_support::axum::Router;
use test_support::axum::body::Body;
use test_support::axum::extract::Path;
use test_support::axum::http::header::{CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING};
use test_support::axum::http::{Method, Version};
use test_support::axum::response::sse::{Event, Sse};
use test_support::axum::response::{IntoResponse, Response};
use test_support::axum::routing::get;
use tokio::sync::Barrier;

use crate::service::{
    AT_ONCE, Armed, Probe, Seen, Server, client, expected, for_each_version, frames, read, run,
};
use crate::{CHUNKS, ID, TENANT};

const CHUNKS_EACH: u64 = 3;

fn all_ids() -> impl Iterator<Item = u64> {
    1..=AT_ONCE as u64
}

async fn dropped(
    seen: &mut tokio::sync::mpsc::UnboundedReceiver<Seen>,
    count: usize,
) -> BTreeSet<Seen> {
    let mut all = BTreeSet::new();
    for _ in 0..count {
        all.insert(seen.recv().await.unwrap());
    }
    all
}

#[test]
fn streams_are_in_their_requests_context() {
    for_each_version(async |version| {
        let (probe, mut seen) = Probe::new();
        let gate = Arc::new(Barrier::new(AT_ONCE));
        let stream = async move |Path(id): Path<u64>| {
            ID.set(id);
            let body = StreamBody::new(frames(CHUNKS_EACH, &probe, Arc::clone(&gate)));
            let response = Response::builder().header(TRAILER, "x-id");
            response.body(Body::new(body)).unwrap()
        };
        let app = Router::new()
            .route("/{id}", get(stream))
            .layer(HttpContextLayer::new());
        let server = Server::start(app).await;
        let client = client(version);
        let answers = all_ids().map(async |id| {
            let mut request = server.get(version, &format!("/{id}"));
            // HTTP/1.1 has trailers only for who asks for them.
            request
                .headers_mut()
                .insert(TE, "trailers".parse().unwrap());
            let response = client.request(request).await.unwrap();
            assert_eq!(response.version(), version);
            let (text, trailers) = read(response).await;
            assert_eq!(text, expected(id, CHUNKS_EACH));
            assert_eq!(trailers.unwrap()["x-id"], id.to_string());
        });
        future::join_all(answers).await;
        let expected = all_ids().map(|id| (Some(id), CHUNKS_EACH)).collect();
        assert_eq!(dropped(&mut seen, AT_ONCE).await, expected);
        assert!(seen.try_recv().is_err());
    });
}

#[test]
fn server_sent_events_are_in_their_requests_context() {
    for_each_version(async |version| {
        let gate = Arc::new(Barrier::new(AT_ONCE));
        let events = async move |Path(id): Path<u64>| {
            ID.set(id);
            let events = stream::iter(0..3).then(move |n| {
                let gate = Arc::clone(&gate);
                async move {
                    if n == 1 {
                        gate.wait().await;
                    }
                    // A task of the body's inherits as well.
                    let seen = shim::spawn(async { ID.get() }).await.unwrap();
                    Ok::<_, Infallible>(Event::default().data(format!("{n} of {seen:?}")))
                }
            });
            Sse::new(events)
        };
        let app = Router::new()
            .route("/{id}", get(events))
            .layer(HttpContextLayer::new());
        let server = Server::start(app).await;
        let client = client(version);
        let answers = all_ids().map(async |id| {
            let request = server.get(version, &format!("/{id}"));
            let response = client.request(request).await.unwrap();
            assert_eq!(response.headers()["content-type"], "text/event-stream");
            let (text, _) = read(response).await;
            let expected = (0..3).map(|n| format!("data: {n} of Some({id})\n\n"));
            assert_eq!(text, expected.collect::<String>());
        });
        future::join_all(answers).await;
    });
}

/// A body of which the length is known.
struct Whole {
    text: Option<Bytes>,
    _armed: Armed,
}

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        CHUNKS.set(CHUNKS.get() + 1);
        Poll::Ready(self.text.take().map(|text| Ok(Frame::data(text))))
    }

    fn is_end_stream(&self) -> bool {
        self.text.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.text.as_ref().map_or(0, Bytes::len) as u64)
    }
}

fn whole(probe: Probe) -> Router {
    let whole = async move |Path(id): Path<u64>| {
        ID.set(id);
        let armed = probe.arm();
        let text = Some("twelve bytes".into());
        let body = Whole {
            text,
            _armed: armed,
        };
        Body::new(body)
    };
    Router::new()
        .route("/{id}", get(whole))
        .layer(HttpContextLayer::new())
}

#[test]
fn a_length_that_is_known_stays_known() {
    for_each_version(async |version| {
        let (probe, mut seen) = Probe::new();
        let server = Server::start(whole(probe)).await;
        let client = client(version);
        let response = client.request(server.get(version, "/7")).await.unwrap();
        assert_eq!(response.headers()[CONTENT_LENGTH], "12");
        assert!(!response.headers().contains_key(TRANSFER_ENCODING));
        assert_eq!(read(response).await.0, "twelve bytes");
        assert_eq!(seen.recv().await.unwrap(), (Some(7), 1));
    });
}

#[test]
fn the_body_of_a_head_request_is_dropped_in_its_context() {
    for_each_version(async |version| {
        let (probe, mut seen) = Probe::new();
        let server = Server::start(whole(probe)).await;
        let client = client(version);
        let mut request = server.get(version, "/7");
        *request.method_mut() = Method::HEAD;
        let response = client.request(request).await.unwrap();
        assert_eq!(response.headers()[CONTENT_LENGTH], "12");
        assert_eq!(read(response).await.0, "");
        assert_eq!(seen.recv().await.unwrap(), (Some(7), 0));
    });
}

#[test]
fn what_one_request_sets_the_next_on_its_connection_does_not_see() {
    for_each_version(async |version| {
        let look = async || {
            let before = (ID.get(), TENANT.get());
            ID.set(7);
            TENANT.set("acme".to_owned());
            // The body is polled when the next request may have come already.
            let body = stream::once(async move {
                let text = format!("{before:?} {:?}", ID.get());
                ID.set(8);
                Ok::<_, Infallible>(text)
            });
            Body::from_stream(body).into_response()
        };
        let app = Router::new()
            .route("/", get(look))
            .layer(HttpContextLayer::new());
        let server = Server::start(app).await;
        let client = client(version);
        for _ in 0..3 {
            let response = client.request(server.get(version, "/")).await.unwrap();
            assert_eq!(read(response).await.0, "(None, None) Some(7)");
        }
    });
}

#[test]
fn a_body_that_fails_is_dropped_in_its_context() {
    run(async {
        let (probe, mut seen) = Probe::new();
        let fails = async move || {
            ID.set(7);
            let armed = probe.arm();
            let frames = stream::iter([Ok("x"), Err("broken")]).map(move |frame| {
                let _armed = &armed;
                CHUNKS.set(CHUNKS.get() + 1);
                frame
            });
            Body::from_stream(frames)
        };
        let app = Router::new()
            .route("/", get(fails))
            .layer(HttpContextLayer::new());
        let server = Server::start(app).await;
        let version = Version::HTTP_11;
        let client = client(version);
        // The connection may be closed before the head has been sent, or after it.
        if let Ok(response) = client.request(server.get(version, "/")).await {
            assert!(response.into_body().collect().await.is_err());
        }
        assert_eq!(seen.recv().await.unwrap(), (Some(7), 2));
    });
}
