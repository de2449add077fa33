//! Unary calls and streams in all directions, for many callers at once, and errors.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiocontextvars::propagation::{Problem, ProblemKind};
use aiocontextvars::shim::tower::{HttpContextLayer, InjectLayer, InjectService};
use aiocontextvars::{Context, ContextExt, shim};
use futures::future::join_all;
use futures::stream::{self, BoxStream, StreamExt};
use http::HeaderValue;
use http::uri::PathAndQuery;
use tokio::sync::{Barrier, mpsc};
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Status, Streaming};
use tower::{Layer, ServiceExt};

use crate::service::{BOTH, CLIENT, Echo, EchoServer, SERVER, Served, Text, UNARY, listen};
use crate::{INSIDE, REQUEST_ID, TENANT};

const TENANTS: [&str; 4] = ["acme", "globex", "initech", "Käse & Co=100%"];
const CALLERS: u64 = 40;
const ITEMS: usize = 3;
/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

fn whose() -> String {
    format!("{:?} {:?}", TENANT.get(), REQUEST_ID.get())
}

fn expected(id: u64) -> String {
    let tenant = TENANTS[id as usize % TENANTS.len()];
    format!("{:?} {:?}", Some(tenant), Some(id))
}

fn context(id: u64) -> Context {
    let tenant = TENANTS[id as usize % TENANTS.len()].to_owned();
    let context = Context::new().with_value(&REQUEST_ID, id);
    context.with_value(&TENANT, tenant)
}

/// Tells what it sees when it is dropped.
struct OnDrop(mpsc::UnboundedSender<String>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        // Nobody is interested any more where a test has failed.
        let _ = self.0.send(whose());
    }
}

#[derive(Clone)]
struct Service {
    /// All callers are in the middle of their streams at once.
    gate: Arc<Barrier>,
    dropped: mpsc::UnboundedSender<String>,
}

impl Service {
    /// Whose it is, once for each item; the rest of it in the context of whoever polls.
    fn items(&self) -> BoxStream<'static, Result<String, Status>> {
        let (gate, on_drop) = (Arc::clone(&self.gate), OnDrop(self.dropped.clone()));
        let items = stream::iter(0..ITEMS).then(move |n| {
            let (gate, _) = (Arc::clone(&gate), &on_drop);
            async move {
                if n == 1 {
                    gate.wait().await;
                }
                // A task of the stream's inherits as well.
                let task = shim::spawn(async { whose() }).await;
                task.map_err(|_| Status::internal("a task failed"))
            }
        });
        items.boxed()
    }
}

impl Echo for Service {
    async fn unary(self, request: String) -> Result<String, Status> {
        match &*request {
            "refused" => {
                let mut status = Status::permission_denied(whose());
                let tenant = REQUEST_ID.get().unwrap_or_default();
                status.metadata_mut().insert("x-id", tenant.into());
                Err(status)
            }
            _ => Ok(format!("{request}: {}", whose())),
        }
    }

    async fn server(
        self,
        request: String,
    ) -> Result<BoxStream<'static, Result<String, Status>>, Status> {
        let items = self.items();
        match &*request {
            // The error is in the trailers.
            "fails" => Ok(items
                .take(1)
                .chain(stream::once(async { Err(Status::data_loss(whose())) }))
                .boxed()),
            _ => Ok(items),
        }
    }

    async fn client(self, mut requests: Streaming<String>) -> Result<String, Status> {
        let mut heard = Vec::new();
        while let Some(request) = requests.message().await? {
            heard.push(request);
        }
        Ok(format!("{heard:?} {}", whose()))
    }

    async fn both(
        self,
        requests: Streaming<String>,
    ) -> Result<BoxStream<'static, Result<String, Status>>, Status> {
        let answers = requests.map(|request| Ok(format!("{} {}", request?, whose())));
        Ok(answers.boxed())
    }
}

type Problems = BTreeMap<String, Vec<ProblemKind>>;

static PROBLEMS: Mutex<Problems> = Mutex::new(BTreeMap::new());

fn log(problem: &Problem) {
    let mut problems = PROBLEMS.lock().unwrap();
    problems.entry(whose()).or_default().push(problem.kind());
}

/// A running server: its channel, and what its streams saw when they were dropped.
async fn start() -> (Channel, mpsc::UnboundedReceiver<String>, Served) {
    let (listener, address) = listen().await;
    let (dropped, seen) = mpsc::unbounded_channel();
    let service = Service {
        gate: Arc::new(Barrier::new(CALLERS as usize)),
        dropped,
    };
    let server = Server::builder()
        .layer(HttpContextLayer::new().extracting(&INSIDE).on_problem(log))
        .add_service(EchoServer(service))
        .serve_with_incoming(TcpIncoming::from(listener));
    let served = Served::spawn(server);
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    (endpoint.connect().await.unwrap(), seen, served)
}

/// Each caller in a task and a context of its own.
async fn for_all_callers<F>(call: impl Fn(u64) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let calls = (0..CALLERS).map(|id| shim::spawn_in(context(id), call(id)));
    let calls = join_all(calls.collect::<Vec<_>>());
    let calls = tokio::time::timeout(LIMIT, calls).await;
    for call in calls.expect("the test hangs") {
        call.unwrap();
    }
}

fn path(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}

