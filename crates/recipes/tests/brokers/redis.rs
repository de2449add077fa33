//! Streams of Redis with a group of consumers.

use std::env;
use std::process;

use ::redis::aio::MultiplexedConnection;
use ::redis::streams::{
    StreamAutoClaimOptions, StreamAutoClaimReply, StreamId, StreamReadOptions, StreamReadReply,
};
use ::redis::{AsyncCommands, Client, RedisResult, Value};
use aiocontextvars::propagation::Extractor;
use aiocontextvars::{copy_context, shim};

use crate::{ATTEMPTS, INSIDE, JOBS, Ledger, POISONED, context, deliver, poison};

const GROUP: &str = "workers";

/// A message's fields are its headers, and one is the payload.
async fn publish(
    connection: &mut MultiplexedConnection,
    stream: &str,
    payload: String,
) -> RedisResult<()> {
    let mut fields = vec![("payload".to_owned(), payload)];
    INSIDE.inject(&copy_context(), &mut fields);
    let _id: Option<String> = connection.xadd(stream, "*", &fields).await?;
    Ok(())
}

struct Fields<'a>(&'a StreamId);

impl Extractor for Fields<'_> {
    fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let value = self.0.map.get(name).and_then(|value| match value {
            Value::BulkString(bytes) => Some(bytes.as_slice()),
            _ => None,
        });
        value.into_iter()
    }
}

/// A message that is not acknowledged stays in the group's list, and is claimed later.
async fn handle(
    connection: &mut MultiplexedConnection,
    stream: &str,
    message: StreamId,
    ledger: &Ledger,
) -> RedisResult<()> {
    let payload = message.get("payload").unwrap_or_default();
    if deliver(&Fields(&message), ledger.clone().job(payload))
        .await
        .is_ok()
    {
        let _acknowledged: usize = connection.xack(stream, GROUP, &[message.id]).await?;
    }
    Ok(())
}

/// The next messages: new ones, and those of workers that have failed or died. A worker that lives
/// may take `idle` milliseconds for a job.
async fn next(
    connection: &mut MultiplexedConnection,
    stream: &str,
    idle: usize,
) -> RedisResult<Vec<StreamId>> {
    let options = StreamReadOptions::default().group(GROUP, "worker").count(8);
    let keys = [stream];
    let new: Option<StreamReadReply> = connection.xread_options(&keys, &[">"], &options).await?;
    let keys = new.into_iter().flat_map(|new| new.keys);
    let mut messages: Vec<_> = keys.flat_map(|key| key.ids).collect();
    let options = StreamAutoClaimOptions::default().count(8);
    if messages.is_empty() {
        let claimed = connection.xautoclaim_options(stream, GROUP, "worker", idle, "0-0", options);
        let claimed: StreamAutoClaimReply = claimed.await?;
        messages = claimed.claimed;
    }
    Ok(messages)
}

#[test]
#[ignore = "needs a Redis server: `bash ci/jobs.sh`"]
fn jobs_run_in_the_context_of_who_published_them() {
    let url = env::var("JOBS_REDIS_URL").expect("run this by `bash examples/jobs/servers.sh`");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let stream = format!("jobs-{}", process::id());
        let client = Client::open(url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let created = connection.xgroup_create_mkstream(&stream, GROUP, "0");
        let _: () = created.await.unwrap();
        for number in 0..JOBS {
            let (mut connection, stream) = (connection.clone(), stream.clone());
            let published = shim::spawn_in(context(number), async move {
                publish(&mut connection, &stream, number.to_string()).await
            });
            published.await.unwrap().unwrap();
        }
        let poisoned = [
            ("payload", POISONED.to_string()),
            ("baggage", poison("redis")),
        ];
        let _: Option<String> = connection.xadd(&stream, "*", &poisoned).await.unwrap();

        let ledger = Ledger::default();
        while ledger.attempts() < ATTEMPTS {
            for message in next(&mut connection, &stream, 0).await.unwrap() {
                handle(&mut connection, &stream, message, &ledger)
                    .await
                    .unwrap();
            }
        }
        ledger.check("redis");
        // All of them are acknowledged.
        let left = next(&mut connection, &stream, 0).await.unwrap();
        assert!(left.is_empty());
        let _: usize = connection.del(&stream).await.unwrap();
    });
}
