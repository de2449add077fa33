//! poem: a middleware gives each request its context.

mod common;

use std::sync::Arc;

use aiocontextvars::ContextExt;
use futures::stream;
use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::{Body, Endpoint, EndpointExt, Request, Route, Server, endpoint};
use tokio::sync::Barrier;

use common::{TENANT, get, get_for_two, report, right_reports, tenant};

fn tenant_of(request: &Request) -> poem::Result<String> {
    let tenant = request.header("x-tenant").ok_or(StatusCode::BAD_REQUEST)?;
    Ok(tenant.to_owned())
}

fn app() -> impl Endpoint {
    let both_are_here = Arc::new(Barrier::new(2));
    let inside = Route::new()
        .at(
            "/report",
            endpoint::make(move |_| {
                let both_are_here = Arc::clone(&both_are_here);
                async move { report(&both_are_here).await }
            }),
        )
        .at("/body", endpoint::make(body))
        .around(|routes, request| async move {
            TENANT
                .scope(tenant_of(&request)?, routes.call(request))
                .await
        });
    Route::new()
        .nest("/inside", inside)
        .at("/outside", endpoint::make(outside))
}

/// A body that is polled when the handler has returned.
async fn body(_: Request) -> Body {
    let chunk = async { Ok::<_, std::io::Error>(tenant().await) };
    Body::from_bytes_stream(stream::once(chunk).in_current_context())
}

/// A handler that no middleware gives a context.
async fn outside(_: Request) -> String {
    match TENANT.try_set("acme".to_owned()) {
        Ok(_) => "set".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn each_request_has_its_own_context() {
    let acceptor = TcpListener::bind("127.0.0.1:0")
        .into_acceptor()
        .await
        .unwrap();
    let address = *acceptor.local_addr()[0].as_socket_addr().unwrap();
    let server = tokio::spawn(Server::new_with_acceptor(acceptor).run(app()));

    assert_eq!(
        get_for_two(address, "/inside/report").await,
        right_reports()
    );
    assert_eq!(
        get_for_two(address, "/inside/body").await,
        ["acme", "umbrella"]
    );
    let refused = get(address, "/outside", "acme").await;
    assert!(refused.contains("scope"), "{refused}");
    assert_eq!(
        get_for_two(address, "/inside/report").await,
        right_reports()
    );

    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
}
