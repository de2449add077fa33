//! Servers, clients, and bodies that tell what they see.

use std::convert::Infallible;
use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::stream::{self, Stream};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Frame, Incoming};
use test_support::axum::http::{HeaderMap, HeaderValue, Request, Response, Version};
use test_support::axum::{self, Router};
use test_support::hyper_util::client::legacy::Client;
use test_support::hyper_util::client::legacy::connect::HttpConnector;
use test_support::hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::sync::{Barrier, mpsc};
use tokio::task::JoinHandle;

use crate::{CHUNKS, ID};

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

/// How many requests are served at once.
pub(crate) const AT_ONCE: usize = 20;

pub(crate) const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// Runs `test` on a runtime of its own for each version of HTTP.
pub(crate) fn for_each_version<F: Future<Output = ()>>(test: impl Fn(Version) -> F) {
    for version in VERSIONS {
        run(test(version));
    }
}

pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        tokio::time::timeout(LIMIT, test)
            .await
            .expect("the test hangs");
    });
}

/// A server of an axum service.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shut_down: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(crate) async fn start(app: Router) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shut_down, stopped) = oneshot::channel::<()>();
        let served = axum::serve(listener, app).with_graceful_shutdown(async { _ = stopped.await });
        let served = tokio::spawn(served.into_future());
        Server {
            address,
            shut_down,
            served,
        }
    }

    /// A request for a path.
    pub(crate) fn get(&self, version: Version, path: &str) -> Request<Empty<Bytes>> {
        let uri = format!("http://{}{path}", self.address);
        Request::get(uri)
            .version(version)
            .body(Empty::new())
            .unwrap()
    }

    /// Begins to shut down, gracefully. Returns what completes when that is done.
    pub(crate) fn shut_down(self) -> JoinHandle<std::io::Result<()>> {
        self.shut_down.send(()).unwrap();
        self.served
    }
}

pub(crate) type TestClient = Client<HttpConnector, Empty<Bytes>>;

pub(crate) fn client(version: Version) -> TestClient {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.http2_only(version == Version::HTTP_2).build_http()
}

/// Reads a body to its end: its text, and its trailers.
pub(crate) async fn read(response: Response<Incoming>) -> (String, Option<HeaderMap>) {
    let body = response.into_body().collect().await.unwrap();
    let trailers = body.trailers().cloned();
    (
        String::from_utf8(body.to_bytes().to_vec()).unwrap(),
        trailers,
    )
}

/// Tells what it sees when it is dropped.
#[derive(Clone)]
pub(crate) struct Probe(mpsc::UnboundedSender<Seen>);

/// The request's id, and how many chunks its body has made.
pub(crate) type Seen = (Option<u64>, u64);

impl Probe {
    pub(crate) fn new() -> (Probe, mpsc::UnboundedReceiver<Seen>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Probe(sender), receiver)
    }
}

/// One that is in use.
pub(crate) struct Armed(Probe);

impl Drop for Armed {
    fn drop(&mut self) {
        // Nobody is interested any more where a test has failed.
        let _ = self.0.0.send((ID.get(), CHUNKS.get()));
    }
}

impl Probe {
    pub(crate) fn arm(&self) -> Armed {
        Armed(self.clone())
    }
}

/// What a chunk says: the request's id, and its own number, which the body counts in a variable.
fn chunk() -> Bytes {
    CHUNKS.set(CHUNKS.get() + 1);
    let id = ID.get().map(|id| id.to_string());
    format!("{} {}\n", id.as_deref().unwrap_or("none"), CHUNKS.get()).into()
}

/// The text that a body of [`frames`] has in its request's context.
pub(crate) fn expected(id: u64, chunks: u64) -> String {
    (1..=chunks).map(|n| format!("{id} {n}\n")).collect()
}

/// So many chunks, with a wait at `gate` before the second one, and trailers.
pub(crate) fn frames(
    chunks: u64,
    probe: &Probe,
    gate: Arc<Barrier>,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + use<> {
    stream::unfold((0, probe.arm()), move |(n, armed)| {
        let gate = Arc::clone(&gate);
        async move {
            if n == 1 {
                gate.wait().await;
            }
            let frame = match n {
                n if n < chunks => Frame::data(chunk()),
                n if n == chunks => {
                    let id = ID
                        .get()
                        .map_or(HeaderValue::from_static("none"), HeaderValue::from);
                    Frame::trailers(HeaderMap::from_iter([(
                        test_support::axum::http::HeaderName::from_static("x-id"),
                        id,
                    )]))
                }
                _ => return None,
            };
            Some((Ok(frame), (n + 1, armed)))
        }
    })
}
