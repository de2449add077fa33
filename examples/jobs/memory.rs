//! apalis in memory: two workers of this process, each with a queue of its own.

use std::sync::{Arc, Mutex, PoisonError};

use aiocontextvars::shim::tower::ContextLayer;
use aiocontextvars::shim::{self, JoinError};
use aiocontextvars::{Context, propagation};
use apalis::layers::WorkerBuilderExt;
use apalis::layers::retry::RetryPolicy;
use apalis::prelude::*;
use futures::SinkExt;
use futures::future::FutureExt;

use crate::BoxError;
use crate::job::{self, Headers, Job};
use crate::report::Reporter;
use crate::stop::Stop;

/// How often a job is tried again.
const RETRIES: usize = 3;

/// A queue, and the way into it.
pub(crate) fn queue() -> (Arc<Mutex<MemorySink<Job>>>, MemoryStorage<Job>) {
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    // One for each side: a sink that is looked at by a worker while a task is put into it panics.
    let sink = || {
        let sender = sender.clone();
        let sender = sender.sink_map_err(|error| MemoryStorageError::Other(error.into()));
        MemorySink::new(Arc::new(futures::lock::Mutex::new(Box::new(sender))))
    };
    let storage = MemoryStorage::new_with(sink(), Box::pin(receiver));
    (Arc::new(Mutex::new(sink())), storage)
}

pub(crate) fn push(
    sink: &Mutex<MemorySink<Job>>,
    job: Job,
    headers: Headers,
) -> Result<(), BoxError> {
    let task = TaskBuilder::new(job).with_metadata(MetadataStore::from_map(headers));
    let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
    // The channel is never full.
    sink.send(task.build())
        .now_or_never()
        .ok_or("the queue is full")??;
    Ok(())
}

/// Runs jobs until `stop`.
pub(crate) async fn work(
    storage: MemoryStorage<Job>,
    reporter: Reporter,
    stop: Stop,
) -> Result<(), BoxError> {
    let worker = WorkerBuilder::new(format!("worker-{}", reporter.worker))
        .backend(storage)
        .data(reporter)
        // Outside of the context, so that each attempt has a new one.
        .retry(RetryPolicy::retries(RETRIES))
        .layer(context_layer())
        .build(deliver);
    Ok(worker.run_until(stop.map(Ok::<_, WorkerError>)).await?)
}

/// Each attempt in the context that its message brings: the worker is a tower service.
pub(crate) fn context_layer() -> ContextLayer<impl Fn(&Task<Job>) -> Context> {
    ContextLayer::with(|task: &Task<Job>| job::context(&Metadata(task.metadata())))
}

/// Handles a job. It runs in a task of its own, which inherits the context: apalis would take the
/// state of a job whose handler panics for running.
pub(crate) async fn deliver(
    job: Job,
    attempt: Attempt,
    reporter: Data<Reporter>,
) -> Result<(), JoinError> {
    let reporter = Reporter::clone(&reporter);
    shim::spawn(job::run(job, attempt.current() as u64, reporter)).await
}

struct Metadata<'a>(&'a MetadataStore);

impl propagation::Extractor for Metadata<'_> {
    fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.get(name).map(str::as_bytes).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};
    use std::thread;

    use super::*;
    use crate::job::Kind;

    const JOBS: u64 = 50_000;

    /// A worker looks at its sink before each job, and requests enqueue meanwhile.
    #[test]
    fn jobs_are_enqueued_while_their_worker_looks_at_the_queue() {
        let (sink, mut storage) = queue();
        let requests = thread::spawn(move || {
            for number in 0..JOBS {
                let kind = Kind::Now;
                push(&sink, Job { number, kind }, Headers::new()).unwrap();
            }
        });
        let cx = &mut Context::from_waker(Waker::noop());
        while !requests.is_finished() {
            assert!(matches!(storage.poll_ready_unpin(cx), Poll::Ready(Ok(()))));
        }
        requests.join().unwrap();
    }
}
