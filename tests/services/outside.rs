//! Code outside of any `ContextLayer`: its writes are refused, and no other request sees them.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aiocontextvars::shim::tower::ContextLayer;
use aiocontextvars::{SetErrorKind, shim};
use test_support::axum::Router;
use test_support::axum::extract::{Request, State};
use test_support::axum::http::StatusCode;
use test_support::axum::middleware::{Next, from_fn_with_state};
use test_support::axum::response::{IntoResponse, Response};
use test_support::axum::routing::get;
use tokio::sync::Barrier;

use super::server::{Flavour, Identity, REQUESTS, Server, Tally, WORKERS, gate, on_each_flavour};
use super::{REQUEST_ID, TENANT, see};

/// Routes behind the layer, and those of a login outside of it.
fn with_a_login() -> Router {
    Router::new()
        .route("/", get(async || TENANT.get()))
        .route("/task", get(in_a_task))
        .layer(ContextLayer::new())
        .route("/login", get(login))
        .route("/try-login", get(try_login))
        .route("/outside", get(async || TENANT.get()))
}

async fn in_a_task() -> String {
    shim::spawn(async { TENANT.get() }).await.unwrap()
}

async fn login() -> &'static str {
    TENANT.set("acme".to_owned());
    "ok"
}

async fn try_login() -> (StatusCode, String) {
    match TENANT.try_set("acme".to_owned()) {
        Ok(_) => (StatusCode::OK, "ok".to_owned()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn assert_public(server: &Server, path: &str) {
    for _ in 0..2 {
        let answers = server.ask_all(path);
        for (_, answer) in answers {
            assert_eq!(answer.unwrap().body, "public", "{path}");
        }
    }
}

#[test]
fn a_login_outside_of_the_layer_fails_and_changes_nothing_for_the_next_requests() {
    on_each_flavour(|flavour| {
        let server = Server::start(flavour, with_a_login);
        for path in ["/", "/outside"] {
            assert_public(&server, path);
        }
        // The panic is the connection's.
        let logins = Tally::of(&server.ask_all("/login"));
        assert_eq!(logins.unanswered, REQUESTS);
        // Behind the layer and outside of it, before and after tasks of the shim run on the
        // runtime.
        for path in ["/", "/outside", "/task", "/", "/outside"] {
            assert_public(&server, path);
        }
    });
}

#[test]
fn a_login_that_answers_with_the_error_leaves_nothing_on_its_connection() {
    on_each_flavour(|flavour| {
        let server = Server::start(flavour, with_a_login);
        let mut connection = server.connect();
        for _ in 0..3 {
            let refused = connection.ask("/try-login").unwrap();
            assert_eq!(refused.status, 500);
            for part in ["`TENANT` cannot be set here", "ContextLayer"] {
                assert!(refused.body.contains(part), "{}", refused.body);
            }
            for path in ["/", "/outside", "/task"] {
                assert_eq!(connection.ask(path).unwrap().body, "public");
            }
        }
    });
}

/// Counts who arrives in a middleware.
#[derive(Clone)]
struct Arrivals {
    gate: Arc<Barrier>,
    /// Those whose set was not refused.
    admitted: Arc<AtomicUsize>,
}

impl Arrivals {
    fn new() -> Arrivals {
        Arrivals {
            gate: gate(),
            admitted: Arc::default(),
        }
    }
}

async fn set_id(State(arrivals): State<Arrivals>, request: Request, next: Next) -> Response {
    let Identity { id, .. } = Identity::from_headers(request.headers());
    arrivals.gate.wait().await;
    REQUEST_ID.set(id);
    arrivals.admitted.fetch_add(1, Ordering::Relaxed);
    next.run(request).await
}

async fn try_set_id(State(arrivals): State<Arrivals>, request: Request, next: Next) -> Response {
    let Identity { id, .. } = Identity::from_headers(request.headers());
    arrivals.gate.wait().await;
    match REQUEST_ID.try_set(id) {
        Ok(_) => {
            arrivals.admitted.fetch_add(1, Ordering::Relaxed);
            next.run(request).await
        }
        Err(error) => {
            assert_eq!(error.kind(), SetErrorKind::ForeignTask);
            assert_eq!(
                (error.var_name(), error.to_string().contains("ContextLayer")),
                ("REQUEST_ID", true)
            );
            assert_eq!(error.into_value(), id);
            (StatusCode::INTERNAL_SERVER_ERROR, see("refused")).into_response()
        }
    }
}

#[test]
fn a_middleware_outside_of_the_layer_cannot_set_an_id() {
    on_each_flavour(|flavour| {
        let arrivals = Arrivals::new();
        let state = arrivals.clone();
        let server = Server::start(flavour, move || {
            Router::new()
                .route("/set", get(async || see("handler")))
                .layer(ContextLayer::new())
                .layer(from_fn_with_state(state.clone(), set_id))
                .merge(
                    Router::new()
                        .route("/try-set", get(async || see("handler")))
                        .layer(ContextLayer::new())
                        .layer(from_fn_with_state(state, try_set_id)),
                )
                .route("/plain", get(async || see("handler")))
                .route(
                    "/spawn",
                    get(async || shim::spawn(async { see("task") }).await.unwrap()),
                )
        });
        // Again after tasks of the shim have run on the runtime.
        for _ in 0..2 {
            let tally = Tally::of(&server.ask_all("/set"));
            assert_eq!((tally.unanswered, tally.served), (REQUESTS, 0));

            let answers = server.ask_all("/try-set");
            assert_eq!(Tally::of(&answers).failed, REQUESTS);
            for (_, answer) in answers {
                assert_eq!(answer.unwrap().body, "refused: - public");
            }
            assert_eq!(arrivals.admitted.load(Ordering::Relaxed), 0);

            for path in ["/plain", "/spawn"] {
                let tally = Tally::of(&server.ask_all(path));
                assert_eq!((tally.served, tally.lost), (REQUESTS, REQUESTS), "{path}");
            }
        }
    });
}

/// What the tests of this file are able to see.
#[test]
fn a_thread_local_in_the_same_place_mixes_the_requests_up() {
    thread_local! {
        static ID: Cell<u64> = const { Cell::new(0) };
    }

    async fn number(State(gate): State<Arc<Barrier>>, request: Request, next: Next) -> Response {
        let Identity { id, .. } = Identity::from_headers(request.headers());
        ID.set(id);
        gate.wait().await;
        next.run(request).await
    }

    on_each_flavour(|flavour| {
        let server = Server::start(flavour, || {
            Router::new()
                .route("/", get(async || ID.get().to_string()))
                .layer(from_fn_with_state(gate(), number))
        });
        let answers = server.ask_all("/");
        let threads = match flavour {
            Flavour::MultiThread => WORKERS,
            Flavour::CurrentThread => 1,
        };
        let right = answers.iter().filter(|(identity, answer)| {
            let answer = answer.as_ref().unwrap();
            answer.body == identity.id.to_string()
        });
        // That of the last one on each thread at most.
        assert!(right.count() <= threads);
    });
}
