//! PostgreSQL's row-level security by a context variable: one pool for all tenants, and each sees
//! its own rows. Needs a server: `bash examples/jobs/servers.sh cargo test -p jobs -- --ignored`.

use std::env;
use std::future;
use std::process;

use aiocontextvars::{Context, context_var, shim};
use futures::future::{BoxFuture, FutureExt, join_all};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgPool, Postgres, Row, Transaction};

context_var! { static TENANT: String; }

const TENANTS: [&str; 4] = ["acme", "globex", "initech", "Käse & Co'; --"];
const EACH: usize = 60;
/// Far fewer than requests, so that each is used by all tenants in turn.
const CONNECTIONS: u32 = 3;

const SCHEMA: &str = "
    CREATE TABLE notes (tenant text NOT NULL CHECK (tenant <> ''), body text NOT NULL);
    ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON notes USING (tenant = current_setting('app.tenant', true));
    GRANT SELECT, INSERT ON notes TO app;
";

// The recipe.

/// Tells the connection whose request it is going to serve. Without a tenant it tells it so as
/// well: the connection may have served another one before.
fn tell_tenant(connection: &mut PgConnection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
    async {
        let tell = sqlx::query("SELECT set_config('app.tenant', $1, false)");
        let tenant = TENANT.get().unwrap_or_default();
        tell.bind(tenant).execute(connection).await.map(drop)
    }
    .boxed()
}

fn pool(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        // A connection that is new does not pass through `before_acquire`.
        .after_connect(|connection, _| tell_tenant(connection))
        .before_acquire(|connection, _| {
            async { tell_tenant(connection).await.map(|()| true) }.boxed()
        })
        .connect_lazy_with(options)
}

/// The same for one transaction, with a setting that ends with it: behind a pooler that hands out
/// connections by the transaction, there is no other way.
async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let tell = sqlx::query("SELECT set_config('app.tenant', $1, true)");
    let tenant = TENANT.get().unwrap_or_default();
    tell.bind(tenant).execute(&mut *transaction).await?;
    Ok(transaction)
}

// What checks it.

/// A database of its own, in which the role `app` is no superuser: those see all rows.
struct Database {
    server: PgConnectOptions,
    name: String,
}

impl Database {
    async fn create(name: &str) -> Database {
        let url = env::var("JOBS_POSTGRES_URL");
        let url = url.expect("run this by `bash examples/jobs/servers.sh`");
        let server: PgConnectOptions = url.parse().unwrap();
        let name = format!("{name}_{}", process::id());
        let mut connection = PgConnection::connect_with(&server).await.unwrap();
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        connection.execute(create).await.unwrap();
        let role = "DO $$ BEGIN CREATE ROLE app LOGIN; EXCEPTION \
                    WHEN duplicate_object OR unique_violation THEN NULL; END $$";
        connection.execute(role).await.unwrap();
        let options = server.clone().database(&name);
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        connection.execute(SCHEMA).await.unwrap();
        Database { server, name }
    }

    fn options(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name).username("app")
    }

    async fn drop(self) {
        let mut connection = PgConnection::connect_with(&self.server).await.unwrap();
        let drop = AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name));
        connection.execute(drop).await.unwrap();
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build();
    runtime.unwrap().block_on(test);
}

/// The rows that whoever calls this sees, by their tenant.
async fn visible<'e>(
    executor: impl Executor<'e, Database = Postgres>,
) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query("SELECT tenant FROM notes").fetch_all(executor);
    let rows = rows.await?;
    Ok(rows.iter().map(|row| row.get("tenant")).collect())
}

async fn insert<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    tenant: &str,
) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("INSERT INTO notes VALUES ($1, 'x')");
    insert.bind(tenant).execute(executor).await.map(drop)
}

