//! RabbitMQ, and others that speak AMQP 0-9-1, by lapin.

use std::env;
use std::process;

use aiocontextvars::propagation::{Extractor, Injector};
use aiocontextvars::{Context, copy_context, shim};
use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use crate::{ATTEMPTS, INSIDE, JOBS, Ledger, POISONED, TENANT, context, deliver, poison, whose};

#[derive(Default)]
struct Fields(FieldTable);

impl Injector for Fields {
    fn set(&mut self, name: &'static str, value: String) {
        let value = AMQPValue::LongString(value.into());
        self.0.insert(name.into(), value);
    }
}

impl Extractor for Fields {
    fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let same = self
            .0
            .into_iter()
            .filter(|(key, _)| key.as_str().eq_ignore_ascii_case(name));
        same.filter_map(|(_, value)| match value {
            AMQPValue::LongString(value) => Some(value.as_bytes()),
            AMQPValue::ShortString(value) => Some(value.as_str().as_bytes()),
            _ => None,
        })
    }
}

async fn publish(channel: &Channel, queue: &str, payload: String) -> lapin::Result<()> {
    let mut fields = Fields::default();
    INSIDE.inject(&copy_context(), &mut fields);
    publish_with(channel, queue, payload, fields).await
}

async fn publish_with(
    channel: &Channel,
    queue: &str,
    payload: String,
    fields: Fields,
) -> lapin::Result<()> {
    let properties = BasicProperties::default().with_headers(fields.0);
    let options = BasicPublishOptions::default();
    let published = channel
        .basic_publish(
            "".into(),
            queue.into(),
            options,
            payload.as_bytes(),
            properties,
        )
        .await?;
    published.await?;
    Ok(())
}

async fn handle(delivery: Delivery, ledger: &Ledger) -> lapin::Result<()> {
    let headers = delivery.properties.headers().clone();
    let fields = Fields(headers.unwrap_or_default());
    let acker = delivery.acker;
    match deliver(&fields, ledger.clone().job(delivery.data)).await {
        Ok(()) => acker.ack(BasicAckOptions::default()).await?,
        Err(_) => {
            let again = BasicNackOptions {
                requeue: true,
                ..BasicNackOptions::default()
            };
            acker.nack(again).await?
        }
    };
    Ok(())
}

#[test]
fn values_are_in_the_headers_of_a_message() {
    let mut fields = Fields::default();
    assert!(INSIDE.inject(&context(3), &mut fields).is_empty());
    let received = INSIDE.extract(Context::new(), &fields);
    assert!(received.problems.is_empty());
    let mut of_message = received.context;
    assert_eq!(of_message.run(whose), context(3).call(whose));

    // A number is no header of text.
    fields.0.insert("baggage".into(), AMQPValue::LongInt(7));
    let received = INSIDE.extract(Context::new(), &fields);
    assert_eq!(received.context.get(&TENANT), None);
}

#[test]
#[ignore = "needs a RabbitMQ server: `bash ci/rabbitmq.sh`"]
fn jobs_run_in_the_context_of_who_published_them() {
    let url = env::var("JOBS_AMQP_URL").expect("run this by `bash ci/rabbitmq.sh`");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&url, properties).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let queue = format!("jobs-{}", process::id());
        let options = QueueDeclareOptions::default();
        let declared = channel.queue_declare(queue.as_str().into(), options, FieldTable::default());
        declared.await.unwrap();
        for number in 0..JOBS {
            let (channel, queue) = (channel.clone(), queue.clone());
            let published = shim::spawn_in(context(number), async move {
                publish(&channel, &queue, number.to_string()).await
            });
            published.await.unwrap().unwrap();
        }
        let mut poisoned = Fields::default();
        poisoned.set("baggage", poison("amqp"));
        let published = publish_with(&channel, &queue, POISONED.to_string(), poisoned);
        published.await.unwrap();

        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(
            queue.as_str().into(),
            "".into(),
            options,
            FieldTable::default(),
        );
        let mut consumer = consumer.await.unwrap();
        let ledger = Ledger::default();
        while ledger.attempts() < ATTEMPTS {
            let delivery = consumer.next().await.unwrap().unwrap();
            handle(delivery, &ledger).await.unwrap();
        }
        ledger.check("amqp");
        let deleted = channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default());
        assert_eq!(deleted.await.unwrap(), 0);
    });
}
