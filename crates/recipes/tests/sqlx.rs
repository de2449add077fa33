//! sqlx, with SQLite in memory: a pool whose connections belong to the tenant that acquires them.

mod common;

use std::sync::Arc;

use aiocontextvars::{Context, ContextExt, context_var};
use sqlx::Executor;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqlitePoolOptions};
use tokio::sync::Barrier;

use common::TENANT;

context_var! {
    static HELD: Arc<()>;
}

/// What each connection has: the notes of all, and a view of those that are the current tenant's.
const SCHEMA: &str = "
    CREATE TEMP TABLE current (tenant TEXT);
    CREATE TEMP TABLE notes (tenant TEXT, text TEXT);
    INSERT INTO notes VALUES ('acme', 'of acme'), ('umbrella', 'of umbrella');
    CREATE TEMP VIEW own_notes AS SELECT text FROM notes, current USING (tenant);
";

async fn set_tenant(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM current")
        .execute(&mut *connection)
        .await?;
    let insert = sqlx::query("INSERT INTO current VALUES (?)").bind(TENANT.get());
    insert.execute(connection).await?;
    Ok(())
}

/// A new connection has not been idle, so that `before_acquire` is not called for it.
async fn pool(connections: u32) -> SqlitePool {
    let options = SqlitePoolOptions::new()
        .max_connections(connections)
        .after_connect(|connection, _| {
            Box::pin(async {
                connection.execute(SCHEMA).await?;
                set_tenant(connection).await
            })
        })
        .before_acquire(|connection, _| {
            Box::pin(async {
                set_tenant(connection).await?;
                Ok(true)
            })
        });
    options.connect_lazy("sqlite::memory:").unwrap()
}

/// A request: its tenant's notes, while `others` have connections too.
async fn notes(pool: &SqlitePool, others: &Barrier) -> Vec<String> {
    let mut connection = pool.acquire().await.unwrap();
    others.wait().await;
    let notes = sqlx::query_scalar("SELECT text FROM own_notes");
    notes.fetch_all(&mut *connection).await.unwrap()
}

#[tokio::test]
async fn each_tenant_sees_its_own_rows_over_one_pool() {
    let pool = pool(2).await;
    let both_are_here = Barrier::new(2);
    // At first with new connections, and then with idle ones, in either order.
    for tenants in [
        ["acme", "umbrella"],
        ["umbrella", "acme"],
        ["acme", "umbrella"],
    ] {
        let [first, second] =
            tenants.map(|tenant| TENANT.scope(tenant.to_owned(), notes(&pool, &both_are_here)));
        let (first, second) = tokio::join!(first, second);
        let expected = tenants.map(|tenant| format!("of {tenant}"));
        assert_eq!([first, second].concat(), expected);
    }
    assert_eq!(pool.size(), 2);
    pool.close().await;
}

#[tokio::test]
async fn a_connection_keeps_no_values_of_the_request_that_opened_it() {
    let pool = pool(1).await;
    let held = Arc::new(());
    let values = Context::new()
        .with_value(&TENANT, "acme".to_owned())
        .with_value(&HELD, Arc::clone(&held));
    let alone = Barrier::new(1);
    let seen = notes(&pool, &alone).in_context(values).await;
    assert_eq!(seen, ["of acme"]);
    // The connection is idle or about to be, and its thread waits for queries.
    let seen = TENANT
        .scope("umbrella".to_owned(), notes(&pool, &alone))
        .await;
    assert_eq!(seen, ["of umbrella"]);
    assert_eq!(Arc::strong_count(&held), 1);
    pool.close().await;
}
