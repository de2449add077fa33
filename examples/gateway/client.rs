//! The load: a client on a thread of its own, which knows whose request each one was.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use futures::future::{self, Either};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::http::request;
use hyper::{Request, StatusCode};
use indicatif::ProgressBar;
use serde::de::DeserializeOwned;
use smol_hyper::rt::FuturesIo;

use crate::carrier::{Hop, Identity};
use crate::hops::HOPS;
use crate::report::Tally;
use crate::service::{Answer, HEALTH, LOGIN, REQUEST_ID, TENANT, VISIT};
use crate::wire;

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
/// The tenant of logins. No other request may see it.
const INTRUDER: &str = "intruder";
/// The number of requests to each login.
const LOGIN_EVERY: u64 = 8;
/// A service that takes longer than this hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

type BoxError = Box<dyn Error + Send + Sync>;

/// What came back.
pub(crate) struct Driven {
    pub(crate) tally: Tally,
    pub(crate) elapsed: Duration,
    /// Why the first of the requests without an answer has none.
    pub(crate) failure: Option<String>,
}

/// Sends `requests` requests over `concurrency` connections and checks every hop of every answer.
/// In between come logins, which the service should refuse if `refuses`.
pub(crate) fn drive(
    service: SocketAddr,
    refuses: bool,
    passed_on: bool,
    requests: u64,
    concurrency: usize,
    progress: &ProgressBar,
) -> Driven {
    let load = Load {
        service,
        refuses,
        passed_on,
        requests,
        progress,
        sent: Cell::new(0),
        answered: Cell::new(0),
        tally: RefCell::default(),
        failure: RefCell::default(),
    };
    let start = Instant::now();
    async_io::block_on(future::join_all((0..concurrency).map(|_| load.work())));
    let elapsed = start.elapsed();

    let mut tally = load.tally.into_inner();
    let unanswered = requests - load.answered.get();
    tally.count_missing(unanswered * HOPS.len() as u64);
    Driven {
        tally,
        elapsed,
        failure: load.failure.into_inner(),
    }
}

struct Load<'a> {
    service: SocketAddr,
    refuses: bool,
    /// Whether the service passes requests on to another one.
    passed_on: bool,
    requests: u64,
    progress: &'a ProgressBar,
    sent: Cell<u64>,
    answered: Cell<u64>,
    tally: RefCell<Tally>,
    failure: RefCell<Option<String>>,
}

