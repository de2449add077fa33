//! Values that are set before the service starts, in the future of `block_on`.

use aiocontextvars::shim::tower::ContextLayer;
use aiocontextvars::{inherit_context, shim};
use test_support::axum::Router;
use test_support::axum::middleware::from_fn;
use test_support::axum::routing::get;

use super::inside::identify;
use super::server::{REQUESTS, Server, Tally, on_each_flavour};
use super::{REGION, TENANT, see};

async fn region() -> String {
    let here = REGION.get();
    let task = shim::spawn(async { REGION.get() }).await.unwrap();
    assert_eq!(here, task);
    here.unwrap_or_default()
}

/// The routes of a service that is started with a value, as its `main` has them.
fn app() -> Router {
    REGION.set("north".to_owned());
    let base = inherit_context().without_companions();
    // The layer has what was there when `base` was made.
    REGION.set("south".to_owned());
    assert_eq!(REGION.get().as_deref(), Some("south"));

    let with_base = Router::new()
        .route("/with", get(region))
        .route("/set", get(set))
        .route(
            "/identified",
            get(async || see("handler")).layer(from_fn(identify)),
        )
        .layer(ContextLayer::with(move |_| base.clone()));
    let inheriting = Router::new()
        .route("/new", get(region))
        .layer(ContextLayer::new());
    with_base.merge(inheriting).route("/outside", get(region))
}

async fn set() -> String {
    REGION.set("of a request".to_owned());
    TENANT.set("acme".to_owned());
    region().await
}

#[test]
fn a_layer_that_is_given_the_values_has_them_on_every_flavour_and_one_that_inherits_has_none() {
    on_each_flavour(|flavour| {
        let server = Server::start(flavour, app);
        for _ in 0..2 {
            for (path, expected) in [
                ("/with", "north"),
                ("/new", ""),
                ("/outside", ""),
                ("/set", "of a request"),
            ] {
                for (_, answer) in server.ask_all(path) {
                    assert_eq!(answer.unwrap().body, expected, "{path} on {flavour:?}");
                }
            }
            let tally = Tally::of(&server.ask_all("/identified"));
            assert_eq!((tally.served, tally.right), (REQUESTS, REQUESTS));
        }
    });
}

#[test]
fn the_future_of_block_on_keeps_its_values_while_the_service_runs() {
    on_each_flavour(|flavour| {
        let runtime = flavour.runtime();
        runtime.block_on(async {
            REGION.set("north".to_owned());
            let bare =
                tokio::spawn(async { (REGION.get(), REGION.try_set("south".to_owned()).is_err()) });
            assert_eq!(bare.await.unwrap(), (None, true));
            assert_eq!(shim::spawn(region()).await.unwrap(), "north");
            assert_eq!(REGION.get().as_deref(), Some("north"));
        });
    });
}
