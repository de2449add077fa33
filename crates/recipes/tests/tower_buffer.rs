//! tower's `Buffer`, whose worker calls the service behind it.

mod common;

use aiocontextvars::shim::tower::{CarryLayer, RestoreLayer};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

use common::{TENANT, tenant};

/// Who calls is told by the call itself, and again by the future.
async fn whose(mut buffered: impl Service<(), Response = String, Error = BoxError>) -> String {
    buffered.ready().await.unwrap().call(()).await.unwrap()
}

#[tokio::test]
async fn a_service_behind_a_buffer_is_called_in_its_callers_context() {
    let service = service_fn(|()| {
        let called_by = TENANT.get();
        async move { Ok::<_, BoxError>(format!("{called_by} {}", tenant().await)) }
    });
    let buffered = ServiceBuilder::new()
        .layer(CarryLayer::new())
        .buffer(8)
        .layer(RestoreLayer::new())
        .service(service);
    let seen = tokio::join!(
        TENANT.scope("acme".to_owned(), whose(buffered.clone())),
        TENANT.scope("umbrella".to_owned(), whose(buffered.clone())),
        whose(buffered),
    );
    let expected = ("acme acme", "umbrella umbrella", "nobody nobody");
    assert_eq!((&*seen.0, &*seen.1, &*seen.2), expected);
}

#[tokio::test]
async fn without_the_layers_it_is_called_for_nobody() {
    let service = service_fn(|()| {
        let called_by = TENANT.get();
        async move { Ok::<_, BoxError>(called_by) }
    });
    let buffered = ServiceBuilder::new().buffer(8).service(service);
    let seen = TENANT.scope("acme".to_owned(), whose(buffered)).await;
    assert_eq!(seen, "nobody");
}
