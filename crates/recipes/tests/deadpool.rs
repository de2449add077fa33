//! deadpool: its hooks, and `interact` of its wrapper for what blocks.

mod common;

use std::convert::Infallible;
use std::sync::Arc;

use aiocontextvars::{Context, ContextExt, context_var, inherit_context};
use deadpool::Runtime;
use deadpool::managed::{Hook, Manager, Metrics, Pool, RecycleResult};
use deadpool_sync::SyncWrapper;

use common::TENANT;

context_var! {
    static HELD: Arc<()>;
}

/// A connection, which has a tenant as a session of a database has.
#[derive(Debug, Default)]
struct Connection {
    tenant: Option<String>,
    made_for: String,
}

struct Connections;

impl Manager for Connections {
    type Type = Connection;
    type Error = Infallible;

    async fn create(&self) -> Result<Connection, Infallible> {
        let made_for = TENANT.get();
        Ok(Connection {
            tenant: None,
            made_for,
        })
    }

    async fn recycle(&self, _: &mut Connection, _: &Metrics) -> RecycleResult<Infallible> {
        Ok(())
    }
}

/// A hook for each acquire: `post_create` is called where the connection is new, and `pre_recycle`
/// where it is not.
fn set_tenant() -> Hook<Connections> {
    Hook::sync_fn(|connection: &mut Connection, _| {
        connection.tenant = Some(TENANT.get());
        Ok(())
    })
}

#[tokio::test]
async fn a_connection_is_of_the_request_that_acquires_it() {
    let pool = Pool::<Connections>::builder(Connections)
        .max_size(1)
        .post_create(set_tenant())
        .pre_recycle(set_tenant())
        .build()
        .unwrap();
    for tenant in ["acme", "umbrella"] {
        let connection = TENANT.scope(tenant.to_owned(), pool.get()).await.unwrap();
        assert_eq!(connection.tenant.as_deref(), Some(tenant));
        // Both have the one that the first acquire has made, in its context.
        assert_eq!(connection.made_for, "acme");
    }
    // With one of the hooks alone, a new connection is nobody's.
    let pool = Pool::<Connections>::builder(Connections)
        .pre_recycle(set_tenant())
        .build()
        .unwrap();
    let connection = TENANT.scope("acme".to_owned(), pool.get()).await.unwrap();
    assert_eq!(connection.tenant, None);
}

#[tokio::test]
async fn a_closure_with_a_connection_runs_in_the_callers_context() {
    let connect = || Ok::<_, Infallible>(Connection::default());
    let connection = SyncWrapper::new(Runtime::Tokio1, connect).await.unwrap();
    let held = Arc::new(());
    for tenant in ["acme", "umbrella"] {
        let values = Context::new()
            .with_value(&TENANT, tenant.to_owned())
            .with_value(&HELD, Arc::clone(&held));
        let request = async {
            let context = inherit_context();
            let set = connection.interact(move |connection| {
                context.call(|| {
                    connection.tenant = Some(TENANT.get());
                    TENANT.set("set inside".to_owned());
                })
            });
            set.await.unwrap();
            TENANT.get()
        };
        assert_eq!(request.in_context(values).await, tenant);
        assert_eq!(connection.lock().unwrap().tenant.as_deref(), Some(tenant));
        // Neither the connection nor its thread keeps anything.
        assert_eq!(Arc::strong_count(&held), 1);
    }
    let bare = connection.interact(|_| TENANT.get()).await.unwrap();
    assert_eq!(bare, "nobody");
}
