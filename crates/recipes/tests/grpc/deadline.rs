//! Deadlines: the time that is left goes out as `grpc-timeout`, and what is called obeys it.

use std::time::{Duration, Instant};

use aiocontextvars::shim::tower::{HttpContextLayer, InjectLayer};
use aiocontextvars::{Context, shim};
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Status};
use tower::Layer;

use crate::service::{Echo, EchoServer, Served, Text, UNARY, listen};
use crate::{DEADLINE, INSIDE, TENANT};

// The recipe.

/// How long the caller still waits. Without a deadline, there is no limit.
fn left() -> Duration {
    DEADLINE.get().map_or(Duration::MAX, |deadline| {
        deadline.saturating_duration_since(Instant::now())
    })
}

/// On the side of a client: an interceptor, which is called where the request is made.
fn send_deadline(mut request: Request<()>) -> Result<Request<()>, Status> {
    if DEADLINE.get().is_some() {
        match left() {
            Duration::ZERO => return Err(Status::deadline_exceeded("no time is left")),
            left => request.set_timeout(left),
        }
    }
    Ok(request)
}

/// On the side of a server: the context of a request, for `HttpContextLayer::with`.
fn with_deadline<B>(request: &http::Request<B>) -> Context {
    let timeout = request.headers().get("grpc-timeout");
    match timeout.and_then(|timeout| parse_timeout(timeout.to_str().ok()?)) {
        Some(timeout) => Context::new().with_value(&DEADLINE, Instant::now() + timeout),
        None => Context::new(),
    }
}

/// At most eight digits and a unit. What is something else is no timeout, as tonic has it.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 60 * 60),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

// What checks it.

/// Asks the next one, or works until its time is over.
#[derive(Clone)]
struct Hop {
    next: Option<Channel>,
    ended: mpsc::UnboundedSender<(Option<String>, bool)>,
}

async fn ask(channel: Channel, question: &str) -> Result<String, Status> {
    let channel = InterceptedService::new(channel, send_deadline);
    let mut client = Grpc::new(InjectLayer::new(&INSIDE).layer(channel));
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(UNARY);
    let answer = client
        .unary(Request::new(question.to_owned()), path, Text)
        .await?;
    Ok(answer.into_inner())
}

impl Echo for Hop {
    async fn unary(self, question: String) -> Result<String, Status> {
        if let Some(next) = self.next {
            let here = left().as_nanos();
            return Ok(format!("{here} {}", ask(next, &question).await?));
        }
        if question == "how long" {
            return Ok(left().as_nanos().to_string());
        }
        // In a task, since tonic drops the handler at the same moment.
        let work = shim::spawn(async move {
            let work = shim::timeout(left(), std::future::pending::<()>()).await;
            self.ended.send((TENANT.get(), work.is_err())).unwrap();
        });
        work.await
            .map_err(|_| Status::internal("the work failed"))?;
        Err(Status::deadline_exceeded("the work took too long"))
    }
}

/// Two servers, of which the first asks the second.
async fn start() -> (
    Channel,
    mpsc::UnboundedReceiver<(Option<String>, bool)>,
    [Served; 2],
) {
    let (sender, ended) = mpsc::unbounded_channel();
    let mut next = None;
    let mut servers = Vec::new();
    for _ in 0..2 {
        let (listener, address) = listen().await;
        let hop = Hop {
            next: next.take(),
            ended: sender.clone(),
        };
        let layer = HttpContextLayer::with(with_deadline::<tonic::body::Body>);
        let server = Server::builder()
            .layer(layer.extracting(&INSIDE))
            .add_service(EchoServer(hop))
            .serve_with_incoming(TcpIncoming::from(listener));
        servers.push(Served::spawn(server));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        next = Some(endpoint.connect().await.unwrap());
    }
    let servers = servers.try_into().unwrap_or_else(|_| unreachable!());
    (next.unwrap(), ended, servers)
}

#[tokio::test]
async fn the_time_that_is_left_goes_from_hop_to_hop() {
    let (channel, _ended, _servers) = start().await;
    let limit = Duration::from_secs(60);
    let asked = {
        let channel = channel.clone();
        async move { ask(channel, "how long").await }
    };
    let context = Context::new().with_value(&DEADLINE, Instant::now() + limit);
    let answer = shim::spawn_in(context, asked).await.unwrap().unwrap();
    let times: Vec<u128> = answer
        .split(' ')
        .map(|time| time.parse().unwrap())
        .collect();
    let [first, second] = times[..] else {
        panic!("{answer}")
    };
    assert!(
        limit.as_nanos() >= first && first >= second && second > 0,
        "{answer}"
    );

    // Without a deadline there is none.
    let asked = async move { ask(channel, "how long").await };
    let answer = shim::spawn_in(Context::new(), asked)
        .await
        .unwrap()
        .unwrap();
    let all = Duration::MAX.as_nanos();
    assert_eq!(answer, format!("{all} {all}"));
}

#[tokio::test]
async fn work_ends_when_its_callers_time_is_over() {
    let (channel, mut ended, _servers) = start().await;
    // On a busy machine a call takes longer than a short deadline allows, and does not come to the
    // work at all. Then it is given more time.
    for millis in [50, 500, 5_000, 50_000] {
        let limit = Duration::from_millis(millis);
        let channel = channel.clone();
        let asked = async move { ask(channel, "work").await };
        let context = Context::new()
            .with_value(&TENANT, "acme".to_owned())
            .with_value(&DEADLINE, Instant::now() + limit);
        let error = shim::spawn_in(context, asked).await.unwrap().unwrap_err();
        assert!(
            matches!(error.code(), Code::Cancelled | Code::DeadlineExceeded),
            "{error}"
        );
        // Two hops away.
        if let Ok(seen) = tokio::time::timeout(limit, ended.recv()).await {
            assert_eq!(seen.unwrap(), (Some("acme".to_owned()), true));
            return;
        }
    }
    panic!("no call has come to the work, or the work has not ended");
}

#[tokio::test]
async fn who_has_no_time_left_does_not_call() {
    let (channel, _ended, _servers) = start().await;
    let asked = async move { ask(channel, "how long").await };
    let context = Context::new().with_value(&DEADLINE, Instant::now());
    let error = shim::spawn_in(context, asked).await.unwrap().unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::DeadlineExceeded, "no time is left")
    );
}

#[test]
fn timeouts_are_read_as_the_specification_has_them() {
    assert_eq!(parse_timeout("2H"), Some(Duration::from_secs(7200)));
    assert_eq!(parse_timeout("3M"), Some(Duration::from_secs(180)));
    assert_eq!(
        parse_timeout("99999999S"),
        Some(Duration::from_secs(99_999_999))
    );
    assert_eq!(parse_timeout("0m"), Some(Duration::ZERO));
    assert_eq!(parse_timeout("5u"), Some(Duration::from_micros(5)));
    assert_eq!(parse_timeout("7n"), Some(Duration::from_nanos(7)));
    for wrong in ["", "S", "5", "+5S", "5s", "100000000S", "5 S", "é", "5é"] {
        assert_eq!(parse_timeout(wrong), None, "{wrong}");
    }
}
