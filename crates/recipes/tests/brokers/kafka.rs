//! Kafka by rdkafka, whose library has a broker for tests in it.

use std::mem;
use std::time::Duration;

use aiocontextvars::propagation::{Extractor, Injector};
use aiocontextvars::{copy_context, shim};
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::{ATTEMPTS, INSIDE, JOBS, Ledger, POISONED, context, deliver, poison};

#[derive(Default)]
struct Outgoing(OwnedHeaders);

impl Injector for Outgoing {
    fn set(&mut self, name: &'static str, value: String) {
        let value = Some(&value);
        self.0 = mem::take(&mut self.0).insert(Header { key: name, value });
    }
}

struct Incoming<'a>(Option<&'a BorrowedHeaders>);

impl Extractor for Incoming<'_> {
    fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let headers = self.0.into_iter().flat_map(|headers| headers.iter());
        let same = headers.filter(move |header| header.key.eq_ignore_ascii_case(name));
        same.filter_map(|header| header.value)
    }
}

async fn publish(producer: &FutureProducer, topic: &str, payload: String) -> KafkaResult<()> {
    let mut headers = Outgoing::default();
    INSIDE.inject(&copy_context(), &mut headers);
    publish_with(producer, topic, payload, headers).await
}

async fn publish_with(
    producer: &FutureProducer,
    topic: &str,
    payload: String,
    headers: Outgoing,
) -> KafkaResult<()> {
    let record = FutureRecord::<(), _>::to(topic)
        .payload(&payload)
        .headers(headers.0);
    let sent = producer.send(record, Duration::from_secs(30)).await;
    sent.map(drop).map_err(|(error, _)| error)
}

/// A partition is read in order, so nothing is delivered again but everything behind it is: what
/// fails is tried again here, each time in a new context of the same headers.
async fn handle(
    consumer: &StreamConsumer,
    message: &BorrowedMessage<'_>,
    ledger: &Ledger,
) -> KafkaResult<()> {
    let payload = message.payload().unwrap_or_default();
    let headers = Incoming(message.headers());
    while deliver(&headers, ledger.clone().job(payload.to_vec()))
        .await
        .is_err()
    {}
    // With `enable.auto.offset.store` off, this is what is committed.
    consumer.store_offset_from_message(message)
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_in_the_context_of_who_published_them() {
    let cluster = MockCluster::new(1).unwrap();
    let topic = "jobs";
    cluster.create_topic(topic, 1, 1).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    let producer: FutureProducer = config.create().unwrap();
    for number in 0..JOBS {
        let producer = producer.clone();
        let published = shim::spawn_in(context(number), async move {
            publish(&producer, topic, number.to_string()).await
        });
        published.await.unwrap().unwrap();
    }
    let mut poisoned = Outgoing::default();
    poisoned.set("baggage", poison("kafka"));
    let published = publish_with(&producer, topic, POISONED.to_string(), poisoned);
    published.await.unwrap();

    let consumer: StreamConsumer = config
        .set("group.id", "workers")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.offset.store", "false")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let ledger = Ledger::default();
    while ledger.attempts() < ATTEMPTS {
        let message = consumer.recv().await.unwrap();
        handle(&consumer, &message, &ledger).await.unwrap();
    }
    ledger.check("kafka");
}
