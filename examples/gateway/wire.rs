//! The wire to another gateway: which values go out with a call, and who is believed.

use std::error::Error;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::LazyLock;
use std::time::Duration;

use aiocontextvars::propagation::{BAGGAGE, Extracted, Problem, Propagator};
use aiocontextvars::{Context, copy_context, shim};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, StatusCode, Uri};

use crate::carrier::{Identity, REQUEST_ID, TENANT};
use crate::client::Connection;
use crate::service::{Answer, TENANT_LIMIT, VISIT};

type BoxError = Box<dyn Error + Send + Sync>;

/// At the edge: both go out, and nobody is believed.
static EDGE: LazyLock<Propagator> = LazyLock::new(|| {
    Propagator::new()
        .send("request-id", &REQUEST_ID)
        .send("tenant", &TENANT)
});

/// Behind the edge, where only other gateways call.
static INSIDE: LazyLock<Propagator> = LazyLock::new(|| {
    Propagator::new()
        .both("request-id", &REQUEST_ID)
        .both("tenant", &TENANT)
        .max_len(TENANT_LIMIT)
});

const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Where a gateway stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// Whether it takes whose request it is from its caller's baggage.
    pub(crate) inside: bool,
    /// The gateway that each request is passed to.
    pub(crate) upstream: Option<SocketAddr>,
}

impl Place {
    /// What the headers of a request say.
    pub(crate) fn receive(&self, headers: &HeaderMap) -> Extracted {
        self.propagator().extract(Context::new(), headers)
    }

    fn propagator(&self) -> &'static Propagator {
        match self.inside {
            true => &INSIDE,
            false => &EDGE,
        }
    }

    /// Passes the request on, in a task that inherits whose it is. `None` without an upstream.
    pub(crate) async fn pass_on(&self) -> Option<Result<Answer, BoxError>> {
        let (upstream, propagator) = (self.upstream?, self.propagator());
        let call = async move {
            let mut request = Request::get(VISIT)
                .header("host", upstream.to_string())
                .body(http_body_util::Empty::new())?;
            // Nothing else says whose it is.
            let problems = propagator.inject(&copy_context(), request.headers_mut());
            if let Some(problem) = problems.into_iter().next() {
                return Err(problem.into());
            }
            let connection = Connection::open(upstream).await?;
            let (status, body, _) = connection.exchange(request).await?;
            match status {
                StatusCode::OK => Ok(serde_json::from_slice(&body)?),
                _ => Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into()),
            }
        };
        let task = shim::spawn(shim::timeout(ANSWER_LIMIT, call));
        Some(match task.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(elapsed)) => Err(elapsed.into()),
            Err(error) => Err(error.into()),
        })
    }
}

/// Whose request it is according to the current context.
pub(crate) fn identity() -> Option<Identity> {
    Some(Identity {
        request_id: REQUEST_ID.get()?,
        tenant: TENANT.get()?,
    })
}

pub(crate) fn texts(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}

/// The address of `http://host:port/`. The error is a message.
pub(crate) fn address(url: &str) -> Result<SocketAddr, String> {
    let uri: Option<Uri> = url.parse().ok();
    let of_http = uri.filter(|uri| uri.scheme_str() == Some("http") && uri.path() == "/");
    let authority = of_http.as_ref().and_then(Uri::authority);
    let authority = authority.ok_or_else(|| {
        format!("--upstream takes a URL such as http://127.0.0.1:8081/, not `{url}`")
    })?;
    let host = authority.host().trim_matches(['[', ']']);
    let found = (host, authority.port_u16().unwrap_or(80)).to_socket_addrs();
    let first = found.ok().and_then(|mut found| found.next());
    first.ok_or_else(|| format!("--upstream: there is no host `{host}`"))
}

/// A header of somebody who claims to be another tenant, or writes what is no baggage; and how many
/// of its members are refused.
pub(crate) fn forged(number: u64) -> Option<(HeaderValue, usize)> {
    let (header, refused): (Vec<u8>, usize) = match number % 4 {
        0 => return None,
        1 => (b"tenant=intruder,request-id=666".to_vec(), 2),
        2 => (b"tenant=%zz, no member, =x, request-id=\xff".to_vec(), 4),
        _ => ([b"tenant=", &[b'x'; 9000][..]].concat(), 1),
    };
    HeaderValue::from_bytes(&header)
        .ok()
        .map(|header| (header, refused))
}

/// The header that [`forged`] is for.
pub(crate) const FORGED: &str = BAGGAGE;

/// Checks what an answer says of the wire. Its hops are checked with those of others.
pub(crate) fn check(answer: &Answer, number: u64, passed_on: bool) -> Result<(), BoxError> {
    let refused = forged(number).map_or(0, |(_, refused)| refused);
    if answer.problems.len() != refused {
        return Err(format!(
            "{refused} members should have been refused, and not {:?}",
            answer.problems
        )
        .into());
    }
    match &answer.upstream {
        None if passed_on => Err("the request was not passed on".into()),
        Some(upstream) if !upstream.problems.is_empty() => {
            Err(format!("the upstream had problems: {:?}", upstream.problems).into())
        }
        Some(upstream)
            if (upstream.request_id, &upstream.tenant) != (answer.request_id, &answer.tenant) =>
        {
            Err("the upstream has answered another request".into())
        }
        _ => Ok(()),
    }
}