/// A client of a channel, in which values go along.
async fn client(channel: &Channel) -> Grpc<InjectService<Channel>> {
    let mut client = Grpc::new(InjectLayer::new(&INSIDE).layer(channel.clone()));
    client.ready().await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn unary_calls_and_their_errors_are_in_the_context_of_their_caller() {
    let (channel, _, _served) = start().await;
    for_all_callers(|id| {
        let channel = channel.clone();
        async move {
            let mut client = client(&channel).await;
            let answer = client
                .unary(Request::new("x".to_owned()), path(UNARY), Text)
                .await;
            assert_eq!(answer.unwrap().into_inner(), format!("x: {}", expected(id)));

            client.ready().await.unwrap();
            let refused = Request::new("refused".to_owned());
            let error = client.unary(refused, path(UNARY), Text).await.unwrap_err();
            assert_eq!(error.code(), Code::PermissionDenied);
            assert_eq!(error.message(), expected(id));
            assert_eq!(error.metadata().get("x-id").unwrap(), &*id.to_string());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_of_a_server_are_in_the_context_of_their_caller() {
    let (channel, mut dropped, _served) = start().await;
    for_all_callers(|id| {
        let channel = channel.clone();
        async move {
            let mut client = client(&channel).await;
            let request = Request::new(String::new());
            let answer = client.server_streaming(request, path(SERVER), Text).await;
            let items: Vec<_> = answer.unwrap().into_inner().collect().await;
            let items: Result<Vec<_>, _> = items.into_iter().collect();
            assert_eq!(items.unwrap(), vec![expected(id); ITEMS]);

            client.ready().await.unwrap();
            let request = Request::new("fails".to_owned());
            let answer = client.server_streaming(request, path(SERVER), Text).await;
            let mut items = answer.unwrap().into_inner();
            assert_eq!(items.message().await.unwrap(), Some(expected(id)));
            let error = items.message().await.unwrap_err();
            assert_eq!(error.code(), Code::DataLoss);
            assert_eq!(error.message(), expected(id));
        }
    })
    .await;
    // Two streams of each, and each was dropped as whose it was.
    let mut seen = BTreeMap::<String, u32>::new();
    for _ in 0..2 * CALLERS {
        *seen.entry(dropped.recv().await.unwrap()).or_default() += 1;
    }
    assert_eq!(seen, (0..CALLERS).map(|id| (expected(id), 2)).collect());
}

/// The connection's task polls what a client sends: the stream has to take its context along.
fn requests(id: u64) -> impl stream::Stream<Item = String> + Send + 'static {
    let items = stream::iter(0..ITEMS).map(move |n| {
        assert_eq!(whose(), expected(id));
        n.to_string()
    });
    items.in_current_context()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_of_a_client_are_in_its_context_and_in_the_servers() {
    let (channel, _, _served) = start().await;
    for_all_callers(|id| {
        let channel = channel.clone();
        async move {
            let mut client = client(&channel).await;
            let request = Request::new(requests(id));
            let answer = client.client_streaming(request, path(CLIENT), Text).await;
            let heard = format!("{:?} {}", ["0", "1", "2"], expected(id));
            assert_eq!(answer.unwrap().into_inner(), heard);

            client.ready().await.unwrap();
            let request = Request::new(requests(id));
            let answer = client.streaming(request, path(BOTH), Text).await;
            let items: Vec<_> = answer.unwrap().into_inner().collect().await;
            let items: Result<Vec<_>, _> = items.into_iter().collect();
            let heard: Vec<_> = (0..ITEMS)
                .map(|n| format!("{n} {}", expected(id)))
                .collect();
            assert_eq!(items.unwrap(), heard);
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_does_not_take_its_context_along_has_none() {
    let (channel, _, _served) = start().await;
    let call = async move {
        let mut client = client(&channel).await;
        let items = stream::iter(0..1).map(|_| whose());
        let answer = client
            .client_streaming(Request::new(items), path(CLIENT), Text)
            .await;
        let heard = format!("{:?} {}", [r"None None"], expected(7));
        assert_eq!(answer.unwrap().into_inner(), heard);
    };
    shim::spawn_in(context(7), call).await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_metadata_is_reported_and_the_rest_stands() {
    let (channel, _, _served) = start().await;
    // Nothing is injected here: another client, which writes what it likes.
    let ask = async |header: &'static [u8]| {
        let service = channel
            .clone()
            .map_request(move |mut request: http::Request<_>| {
                let header = HeaderValue::from_bytes(header).unwrap();
                request.headers_mut().insert("baggage", header);
                request
            });
        let mut client = Grpc::new(service);
        client.ready().await.unwrap();
        let answer = client
            .unary(Request::new("x".to_owned()), path(UNARY), Text)
            .await;
        answer.unwrap().into_inner()
    };
    assert_eq!(
        ask(b"tenant=\xff,request-id=1001").await,
        "x: None Some(1001)"
    );
    assert_eq!(
        ask(b"request-id=1002,request-id=x,nonsense").await,
        "x: None Some(1002)"
    );
    let long = b"tenant=a-tenant-whose-name-is-longer-than-32-bytes,request-id=1003";
    assert_eq!(ask(long).await, "x: None Some(1003)");

    let problems = PROBLEMS.lock().unwrap();
    let of = |id: u64| &problems[&format!("None Some({id})")][..];
    assert_eq!(of(1001), [ProblemKind::Encoding]);
    assert_eq!(of(1002), [ProblemKind::Value, ProblemKind::Malformed]);
    assert_eq!(of(1003), [ProblemKind::ValueTooLong]);
}

#[tokio::test]
async fn baggage_that_a_program_has_put_into_metadata_is_replaced() {
    let (channel, _, _served) = start().await;
    let call = async move {
        let mut client = client(&channel).await;
        let mut request = Request::new("x".to_owned());
        let forged = MetadataValue::from_static("tenant=forged,request-id=13");
        request.metadata_mut().insert("baggage", forged);
        let answer = client.unary(request, path(UNARY), Text).await;
        assert_eq!(answer.unwrap().into_inner(), format!("x: {}", expected(3)));
    };
    shim::spawn_in(context(3), call).await.unwrap();
}
