//! apalis over PostgreSQL.

use std::time::Duration;

use apalis::prelude::*;
use apalis_postgres::{Config, PgPool, PostgresStorage, queries};
use futures::FutureExt;
use sqlx::postgres::PgPoolOptions;

use crate::BoxError;
use crate::job::{Headers, Job};
use crate::memory::{context_layer, deliver};
use crate::report::Reporter;
use crate::stop::Stop;

/// How often a worker looks for jobs.
const POLL: Duration = Duration::from_millis(50);
/// How often a worker says that it is alive, and how many of these may be missing.
const HEARTBEAT: Duration = Duration::from_millis(500);
const MISSED_HEARTBEATS: usize = 6;
/// Jobs are due at a whole second.
const SECOND: Duration = Duration::from_secs(1);
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);
const DELIVERIES: usize = 10;

/// A queue in the database: rows of apalis' table of jobs.
pub(crate) struct Queue {
    pool: PgPool,
    name: String,
}

impl Queue {
    pub(crate) async fn create(url: &str, name: &str) -> Result<Queue, BoxError> {
        let pool = connect(url).await?;
        PostgresStorage::setup(&pool).await?;
        Ok(Queue {
            pool,
            name: name.to_owned(),
        })
    }

    pub(crate) async fn push(&self, job: Job, headers: Headers) -> Result<(), BoxError> {
        let mut task = TaskBuilder::new(serde_json::to_vec(&job)?)
            .with_metadata(MetadataStore::from_map(headers))
            .max_attempts(DELIVERIES);
        if let Some(delay) = job.delay() {
            task = task.run_after(delay + SECOND);
        }
        // In the transaction of what the request changes, if it changes anything.
        let mut transaction = self.pool.begin().await?;
        queries::push_tasks(&mut *transaction, &self.name, vec![task.build()]).await?;
        Ok(transaction.commit().await?)
    }

    /// Removes what is left of the queue.
    pub(crate) async fn delete(&self) -> Result<(), BoxError> {
        for table in ["jobs WHERE job_type", "workers WHERE worker_type"] {
            let delete = sqlx::AssertSqlSafe(format!("DELETE FROM apalis.{table} = $1"));
            sqlx::query(delete)
                .bind(&self.name)
                .execute(&self.pool)
                .await?;
        }
        Ok(())
    }
}

/// Runs jobs until `stop`.
pub(crate) async fn work(
    url: &str,
    queue: &str,
    reporter: Reporter,
    stop: Stop,
) -> Result<(), BoxError> {
    let config = Config::default()
        .queue(queue)
        .heartbeat_interval(HEARTBEAT)
        .missed_heartbeats(MISSED_HEARTBEATS);
    let storage: PostgresStorage<Job> = PostgresStorage::new(&connect(url).await?);
    let worker = WorkerBuilder::new(format!("{queue}-{}", reporter.worker))
        .backend(
            storage
                .with_config(config)
                .poll_with_strategy(Strategy::new().interval(POLL)),
        )
        .data(reporter)
        // Nothing is tried again here: a job that has failed is delivered again.
        .layer(context_layer())
        .build(deliver);
    Ok(worker.run_until(stop.map(Ok::<_, WorkerError>)).await?)
}

async fn connect(url: &str) -> Result<PgPool, BoxError> {
    PgPoolOptions::new()
        .acquire_timeout(PATIENCE)
        .connect(url)
        .await
        .map_err(|error| format!("cannot connect to PostgreSQL: {error}").into())
}
