//! The tasks of a connection pool outlive the request that had them started, and keep none of its
//! values if the pool's executor is [fixed](ContextAwareExecutor::fixed): hyper-util's client, its
//! server in the same process.
#![cfg(all(feature = "hyper", feature = "tokio", feature = "tower"))]

#[path = "../crates/conformance/src/drops.rs"]
mod drops;

use std::convert::Infallible;
use std::future::{self, Ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{self, Poll};
use std::time::Duration;

use aiocontextvars::event_loop::{EventLoop, LoopHandle};
use aiocontextvars::shim::{self, ContextAwareExecutor};
use aiocontextvars::{Context, ContextExt, context_var};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper::{Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;

use drops::{Counted, Drops};

context_var! {
    static ID: u64;
    static HELD: Counted;
}

type Executor = ContextAwareExecutor<LoopHandle>;

/// One end of a connection within the process.
struct Pipe(TokioIo<DuplexStream>);

impl Connection for Pipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Starts a server for each connection that it makes.
#[derive(Clone)]
struct Connector {
    servers: Executor,
    connections: Arc<AtomicUsize>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = Pipe;
    type Error = Infallible;
    type Future = Ready<Result<Pipe, Infallible>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let (near, far) = tokio::io::duplex(1024);
        let service = service_fn(async |_| {
            let body = Full::new(Bytes::from_static(b"answer"));
            Ok::<_, Infallible>(Response::new(body))
        });
        let server = hyper::server::conn::http1::Builder::new();
        let server = server.serve_connection(TokioIo::new(far), service);
        self.servers.spawn_in(Context::new(), server).detach();
        future::ready(Ok(Pipe(TokioIo::new(near))))
    }
}

type Pool = Client<Connector, Empty<Bytes>>;

/// What a request does, in its context.
async fn request(pool: &Pool) {
    let answer = pool.get(Uri::from_static("http://server/")).await.unwrap();
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "answer");
}

/// Until nothing else can go on, as the clock of the loop advances only then.
async fn settle() {
    shim::sleep(Duration::from_secs(1)).await;
}

/// Makes two requests over one connection. Returns whether the first one's value is still there
/// when it has ended, and when the second has.
fn pins(wrap: fn(LoopHandle) -> Executor) -> [bool; 2] {
    let event_loop = EventLoop::with_virtual_clock();
    let executor = wrap(event_loop.handle());
    let connections = Arc::new(AtomicUsize::new(0));
    let connector = Connector {
        servers: executor.clone(),
        connections: Arc::clone(&connections),
    };
    event_loop.run_until_complete(async {
        let pool: Pool = Client::builder(executor).build(connector);
        let (first, second) = (Drops::new(), Drops::new());
        let context = |id, drops: &Drops| {
            Context::new()
                .with_value(&ID, id)
                .with_value(&HELD, drops.value())
        };
        request(&pool).in_context(context(1, &first)).await;
        let after_the_first = first.count() == 0;
        settle().await;
        request(&pool).in_context(context(2, &second)).await;
        settle().await;
        let after_the_second = first.count() == 0;
        assert_eq!(connections.load(Ordering::SeqCst), 1, "it was pooled");
        // The connection ends with the pool, and whatever it has kept.
        drop(pool);
        settle().await;
        assert_eq!((first.count(), second.count()), (1, 1));
        [after_the_first, after_the_second]
    })
}

#[test]
fn a_pooled_connection_keeps_no_values_of_the_request_that_opened_it() {
    let fixed = |handle| ContextAwareExecutor::fixed(handle, Context::new());
    assert_eq!(pins(fixed), [false, false]);
}

/// What the other test is about: the connection's task is the request's, and inherits from it.
#[test]
fn on_an_executor_that_is_not_fixed_it_keeps_them() {
    assert_eq!(pins(ContextAwareExecutor::new), [true, true]);
}
