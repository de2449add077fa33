//! sea-orm, over a pool of sqlx's that sets the tenant of each connection.

mod common;

use aiocontextvars::shim;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, SqlxSqliteConnector, Statement, TransactionTrait,
};
use sqlx::Executor;
use sqlx::sqlite::{SqliteConnection, SqlitePoolOptions};

use common::{TENANT, tenant};

async fn set_tenant(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    connection.execute("DELETE FROM current").await?;
    let insert = sqlx::query("INSERT INTO current VALUES (?)").bind(TENANT.get());
    insert.execute(connection).await?;
    Ok(())
}

fn connect() -> DatabaseConnection {
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .after_connect(|connection, _| {
            Box::pin(async {
                connection
                    .execute("CREATE TEMP TABLE current (tenant TEXT)")
                    .await?;
                set_tenant(connection).await
            })
        })
        .before_acquire(|connection, _| {
            Box::pin(async {
                set_tenant(connection).await?;
                Ok(true)
            })
        });
    SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.connect_lazy("sqlite::memory:").unwrap())
}

/// The tenant that the database has, by a connection of the pool.
async fn current(connection: &impl ConnectionTrait) -> Result<String, DbErr> {
    let backend = connection.get_database_backend();
    let select = Statement::from_string(backend, "SELECT tenant FROM current");
    let row = connection.query_one(select).await?;
    row.expect("a tenant is set").try_get("", "tenant")
}

#[tokio::test]
async fn each_statement_and_transaction_is_the_tenants() {
    let database = connect();
    for name in ["acme", "umbrella", "acme"] {
        let request = async {
            assert_eq!(current(&database).await.unwrap(), name);
            let transaction = database.transaction(|transaction| {
                Box::pin(async {
                    let seen = current(transaction).await?;
                    // The closure's future is part of the task, and what it spawns inherits.
                    let task = shim::spawn(tenant()).await.unwrap();
                    Ok::<_, DbErr>((seen, TENANT.get(), task))
                })
            });
            let (seen, here, task) = transaction.await.unwrap();
            assert_eq!([&*seen, &*here, &*task], [name; 3]);
        };
        TENANT.scope(name.to_owned(), request).await;
    }
    database.close().await.unwrap();
}
