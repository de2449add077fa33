//! Connections: accepting them, serving each in a task of its own, and coming to an end.

use std::convert::Infallible;
use std::io;
use std::mem;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aiocontextvars::shim;
use async_io::Async;
use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use futures::future::{self, Either, Shared};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use smol_hyper::rt::{FuturesIo, SmolTimer};

use crate::service::Service;

/// Completes when the service is to stop.
pub(crate) type Stop = Shared<oneshot::Receiver<()>>;

/// What a connection has to finish its request in when the service stops.
const GRACE: Duration = Duration::from_secs(5);
/// Without file descriptors left, accepting fails again and again until some connection ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves what connects until `stop`, then returns when the last connection has ended.
pub(crate) async fn serve(listener: Async<TcpListener>, service: Arc<Service>, stop: Stop) {
    // Each connection has a sender; when all of them are gone, so are the connections.
    let (open, mut all_closed) = mpsc::channel::<Infallible>(0);
    let mut failing = false;
    loop {
        let accepted = match future::select(pin!(listener.accept()), stop.clone()).await {
            Either::Left((accepted, _)) => accepted,
            Either::Right(_) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                failing = false;
                let (service, stop, open) = (Arc::clone(&service), stop.clone(), open.clone());
                let runtime = service.runtime;
                runtime.spawn_connection(async move {
                    converse(stream, service, stop).await;
                    drop(open);
                });
            }
            Err(error) if is_of_peer(&error) => tracing::debug!("not accepted: {error}"),
            Err(error) => {
                // Once is enough for the log.
                if !mem::replace(&mut failing, true) {
                    tracing::warn!("cannot accept connections, trying again: {error}");
                }
                shim::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    drop(open);
    let _ = all_closed.next().await;
}

/// Whether a connection failed before it was accepted; the next one may be fine.
fn is_of_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// Serves the requests of one connection, one after the other.
async fn converse(stream: Async<std::net::TcpStream>, service: Arc<Service>, stop: Stop) {
    let respond = service_fn(move |request| Arc::clone(&service).respond(request));
    let connection = http1::Builder::new()
        // With a timer, a client that does not finish its header is cut off.
        .timer(SmolTimer::new())
        .serve_connection(FuturesIo::new(stream), respond);
    let mut connection = pin!(connection);
    let served = match future::select(connection.as_mut(), stop).await {
        Either::Left((served, _)) => Some(served),
        Either::Right(_) => None,
    };
    let served = match served {
        Some(served) => served,
        None => {
            connection.as_mut().graceful_shutdown();
            match shim::timeout(GRACE, connection).await {
                Ok(served) => served,
                Err(_) => {
                    return tracing::warn!("a connection was cut off: its request took too long");
                }
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!("a connection failed: {error}");
    }
}
