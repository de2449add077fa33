//! JetStream of NATS, with a worker by hand: any broker's looks like this.

use std::sync::Arc;
use std::time::Duration;

use aiocontextvars::propagation::Extractor;
use aiocontextvars::shim;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, Message, stream};
use futures::StreamExt;
use futures::future::{self, Either};
use tokio::sync::Semaphore;

use crate::BoxError;
use crate::job::{self, Headers, Job};
use crate::report::Reporter;
use crate::stop::Stop;

/// A job that is not acknowledged after this time is delivered again.
const ACK_WAIT: Duration = Duration::from_secs(3);
const CONSUMER: &str = "workers";
/// How often, so that a message that nobody can handle does not come for ever.
const DELIVERIES: i64 = 10;
/// How many jobs a worker runs at once. What it has beyond that waits for others.
const AT_ONCE: usize = 8;

/// A stream of jobs.
pub(crate) struct Queue {
    jetstream: jetstream::Context,
    name: String,
}

impl Queue {
    pub(crate) async fn create(url: &str, name: &str) -> Result<Queue, BoxError> {
        let jetstream = connect(url).await?;
        let config = stream::Config {
            name: name.to_owned(),
            subjects: vec![name.to_owned()],
            // What is acknowledged is deleted.
            retention: stream::RetentionPolicy::WorkQueue,
            ..stream::Config::default()
        };
        let stream = jetstream.create_stream(config).await?;
        let config = pull::Config {
            durable_name: Some(CONSUMER.to_owned()),
            ack_wait: ACK_WAIT,
            max_deliver: DELIVERIES,
            ..pull::Config::default()
        };
        stream.create_consumer(config).await?;
        Ok(Queue {
            jetstream,
            name: name.to_owned(),
        })
    }

    pub(crate) async fn push(&self, job: Job, headers: Headers) -> Result<(), BoxError> {
        let mut map = async_nats::HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, value);
        }
        let payload = serde_json::to_vec(&job)?.into();
        let stored = self
            .jetstream
            .publish_with_headers(self.name.clone(), map, payload);
        // The second wait is for the server's word that it has it.
        stored.await?.await?;
        Ok(())
    }

    /// Removes the stream.
    pub(crate) async fn delete(&self) -> Result<(), BoxError> {
        self.jetstream.delete_stream(&self.name).await?;
        Ok(())
    }
}

/// Runs jobs until `stop`.
pub(crate) async fn work(
    url: &str,
    queue: &str,
    reporter: Reporter,
    mut stop: Stop,
) -> Result<(), BoxError> {
    let stream = connect(url).await?.get_stream(queue).await?;
    let consumer: PullConsumer = stream.get_consumer(CONSUMER).await?;
    let batches = consumer.stream().max_messages_per_batch(AT_ONCE);
    let mut messages = batches.messages().await?;
    let room = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await?;
        let message = match future::select(messages.next(), &mut stop).await {
            Either::Left((Some(message), _)) => message?,
            Either::Left((None, _)) => return Err("the server has closed the consumer".into()),
            Either::Right(_) => break,
        };
        let reporter = reporter.clone();
        tokio::spawn(async move {
            if let Err(error) = handle(message, reporter).await {
                eprintln!("jobs: a message was not handled: {error}");
            }
            drop(permit);
        });
    }
    // Until all of them have ended.
    let _all = room.acquire_many(AT_ONCE as u32).await?;
    Ok(())
}

/// Runs the job of a message, and then says what has become of it.
async fn handle(message: Message, reporter: Reporter) -> Result<(), BoxError> {
    let job: Job = serde_json::from_slice(&message.payload)?;
    let delivery = message.info()?.delivered as u64;
    let acknowledge = match job.delay() {
        // This engine has no delays of its own, but it delivers again when it is told to.
        Some(delay) => AckKind::Nak(Some(delay)),
        None => {
            let context = job::context(&MessageHeaders(message.headers.as_ref()));
            // In a task of its own: a panic is an error here, and when the task has ended, so
            // has the context. What acknowledges knows of no tenant.
            let run = shim::spawn_in(context, job::run(job, delivery, reporter));
            match run.await {
                Ok(()) => AckKind::Ack,
                Err(_) => AckKind::Nak(None),
            }
        }
    };
    message.ack_with(acknowledge).await
}

struct MessageHeaders<'a>(Option<&'a async_nats::HeaderMap>);

impl Extractor for MessageHeaders<'_> {
    fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let headers = self.0.into_iter().flat_map(async_nats::HeaderMap::iter);
        let same = headers.filter(|(key, _)| AsRef::<str>::as_ref(*key).eq_ignore_ascii_case(name));
        same.flat_map(|(_, values)| values.iter().map(|value| value.as_str().as_bytes()))
    }
}

async fn connect(url: &str) -> Result<jetstream::Context, BoxError> {
    let client = async_nats::connect(url)
        .await
        .map_err(|error| format!("cannot connect to NATS: {error}"))?;
    Ok(jetstream::new(client))
}
