//! The service: HTTP in, an answer that tells what each hop saw out.
//!
//! Two of its routes are outside of the carrier: no identity is set for them, and no other request
//! may see what they set.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aiocontextvars::{ContextExt, shim};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use tracing::{Instrument, info_span};

use crate::actor::Actor;
use crate::carrier::{Carrier, Hop, Identity, Seen};
use crate::hops;
use crate::ledger::Ledger;
use crate::runtime::Runtime;
use crate::wire::{self, Place};

pub(crate) const REQUEST_ID: &str = "x-request-id";
pub(crate) const TENANT: &str = "x-tenant";

/// Passes through all kinds of work.
pub(crate) const VISIT: &str = "/";
/// Outside of the carrier: tries to set the tenant.
pub(crate) const LOGIN: &str = "/login";
/// Outside of the carrier: tells what it sees.
pub(crate) const HEALTH: &str = "/health";

const METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::POST];
const DEFAULT_TENANT: &str = "public";
pub(crate) const TENANT_LIMIT: usize = 64;
const BODY_LIMIT: u64 = 64 * 1024;
/// A body over its limit is read up to here: a client that is still sending when the connection is
/// closed would not get to see why.
const DRAIN_LIMIT: u64 = 16 * BODY_LIMIT;
const BODY_TIME: Duration = Duration::from_secs(10);

pub(crate) struct Service {
    carrier: Carrier,
    place: Place,
    pub(crate) runtime: Runtime,
    pub(crate) ledger: Arc<Ledger>,
    /// Started by the first request.
    actor: OnceLock<Actor>,
    /// For requests that come without an id.
    next_id: AtomicU64,
}

/// The body of a response to a request that was served.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Answer {
    pub(crate) request_id: u64,
    pub(crate) tenant: String,
    /// What was there before anything was set.
    pub(crate) found: Seen,
    /// The span that the request was served in.
    pub(crate) span: Option<u64>,
    pub(crate) hops: Vec<Hop>,
    /// What was refused of the request's baggage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<String>,
    /// What the gateway says that the request was passed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upstream: Option<Box<Answer>>,
}

/// Why a request is not served; the body of any other response.
#[derive(Serialize)]
struct Rejection {
    #[serde(skip)]
    status: StatusCode,
    error: String,
}

impl Rejection {
    fn new(status: StatusCode, error: impl Into<String>) -> Rejection {
        Rejection {
            status,
            error: error.into(),
        }
    }

    fn bad_request(error: String) -> Rejection {
        Rejection::new(StatusCode::BAD_REQUEST, error)
    }
}

impl Service {
    pub(crate) fn new(carrier: Carrier, runtime: Runtime, place: Place) -> Arc<Service> {
        Arc::new(Service {
            carrier,
            place,
            runtime,
            ledger: Arc::default(),
            actor: OnceLock::new(),
            next_id: AtomicU64::new(1),
        })
    }

