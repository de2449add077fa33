//! tower-http's `TraceLayer`, whose hooks for a response's body run when the handler has long
//! returned: inside of `HttpContextLayer` they know the request.

use std::convert::Infallible;
use std::sync::mpsc;
use std::time::Duration;

use aiocontextvars::context_var;
use aiocontextvars::shim::tower::HttpContextLayer;
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::trace::TraceLayer;
use tracing::Span;

context_var! { static REQUEST_ID: u64; }

#[tokio::test]
async fn the_hooks_of_a_trace_layer_know_the_request() {
    let (sender, seen) = mpsc::channel();
    let see = move |hook: &'static str| {
        // The receiver is gone only if the test has failed.
        let _ = sender.send((hook, REQUEST_ID.get()));
    };
    let [on_request, on_response, on_chunk, on_eos] = [(); 4].map(|()| see.clone());
    let trace = TraceLayer::new_for_http()
        .on_request(move |_: &Request<String>, _: &Span| on_request("request"))
        .on_response(move |_: &Response<_>, _: Duration, _: &Span| on_response("response"))
        .on_body_chunk(move |_: &Bytes, _: Duration, _: &Span| on_chunk("chunk"))
        .on_eos(move |_: Option<&HeaderMap>, _: Duration, _: &Span| on_eos("end"));
    let service = ServiceBuilder::new()
        .layer(HttpContextLayer::new())
        // What sets the variable stands around the layer that is to see it.
        .map_request(|request: Request<String>| {
            REQUEST_ID.set(request.body().parse().unwrap());
            request
        })
        .layer(trace)
        .service(service_fn(async |_: Request<String>| {
            let frames = [
                Frame::data(Bytes::from("a")),
                Frame::data(Bytes::from("b")),
                Frame::trailers(HeaderMap::new()),
            ];
            let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
            Ok::<_, Infallible>(Response::new(body))
        }));

    for id in [7, 8] {
        let request = Request::new(id.to_string());
        let response = service.clone().oneshot(request).await.unwrap();
        let body = response.into_body();
        assert!(!body.is_end_stream());
        // By somebody who has nothing to do with the request, as the task of a connection.
        let body = tokio::spawn(body.collect()).await.unwrap().unwrap();
        assert_eq!(body.to_bytes(), "ab");
        let hooks: Vec<_> = seen.try_iter().collect();
        let expected = ["request", "response", "chunk", "chunk", "end"];
        assert_eq!(hooks, expected.map(|hook| (hook, Some(id))));
    }
    assert_eq!(REQUEST_ID.get(), None);
}
