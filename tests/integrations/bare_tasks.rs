//! What is spawned by others' means, on tokio.
#![cfg(feature = "tokio")]

use aiocontextvars::shim::tokio::task;
use aiocontextvars::{ContextExt, shim};

use super::TENANT;

async fn tenant() -> Option<&'static str> {
    task::yield_now().await;
    TENANT.get()
}

#[tokio::test]
async fn a_future_for_somebody_elses_spawn_takes_its_context_along() {
    let seen = TENANT.scope("acme", async {
        let bare = tokio::spawn(tenant());
        let along = tokio::spawn(tenant().in_current_context());
        (bare.await.unwrap(), along.await.unwrap())
    });
    assert_eq!(seen.await, (None, Some("acme")));
}

#[tokio::test]
async fn a_local_worker_as_actixs_spawns_by_the_drop_in() {
    // A server's own `LocalSet`, which the shim does not know.
    let worker = tokio::task::LocalSet::new();
    let handler = TENANT.scope("acme", async {
        let inherits = task::spawn_local(tenant());
        let along = tokio::task::spawn_local(tenant().in_current_context());
        let bare = tokio::task::spawn_local(tenant());
        let shims = shim::spawn(tenant());
        (
            inherits.await.unwrap(),
            along.await.unwrap(),
            bare.await.unwrap(),
            shims.await.unwrap(),
        )
    });
    let seen = worker.run_until(handler).await;
    assert_eq!(seen, (Some("acme"), Some("acme"), None, Some("acme")));
}

#[tokio::test]
#[should_panic(expected = "`shim::tokio::task::spawn_local(future)`")]
async fn the_shims_own_spawn_local_says_what_to_write_there() {
    let worker = tokio::task::LocalSet::new();
    worker
        .run_until(async { drop(shim::spawn_local(async {})) })
        .await;
}