impl Load<'_> {
    /// The next request to send.
    fn next(&self) -> Option<Identity> {
        let number = self.sent.get();
        if number == self.requests {
            return None;
        }
        self.sent.set(number + 1);
        Some(Identity {
            request_id: number + 1,
            tenant: TENANTS[number as usize % TENANTS.len()].to_owned(),
        })
    }

    /// Keeps one request in flight at a time, on one connection while that lasts.
    async fn work(&self) {
        let mut connection = None;
        while let Some(identity) = self.next() {
            let asked = Box::pin(self.take_turn(connection.take(), &identity));
            let answer = match future::select(asked, Timer::after(ANSWER_LIMIT)).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => {
                    // The others are not going to fare better: nothing more is sent.
                    self.sent.set(self.requests);
                    Err(format!("no answer within {ANSWER_LIMIT:?}").into())
                }
            };
            match answer {
                Ok((answer, open)) => {
                    self.answered.set(self.answered.get() + 1);
                    self.tally.borrow_mut().count_answer(&identity, &answer);
                    connection = open;
                }
                Err(error) => {
                    self.failure
                        .borrow_mut()
                        .get_or_insert_with(|| error.to_string());
                }
            }
            self.progress.inc(1);
        }
    }

    /// Sends one request, and a login before it if it is time for one.
    async fn take_turn(
        &self,
        mut connection: Option<Connection>,
        identity: &Identity,
    ) -> Result<(Answer, Option<Connection>), BoxError> {
        if identity.request_id % LOGIN_EVERY == 1 {
            connection = self.log_in(connection).await?;
        }
        self.ask(connection, identity).await
    }

    async fn ask(
        &self,
        connection: Option<Connection>,
        identity: &Identity,
    ) -> Result<(Answer, Option<Connection>), BoxError> {
        let mut request = Request::get(VISIT)
            .header(REQUEST_ID, identity.request_id)
            .header(TENANT, &identity.tenant);
        if let Some((header, _)) = wire::forged(identity.request_id) {
            request = request.header(wire::FORGED, header);
        }
        let (status, body, connection) = self.send(connection, request).await?;
        let answer: Answer = expect_ok(status, &body)?;
        if answer.request_id != identity.request_id || answer.tenant != identity.tenant {
            return Err("the answer is to another request".into());
        }
        wire::check(&answer, identity.request_id, self.passed_on)?;
        Ok((answer, connection))
    }

    /// Tries to become another tenant outside of the carrier, and looks for what is left of that.
    async fn log_in(&self, connection: Option<Connection>) -> Result<Option<Connection>, BoxError> {
        let request = Request::get(LOGIN).header(TENANT, INTRUDER);
        let (status, body, connection) = self.send(connection, request).await?;
        let refused = status == StatusCode::INTERNAL_SERVER_ERROR;
        if !refused {
            let hop: Hop = expect_ok(status, &body)?;
            if hop.seen.tenant.as_deref() != Some(INTRUDER) {
                return Err("a tenant was set and is not there".into());
            }
        }
        let (status, body, connection) = self.send(connection, Request::get(HEALTH)).await?;
        let hop: Hop = expect_ok(status, &body)?;

        let mut tally = self.tally.borrow_mut();
        tally.count_login(refused, self.refuses);
        tally.count_found(&hop.seen);
        tally.count_span_outside(&hop);
        Ok(connection)
    }

    /// Sends a request, on a new connection if there is none.
    async fn send(
        &self,
        connection: Option<Connection>,
        request: request::Builder,
    ) -> Result<(StatusCode, Bytes, Option<Connection>), BoxError> {
        let connection = match connection {
            Some(connection) => connection,
            None => Connection::open(self.service).await?,
        };
        let request = request
            .header(HOST, self.service.to_string())
            .body(Empty::new())?;
        Ok(connection.exchange(request).await?)
    }
}

/// What is in the body of a response to a request that was served.
fn expect_ok<T: DeserializeOwned>(status: StatusCode, body: &Bytes) -> Result<T, BoxError> {
    if status != StatusCode::OK {
        return Err(format!("status {status}: {}", String::from_utf8_lossy(body)).into());
    }
    Ok(serde_json::from_slice(body)?)
}

type Driver = http1::Connection<FuturesIo<Async<TcpStream>>, Empty<Bytes>>;

pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// Reads and writes while it is polled.
    driver: Pin<Box<Driver>>,
}

impl Connection {
    pub(crate) async fn open(service: SocketAddr) -> Result<Connection, BoxError> {
        let stream = Async::<TcpStream>::connect(service).await?;
        let (sender, driver) = http1::handshake(FuturesIo::new(stream)).await?;
        Ok(Connection {
            sender,
            driver: Box::pin(driver),
        })
    }

    /// Gives itself back if it can be used again.
    pub(crate) async fn exchange(
        mut self,
        request: Request<Empty<Bytes>>,
    ) -> hyper::Result<(StatusCode, Bytes, Option<Connection>)> {
        let sender = &mut self.sender;
        let exchange = Box::pin(async move {
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, body))
        });
        let ((status, body), open) = match future::select(exchange, &mut self.driver).await {
            Either::Left((exchanged, _)) => (exchanged?, true),
            // The connection has ended, perhaps after the response.
            Either::Right((_, exchange)) => (exchange.await?, false),
        };
        Ok((status, body, open.then_some(self)))
    }
}
