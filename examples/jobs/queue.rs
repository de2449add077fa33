//! The way into the queue, whatever its engine is.

use std::sync::{Arc, Mutex};

use aiocontextvars::{copy_context, shim};
use apalis::prelude::MemorySink;

use crate::args::Engine;
use crate::job::{Headers, INSIDE, Job};
use crate::{BoxError, memory, nats, postgres};

/// Where jobs are put.
pub(crate) enum Queue {
    /// A queue for each worker of this process.
    Memory(Vec<Arc<Mutex<MemorySink<Job>>>>),
    Postgres(postgres::Queue),
    Nats(Box<nats::Queue>),
}

impl Queue {
    pub(crate) async fn create(engine: Engine, url: &str, name: &str) -> Result<Queue, BoxError> {
        Ok(match engine {
            Engine::Postgres => Queue::Postgres(postgres::Queue::create(url, name).await?),
            Engine::Nats => Queue::Nats(Box::new(nats::Queue::create(url, name).await?)),
        })
    }

    /// Removes what the server has of it.
    pub(crate) async fn delete(&self) -> Result<(), BoxError> {
        match self {
            Queue::Memory(_) => Ok(()),
            Queue::Postgres(queue) => queue.delete().await,
            Queue::Nats(queue) => queue.delete().await,
        }
    }

    /// Enqueues a job that is to run in the context of whoever calls this.
    pub(crate) async fn push(&self, job: Job) -> Result<(), BoxError> {
        let mut headers = Headers::new();
        // All of it fits, unless a tenant has too long a name.
        if let Some(problem) = INSIDE.inject(&copy_context(), &mut headers).pop() {
            return Err(problem.into());
        }
        self.push_with(job, headers).await
    }

    /// Enqueues a job with these headers.
    pub(crate) async fn push_with(&self, job: Job, headers: Headers) -> Result<(), BoxError> {
        match self {
            Queue::Memory(sinks) => {
                let sink = Arc::clone(&sinks[job.number as usize % sinks.len()]);
                let Some(delay) = job.delay() else {
                    return memory::push(&sink, job, headers);
                };
                // This engine has no delays of its own.
                shim::spawn(async move {
                    shim::sleep(delay).await;
                    if let Err(error) = memory::push(&sink, job, headers) {
                        eprintln!("jobs: a delayed job was not enqueued: {error}");
                    }
                })
                .detach();
                Ok(())
            }
            Queue::Postgres(queue) => queue.push(job, headers).await,
            Queue::Nats(queue) => queue.push(job, headers).await,
        }
    }
}
