//! A service of several workers, each of which has a current-thread runtime and a `LocalSet` and
//! handles its connections in local tasks, as actix-web does.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use aiocontextvars::{ContextExt, shim};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{self, LocalBoxFuture, Shared};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use test_support::axum::http::{Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Barrier;
use tokio::task::{LocalSet, spawn_local};

use super::server::{Flavour, Identity, REQUESTS, Server, Tally, gate};
use super::{REGION, REQUEST_ID, TENANT, see};

const LOCAL_WORKERS: usize = 2;
/// In an answer of [`work`].
const LINES: usize = 7;

/// The number of requests and local tasks of a worker, which cannot be sent to another thread.
type Handled = Rc<Cell<u64>>;

async fn handle(
    request: Request<Incoming>,
    gate: Arc<Barrier>,
    handled: Handled,
) -> Response<String> {
    handled.set(handled.get() + 1);
    let Identity { id, tenant } = Identity::from_headers(request.headers());
    let body = match request.uri().path() {
        "/set" => {
            TENANT.set(tenant);
            see("set")
        }
        "/try-set" => {
            gate.wait().await;
            let both = (REQUEST_ID.try_set(id), TENANT.try_set(tenant));
            if let (Err(error), Err(_)) = both {
                let mut response = Response::new(error.to_string());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                return response;
            }
            gate.wait().await;
            see("set")
        }
        "/wrapped" => {
            let work = async {
                REQUEST_ID.set(id);
                TENANT.set(tenant);
                work(&gate, handled).await
            };
            work.in_current_context().await
        }
        "/scope" => with_id(id, TENANT.scope(tenant, work(&gate, handled))).await,
        "/read" => see("read"),
        "/ready" => String::new(),
        path => panic!("no {path}"),
    };
    Response::new(body)
}

/// Knows nothing of tenants.
fn with_id<F: Future>(id: u64, work: F) -> impl Future<Output = F::Output> {
    REQUEST_ID.scope(id, work)
}

async fn work(gate: &Barrier, handled: Handled) -> String {
    gate.wait().await;
    let mut seen = vec![see("after all have set theirs")];
    // tokio's `spawn_local`: with the context taken along, and bare.
    let local = async move {
        handled.set(handled.get() + 1);
        see("local task")
    };
    seen.push(spawn_local(local.in_current_context()).await.unwrap());
    let bare = spawn_local(async { (see("bare"), REQUEST_ID.try_set(1).is_err()) });
    assert_eq!(bare.await.unwrap(), ("bare: - public".to_owned(), true));
    gate.wait().await;
    let child = async {
        let grandchild = shim::spawn(async { see("a task's task") });
        [see("task"), grandchild.await.unwrap()]
    };
    seen.extend(shim::spawn(child).await.unwrap());
    let job = shim::spawn_blocking(|| see("job"));
    seen.push(job.await.unwrap());
    let inner = async { shim::spawn(async { REQUEST_ID.get() }).await.unwrap() };
    assert_eq!(REQUEST_ID.scope(0, inner).await, Some(0));
    seen.push(see("after a scope"));
    gate.wait().await;
    seen.push(see("end"));
    seen.join("\n")
}

/// Handles connections until `stop`.
async fn serve(listener: TcpListener, gate: Arc<Barrier>, stop: Shared<oneshot::Receiver<()>>) {
    let handled = Handled::default();
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (gate, handled) = (Arc::clone(&gate), Rc::clone(&handled));
            let respond = service_fn(move |request| {
                let response = handle(request, Arc::clone(&gate), Rc::clone(&handled));
                response.map(Ok::<_, Infallible>)
            });
            spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), respond));
        }
    };
    future::select(Box::pin(accept), stop).await;
}

/// Runs the future of a worker, and with it the connections, which are tasks of the set.
type Run = fn(&Runtime, &LocalSet, LocalBoxFuture<'_, ()>);

fn start(run: Run) -> Server {
    Server::run(move |bound, stop| {
        let listener = StdListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (gate, stop) = (gate(), stop.shared());
        thread::scope(|scope| {
            for _ in 0..LOCAL_WORKERS {
                let (gate, stop) = (Arc::clone(&gate), stop.clone());
                let listener = listener.try_clone().unwrap();
                scope.spawn(move || {
                    let runtime = Flavour::CurrentThread.runtime();
                    let serve = async {
                        serve(TcpListener::from_std(listener).unwrap(), gate, stop).await;
                    };
                    run(&runtime, &LocalSet::new(), Box::pin(serve));
                    runtime.shutdown_background();
                });
            }
            bound.send(listener.local_addr().unwrap()).unwrap();
        });
    })
}

/// Without a context.
const BARE: Run = |runtime, set, serve| runtime.block_on(set.run_until(serve));

/// With a value from the start: that is the future's, and not the set's.
const INSIDE: Run = |runtime, set, serve| {
    runtime.block_on(set.run_until(REGION.scope("north".to_owned(), serve)));
};

/// With the set inside of a context as well.
const AROUND: Run = |runtime, set, serve| {
    runtime.block_on(REGION.scope("north".to_owned(), set.run_until(serve)));
};

fn refuses_bare_tasks(run: Run) {
    let server = start(run);
    for _ in 0..2 {
        let refused = server.ask_all("/try-set");
        let expected = Tally {
            failed: REQUESTS,
            ..Tally::default()
        };
        assert_eq!(Tally::of(&refused), expected);
        for (_, answer) in refused {
            let body = answer.unwrap().body;
            assert!(body.contains("`.in_current_context()`"), "{body}");
        }
        assert_eq!(Tally::of(&server.ask_all("/set")).unanswered, REQUESTS);

        let tally = Tally::of(&server.ask_all("/read"));
        assert_eq!((tally.served, tally.lost), (REQUESTS, REQUESTS));
    }
}

#[test]
fn a_bare_local_task_cannot_set_a_variable() {
    refuses_bare_tasks(BARE);
    refuses_bare_tasks(INSIDE);
    refuses_bare_tasks(AROUND);
}

#[test]
fn a_local_task_in_a_context_of_its_own_sees_its_own_request() {
    let server = start(BARE);
    for path in ["/wrapped", "/scope", "/wrapped"] {
        let expected = Tally {
            served: REQUESTS,
            right: REQUESTS * LINES,
            ..Tally::default()
        };
        assert_eq!(Tally::of(&server.ask_all(path)), expected, "{path}");

        let tally = Tally::of(&server.ask_all("/read"));
        assert_eq!((tally.served, tally.lost), (REQUESTS, REQUESTS));
    }
}