/// A request of a tenant's, or of nobody's.
async fn request(pool: PgPool, in_transaction: bool) {
    let Some(tenant) = TENANT.get() else {
        assert_eq!(visible(&pool).await.unwrap(), [""; 0]);
        // Nor can it write for anybody.
        assert!(insert(&pool, TENANTS[0]).await.is_err());
        return;
    };
    let other = TENANTS.into_iter().find(|other| *other != tenant).unwrap();
    if in_transaction {
        let mut transaction = begin(&pool).await.unwrap();
        insert(&mut *transaction, &tenant).await.unwrap();
        let visible = visible(&mut *transaction).await.unwrap();
        assert!(!visible.is_empty() && visible.iter().all(|of| *of == tenant));
        transaction.commit().await.unwrap();
    } else {
        insert(&pool, &tenant).await.unwrap();
        assert!(insert(&pool, other).await.is_err());
        let visible = visible(&pool).await.unwrap();
        assert!(!visible.is_empty() && visible.iter().all(|of| *of == tenant));
    }
}

fn context(tenant: Option<&str>) -> Context {
    match tenant {
        Some(tenant) => Context::new().with_value(&TENANT, tenant.to_owned()),
        None => Context::new(),
    }
}

#[test]
#[ignore = "needs a PostgreSQL server: `bash ci/jobs.sh`"]
fn each_tenant_sees_its_own_rows_over_one_pool() {
    run(async {
        let database = Database::create("rows").await;
        let pool = pool(database.options());
        let everybody = || TENANTS.map(Some).into_iter().chain([None]);
        let tasks = (0..EACH).flat_map(|n| {
            let pool = &pool;
            everybody().map(move |tenant| {
                // By turns with the setting of the connection and with that of the transaction.
                shim::spawn_in(context(tenant), request(pool.clone(), n % 2 == 1))
            })
        });
        let tasks: Vec<_> = tasks.collect();
        for result in join_all(tasks).await {
            result.unwrap();
        }

        for tenant in everybody() {
            let pool = pool.clone();
            let seen = shim::spawn_in(context(tenant), async move { visible(&pool).await });
            let expected = tenant.map_or(vec![], |tenant| vec![tenant; EACH]);
            assert_eq!(seen.await.unwrap().unwrap(), expected);
        }
        pool.close().await;
        database.drop().await;
    });
}

#[test]
#[ignore = "needs a PostgreSQL server: `bash ci/jobs.sh`"]
fn a_request_that_is_aborted_leaves_no_tenant_behind() {
    run(async {
        let database = Database::create("aborted").await;
        let pool = pool(database.options());
        let acme = shim::spawn_in(context(Some("acme")), {
            let pool = pool.clone();
            async move { insert(&pool, "acme").await }
        });
        acme.await.unwrap().unwrap();
        for _ in 0..20 {
            let (started, has_started) = tokio::sync::oneshot::channel();
            let pool_of_task = pool.clone();
            let hangs = shim::spawn_in(context(Some("acme")), async move {
                let mut connection = pool_of_task.acquire().await.unwrap();
                started.send(()).unwrap();
                // Short, since the pool waits for its end before it gives the connection to others.
                let query = sqlx::query("SELECT pg_sleep(0.05)");
                query.execute(&mut *connection).await.unwrap();
                future::pending::<()>().await;
            });
            has_started.await.unwrap();
            hangs.abort();
            assert!(hangs.await.unwrap_err().is_cancelled());
            let pool = pool.clone();
            let nobody = shim::spawn_in(Context::new(), async move { visible(&pool).await });
            assert_eq!(nobody.await.unwrap().unwrap(), [""; 0]);
        }
        pool.close().await;
        database.drop().await;
    });
}

/// What the recipe is there for.
#[test]
#[ignore = "needs a PostgreSQL server: `bash ci/jobs.sh`"]
fn without_it_a_tenant_stays_on_its_connection() {
    run(async {
        let database = Database::create("without").await;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            // Once for a connection, by whoever happens to be the first.
            .after_connect(|connection, _| tell_tenant(connection))
            .connect_lazy_with(database.options());
        let first = shim::spawn_in(context(Some("acme")), {
            let pool = pool.clone();
            async move { insert(&pool, "acme").await }
        });
        first.await.unwrap().unwrap();
        let of_all = pool.clone();
        let nobody = shim::spawn_in(Context::new(), async move { visible(&of_all).await });
        assert_eq!(nobody.await.unwrap().unwrap(), ["acme"]);
        pool.close().await;
        database.drop().await;
    });
}