    /// Responds to a request, whatever it is.
    pub(crate) async fn respond(
        self: Arc<Service>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (status, body) = match self.serve(request).await {
            Ok(body) => (StatusCode::OK, body),
            Err(rejection) => (rejection.status, json(&rejection)),
        };
        let mut response = Response::new(Full::from(format!("{body}\n")));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let methods = METHODS.map(|method| method.to_string()).join(", ");
            headers.insert(ALLOW, methods.parse().expect("method names are ASCII"));
        }
        Ok(response)
    }

    async fn serve(&self, request: Request<Incoming>) -> Result<String, Rejection> {
        let path = request.uri().path();
        if ![VISIT, LOGIN, HEALTH].contains(&path) {
            let error = format!("there is nothing at {path}; try {VISIT}, {LOGIN} or {HEALTH}");
            return Err(Rejection::new(StatusCode::NOT_FOUND, error));
        }
        if !METHODS.contains(request.method()) {
            let error = format!("{} is not for this path", request.method());
            return Err(Rejection::new(StatusCode::METHOD_NOT_ALLOWED, error));
        }
        match path {
            LOGIN => {
                let tenant = tenant(request.headers()).map_err(Rejection::bad_request)?;
                self.log_in(tenant).await.map(|hop| json(&hop))
            }
            HEALTH => Ok(json(&self.carrier.look("health"))),
            _ => self.handle(request).await.map(|answer| json(&answer)),
        }
    }

    /// Sets the tenant outside of the carrier.
    async fn log_in(&self, tenant: String) -> Result<Hop, Rejection> {
        let log_in = async {
            self.carrier.log_in(tenant)?;
            Ok(self.carrier.look("login"))
        };
        let outcome = if self.runtime.tells_its_tasks() {
            // The runtime spawned the connection's task, which has no context to write to.
            log_in.await
        } else {
            // The shim spawned the connection's task, so that the write is not refused, and the
            // next request on the connection would see it. Here the route needs a context of its
            // own.
            log_in.in_current_context().await
        };
        outcome.map_err(|error: String| Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, error))
    }

    async fn handle(&self, request: Request<Incoming>) -> Result<Answer, Rejection> {
        let received = self.place.receive(request.headers());
        let problems = wire::texts(&received.problems);
        let span = info_span!("request", path = request.uri().path());
        let number = span.id().map(|id| id.into_u64());
        let (identity, found, worked) = if self.place.inside {
            let serve = async {
                let identity = wire::identity().ok_or_else(|| {
                    let error = format!("no identity in the baggage; refused: {problems:?}");
                    Rejection::bad_request(error)
                })?;
                let worked = self.work(identity.clone(), request).instrument(span).await;
                Ok((identity, Seen::NOTHING, worked))
            };
            serve.in_context(received.context).await?
        } else {
            let identity = self
                .identify(request.headers())
                .map_err(Rejection::bad_request)?;
            let work = self.work(identity.clone(), request).instrument(span);
            let (found, worked) = self.carrier.carry(identity.clone(), work).await;
            (identity, found, worked)
        };
        let (hops, upstream) = worked?;
        let answer = Answer {
            request_id: identity.request_id,
            tenant: identity.tenant.clone(),
            found,
            span: number,
            hops,
            problems,
            upstream,
        };
        self.ledger.answered(&identity, &answer);
        Ok(answer)
    }

    /// What runs on the request's behalf.
    async fn work(
        &self,
        identity: Identity,
        request: Request<Incoming>,
    ) -> Result<(Vec<Hop>, Option<Box<Answer>>), Rejection> {
        read_body(request).await?;
        let upstream = self.place.pass_on().await.transpose();
        let upstream = upstream.map_err(|error| {
            let error = format!("the upstream does not answer: {error}");
            Rejection::new(StatusCode::BAD_GATEWAY, error)
        })?;
        let actor = self.actor.get_or_init(|| Actor::start(self.carrier));
        let ledger = Arc::clone(&self.ledger);
        let hops = hops::visit(self.carrier, identity, actor, ledger).await;
        tracing::info!(hops = hops.len(), "answered");
        Ok((hops, upstream.map(Box::new)))
    }

    fn identify(&self, headers: &HeaderMap) -> Result<Identity, String> {
        let request_id = match single(headers, REQUEST_ID)? {
            None => self.next_id.fetch_add(1, Ordering::Relaxed),
            // `u64` would take a sign as well.
            Some(id) if id.starts_with('+') => return Err(not_an_id()),
            Some(id) => id.parse().map_err(|_| not_an_id())?,
        };
        Ok(Identity {
            request_id,
            tenant: tenant(headers)?,
        })
    }
}

fn tenant(headers: &HeaderMap) -> Result<String, String> {
    let tenant = single(headers, TENANT)?.unwrap_or(DEFAULT_TENANT);
    if tenant.is_empty() || tenant.len() > TENANT_LIMIT {
        return Err(format!(
            "{TENANT} has to have 1 to {TENANT_LIMIT} characters"
        ));
    }
    Ok(tenant.to_owned())
}

fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("strings and numbers can be written as JSON")
}

fn not_an_id() -> String {
    format!("{REQUEST_ID} has to be a decimal number below 2^64")
}

/// The value of a header that may be there once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, String> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(format!("{name} is there more than once"));
    }
    value
        .map(|value| {
            value
                .to_str()
                .map_err(|_| format!("{name} has to be ASCII"))
        })
        .transpose()
}

/// Reads the body to its end, only to know that it is not too long: the handler has no use for it.
async fn read_body(request: Request<Incoming>) -> Result<(), Rejection> {
    let too_long = || {
        let error = format!("a body has at most {BODY_LIMIT} bytes here");
        Err(Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, error))
    };
    let announced = request.body().size_hint().lower();
    if announced > BODY_LIMIT && request.headers().contains_key(EXPECT) {
        // The client waits to hear whether it is to send the body at all.
        return too_long();
    }
    match shim::timeout(BODY_TIME, length(request.into_body())).await {
        Ok(Ok(length)) if length > BODY_LIMIT => too_long(),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            let error = format!("the body is not complete: {error}");
            Err(Rejection::new(StatusCode::BAD_REQUEST, error))
        }
        Err(_) => {
            let error = format!("the body has not come within {BODY_TIME:?}");
            Err(Rejection::new(StatusCode::REQUEST_TIMEOUT, error))
        }
    }
}

/// The number of bytes that `body` has, or that were read before it got far too many.
async fn length(mut body: Incoming) -> hyper::Result<u64> {
    let mut length = 0;
    while length <= DRAIN_LIMIT {
        match body.frame().await {
            None => break,
            Some(frame) => length += frame?.data_ref().map_or(0, |data| data.len() as u64),
        }
    }
    Ok(length)
}
