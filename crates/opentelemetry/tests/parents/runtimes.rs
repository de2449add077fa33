//! Several requests at once, on each runtime.

use std::thread;
use std::time::{Duration, Instant};

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim;
use futures::future::{BoxFuture, join_all};
use opentelemetry::trace::{SpanId, TraceContextExt};

use crate::exported::{Exported, Found};
use crate::hops::{self, HOPS};

const REQUESTS: u64 = 8;

fn check(run: impl FnOnce(BoxFuture<'static, ()>)) {
    let exported = Exported::new();
    let served = exported.clone();
    run(Box::pin(async move {
        let actor = hops::actor(&served);
        let requests = (1..=REQUESTS)
            .map(|number| shim::spawn(hops::request(served.clone(), actor.clone(), number)));
        for request in join_all(requests.collect::<Vec<_>>()).await {
            request.unwrap();
        }
        // Nothing is left of them here.
        let current = opentelemetry::Context::current();
        assert_eq!(current.span().span_context().span_id(), SpanId::INVALID);
    }));

    let mut expected = Found::new();
    let of_all = |path: &str| {
        (1..=REQUESTS)
            .map(|number| (path.to_owned(), number))
            .collect()
    };
    expected.insert("request".to_owned(), of_all(""));
    for hop in HOPS {
        let path = match hop {
            "grandchild" => "request/child",
            _ => "request",
        };
        expected.insert(hop.to_owned(), of_all(path));
    }
    // Each span ends, none is kept open. A worker may be about to let go of the last one.
    let start = Instant::now();
    while exported.found() != expected && start.elapsed() < Duration::from_secs(30) {
        thread::yield_now();
    }
    assert_eq!(exported.found(), expected);

    // As many traces as requests, and each record in that of its request.
    let records = exported.records();
    let each = vec![HOPS.len() - 1; REQUESTS as usize];
    assert_eq!(
        records.values().copied().collect::<Vec<_>>(),
        each,
        "{records:?}"
    );
}

#[test]
fn on_the_event_loop() {
    check(|future| EventLoop::new().run_until_complete(future));
}

#[test]
fn on_tokio_current_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    check(|future| runtime.unwrap().block_on(future));
}

#[test]
fn on_tokio() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build();
    check(|future| runtime.unwrap().block_on(future));
}

#[test]
fn on_smol() {
    check(|future| shim::smol::block_on(async { shim::smol::spawn(future).await.unwrap() }));
}

#[test]
fn on_async_std() {
    check(|future| {
        shim::async_std::block_on(async { shim::async_std::spawn(future).await.unwrap() });
    });
}
