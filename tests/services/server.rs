//! Servers, their clients, and what is counted of the answers.

use std::cell::RefCell;
use std::future::IntoFuture;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future;
use test_support::axum::Router;
use test_support::axum::http::HeaderMap;
use test_support::axum::routing::get;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Barrier;

/// How many are in flight at once.
pub(crate) const REQUESTS: usize = 200;
/// Of the multi-thread runtime.
pub(crate) const WORKERS: usize = 4;
/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

/// Where all requests wait for each other.
pub(crate) fn gate() -> Arc<Barrier> {
    Arc::new(Barrier::new(REQUESTS))
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flavour {
    MultiThread,
    CurrentThread,
}

impl Flavour {
    pub(crate) fn runtime(self) -> Runtime {
        let mut builder = match self {
            Flavour::MultiThread => Builder::new_multi_thread(),
            Flavour::CurrentThread => Builder::new_current_thread(),
        };
        builder
            .worker_threads(WORKERS)
            .enable_all()
            .build()
            .unwrap()
    }
}

/// Runs `test` on a runtime of each flavour.
pub(crate) fn on_each_flavour(test: impl Fn(Flavour)) {
    test(Flavour::MultiThread);
    test(Flavour::CurrentThread);
}

/// A server that is stopped when this is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    /// Completes when it is dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    /// Connections for further requests.
    idle: RefCell<Vec<Connection>>,
    /// Servers of tests that run at the same time would run out of file descriptors.
    _alone: MutexGuard<'static, ()>,
}

impl Server {
    /// Serves what `app` makes, which is called in the future of `block_on`, as in `main`.
    pub(crate) fn start(flavour: Flavour, app: impl FnOnce() -> Router + Send + 'static) -> Server {
        Server::run(move |bound, stop| {
            let runtime = flavour.runtime();
            runtime.block_on(async {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
                // Outside of all layers of the others.
                let app = app().route("/ready", get(async || ""));
                bound.send(listener.local_addr().unwrap()).unwrap();
                let served = test_support::axum::serve(listener, app).into_future();
                future::select(pin!(served), stop).await;
            });
            // What still waits at a gate, because the test has failed, must not keep it from
            // ending.
            runtime.shutdown_background();
        })
    }

    /// Starts a thread that tells where it serves, and ends when it is to stop.
    pub(crate) fn run(
        serve: impl FnOnce(mpsc::Sender<SocketAddr>, oneshot::Receiver<()>) + Send + 'static,
    ) -> Server {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (bound, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || serve(bound, stopped));
        Server {
            address: address.recv().expect("the server could not start"),
            stop: Some(stop),
            thread: Some(thread),
            idle: RefCell::default(),
            _alone: alone,
        }
    }

    /// A connection that the server has accepted: the system's queue of those that it has not is
    /// short.
    pub(crate) fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut connection = Connection(BufReader::new(stream));
        assert_eq!(connection.ask("/ready").unwrap().status, 200);
        connection
    }

    /// Sends all requests, each on a connection of its own, and only then waits for the answers.
    pub(crate) fn ask_all(&self, path: &str) -> Vec<(Identity, Option<Response>)> {
        let mut idle = self.idle.borrow_mut();
        idle.resize_with(REQUESTS, || self.connect());
        let mut asked = Vec::new();
        for (id, mut connection) in (1..).zip(idle.drain(..)) {
            let identity = Identity::of(id);
            connection.send(path, &identity);
            asked.push((identity, connection));
        }
        let answers = asked.into_iter().map(|(identity, mut connection)| {
            let answer = connection.receive();
            if answer.is_some() {
                idle.push(connection);
            }
            (identity, answer)
        });
        answers.collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the server panicked");
    }
}

/// Whose request it is, as the client says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    pub(crate) id: u64,
    pub(crate) tenant: String,
}

impl Identity {
    fn of(id: u64) -> Identity {
        let tenant = if id % 2 == 0 { "acme" } else { "globex" };
        Identity {
            id,
            tenant: tenant.to_owned(),
        }
    }

    /// That of a request.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Identity {
        let header = |name| headers[name].to_str().unwrap().to_owned();
        Identity {
            id: header("x-request-id").parse().unwrap(),
            tenant: header("x-tenant"),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// What is in the header `x-request-id`.
    pub(crate) id: Option<u64>,
    pub(crate) body: String,
}

/// A client's end.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn send(&mut self, path: &str, identity: &Identity) {
        let Identity { id, tenant } = identity;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nx-request-id: {id}\r\nx-tenant: {tenant}\r\n\r\n"
        );
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    /// `None` if the connection is closed instead, as it is after a panic.
    pub(crate) fn receive(&mut self) -> Option<Response> {
        let mut response = Response {
            status: 0,
            id: None,
            body: String::new(),
        };
        let mut length = 0;
        loop {
            let mut line = String::new();
            match self.0.read_line(&mut line) {
                Ok(0) => return None,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                read => read.expect("no answer"),
            };
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(status) = line.strip_prefix("HTTP/1.1 ") {
                response.status = status[..3].parse().unwrap();
            } else if let Some((name, value)) = line.split_once(": ") {
                match name {
                    "content-length" => length = value.parse().unwrap(),
                    "x-request-id" => response.id = Some(value.parse().unwrap()),
                    _ => (),
                }
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        response.body = String::from_utf8(body).unwrap();
        Some(response)
    }

    pub(crate) fn ask(&mut self, path: &str) -> Option<Response> {
        self.send(path, &Identity::of(1));
        self.receive()
    }
}

/// What came of the requests of a test.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    /// Requests that were served.
    pub(crate) served: usize,
    /// Requests that were answered by an error.
    pub(crate) failed: usize,
    /// Requests whose connection was closed.
    pub(crate) unanswered: usize,
    /// Hops that saw their own request.
    pub(crate) right: usize,
    /// Hops that saw another one.
    pub(crate) misattributed: usize,
    /// Hops that saw none.
    pub(crate) lost: usize,
}

impl Tally {
    pub(crate) fn of(answers: &[(Identity, Option<Response>)]) -> Tally {
        let mut tally = Tally::default();
        for (identity, response) in answers {
            tally.count(identity, response.as_ref());
        }
        tally
    }

    fn count(&mut self, identity: &Identity, response: Option<&Response>) {
        let Some(response) = response else {
            self.unanswered += 1;
            return;
        };
        if response.status != 200 {
            self.failed += 1;
            return;
        }
        self.served += 1;
        let truth = (identity.id.to_string(), identity.tenant.as_str());
        for line in response.body.lines() {
            let (_, seen) = line.split_once(": ").unwrap();
            let (id, tenant) = seen.split_once(' ').unwrap();
            match (id, tenant) {
                seen if seen == (truth.0.as_str(), truth.1) => self.right += 1,
                ("-", "public") => self.lost += 1,
                _ => self.misattributed += 1,
            }
        }
    }
}
