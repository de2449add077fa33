//! Values between services: an edge, a service behind it, and the clients of both.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use aiocontextvars::propagation::{Problem, ProblemKind, Propagator};
use aiocontextvars::shim::tower::{HttpContextLayer, InjectLayer};
use aiocontextvars::{Context, shim};
use futures::future;
use test_support::axum::Router;
use test_support::axum::extract::{Path, State};
use test_support::axum::http::{HeaderMap, HeaderValue, Request};
use test_support::axum::routing::get;
use test_support::tower::{Layer, ServiceExt};

use crate::service::{Server, TestClient, client, for_each_version, read};
use crate::{ID, TENANT};

/// Between services.
static INSIDE: LazyLock<Propagator> = LazyLock::new(|| {
    let inside = Propagator::new()
        .both("id", &ID)
        .both("tenant", &TENANT)
        .max_len(20);
    inside.pass_on()
});

/// Nobody is believed.
static EDGE: LazyLock<Propagator> =
    LazyLock::new(|| Propagator::new().send("id", &ID).send("tenant", &TENANT));

type Problems = BTreeMap<(Option<u64>, String), Vec<ProblemKind>>;

/// Problems of the edge, by request.
static AT_EDGE: Mutex<Problems> = Mutex::new(BTreeMap::new());
static INSIDE_PROBLEMS: Mutex<Problems> = Mutex::new(BTreeMap::new());

fn log(problems: &Mutex<Problems>, problem: &Problem) {
    let whose = (ID.get(), problem.member().unwrap_or("-").to_owned());
    problems
        .lock()
        .unwrap()
        .entry(whose)
        .or_default()
        .push(problem.kind());
}

fn whose() -> String {
    format!("{:?} {:?}", ID.get(), TENANT.get())
}

/// A service that says whose request it is, and which baggage has come.
async fn behind(headers: HeaderMap) -> String {
    // Work that it starts knows as well.
    let task = shim::spawn(async { whose() }).await.unwrap();
    assert_eq!(task, whose());
    let baggage: Vec<_> = headers
        .get_all("baggage")
        .iter()
        .map(|h| h.to_str().unwrap())
        .collect();
    format!("{} [{}]", whose(), baggage.join("|"))
}

#[derive(Clone)]
struct Upstream {
    client: TestClient,
    url: String,
}

/// Sets values and asks the service behind.
async fn edge(Path((id, tenant)): Path<(u64, String)>, State(upstream): State<Upstream>) -> String {
    ID.set(id);
    TENANT.set(tenant);
    let client = InjectLayer::new(&EDGE).on_problem(|problem| log(&AT_EDGE, problem));
    let client = client.layer(upstream.client);
    let request = Request::get(upstream.url)
        // As a proxy that copies headers would send it.
        .header("baggage", "tenant=forged,evil=1")
        .body(http_body_util::Empty::new())
        .unwrap();
    // Called elsewhere, in a task that inherits.
    let asked = shim::spawn(client.oneshot(request));
    read(asked.await.unwrap().unwrap()).await.0
}

#[test]
fn values_cross_the_wire_and_forged_ones_do_not() {
    const TENANTS: [&str; 4] = ["acme", "globex", "initech", "Käse & Co=100%"];
    for_each_version(async |version| {
        AT_EDGE.lock().unwrap().clear();
        let service = Router::new()
            .route("/", get(behind))
            .layer(HttpContextLayer::new().extracting(&INSIDE));
        let service = Server::start(service).await;
        let upstream = Upstream {
            client: client(version),
            url: format!("http://{}/", service.address),
        };
        // Outside of the edge's own values, it says whose problem it is by the request's path.
        let base = |request: &Request<test_support::axum::body::Body>| {
            let id = request
                .uri()
                .path()
                .split('/')
                .nth(1)
                .unwrap()
                .parse::<u64>()
                .unwrap();
            Context::new().with_value(&ID, id)
        };
        let layer = HttpContextLayer::with(base).extracting(&EDGE);
        let app = Router::new()
            .route("/{id}/{tenant}", get(edge))
            .with_state(upstream)
            .layer(layer.on_problem(|problem| log(&AT_EDGE, problem)));
        let server = Server::start(app).await;
        let client = client(version);
        let answers = (0..200u64).map(async |id| {
            let tenant = TENANTS[id as usize % TENANTS.len()];
            let path = tenant
                .replace('%', "%25")
                .replace(' ', "%20")
                .replace('ä', "%C3%A4");
            let mut request = server.get(version, &format!("/{id}/{path}"));
            let forged: &[u8] = match id % 5 {
                0 => b"tenant=forged",
                1 => b"tenant=\xff,id=666",
                2 => b"nonsense",
                3 => b"id=%00;p=q,x=1",
                _ => b"",
            };
            request
                .headers_mut()
                .insert("baggage", HeaderValue::from_bytes(forged).unwrap());
            let response = client.request(request).await.unwrap();
            let (text, _) = read(response).await;
            let encoded = path.replace('=', "%3D");
            let expected = format!("Some({id}) Some({tenant:?}) [id={id},tenant={encoded}]");
            assert_eq!(text, expected);
        });
        future::join_all(answers).await;

        use ProblemKind::{Encoding, Malformed, NotReceived};
        let mut expected = Problems::new();
        for id in 0..200 {
            let problems: &[(&str, ProblemKind)] = match id % 5 {
                0 => &[("tenant", NotReceived)],
                1 => &[("tenant", Encoding), ("id", NotReceived)],
                2 => &[("-", Malformed)],
                3 => &[("id", NotReceived), ("x", NotReceived)],
                _ => &[],
            };
            for (member, kind) in problems {
                expected.insert((Some(id), (*member).to_owned()), vec![*kind]);
            }
        }
        assert_eq!(*AT_EDGE.lock().unwrap(), expected);
    });
}

#[test]
fn a_service_takes_what_is_right_and_reports_the_rest_in_its_context() {
    for_each_version(async |version| {
        INSIDE_PROBLEMS.lock().unwrap().clear();
        let layer = HttpContextLayer::new().extracting(&INSIDE);
        let app = Router::new().route("/", get(async || whose()));
        let app = app.layer(layer.on_problem(|problem| log(&INSIDE_PROBLEMS, problem)));
        let server = Server::start(app).await;
        let mut request = server.get(version, "/");
        let headers = request.headers_mut();
        headers.append("baggage", HeaderValue::from_static("tenant=acme, b=1"));
        headers.append(
            "baggage",
            HeaderValue::from_bytes(b"id=7, tenant=\xff").unwrap(),
        );
        headers.append(
            "baggage",
            HeaderValue::from_static("tenant=more-than-twenty-bytes,id=x"),
        );
        let response = client(version).request(request).await.unwrap();
        assert_eq!(read(response).await.0, "Some(7) Some(\"acme\")");
        let problems = INSIDE_PROBLEMS.lock().unwrap();
        let of = |member: &str| &problems[&(Some(7), member.to_owned())][..];
        assert_eq!(problems.len(), 2);
        assert_eq!(
            of("tenant"),
            [ProblemKind::Encoding, ProblemKind::ValueTooLong]
        );
        assert_eq!(of("id"), [ProblemKind::Value]);
    });
}

#[test]
fn a_client_without_values_sends_none() {
    for_each_version(async |version| {
        let app = Router::new()
            .route("/", get(behind))
            .layer(HttpContextLayer::new());
        let server = Server::start(app).await;
        let client = InjectLayer::new(&INSIDE).layer(client(version));
        let mut request = server.get(version, "/");
        request
            .headers_mut()
            .insert("baggage", HeaderValue::from_static("id=666"));
        let response = client.clone().oneshot(request).await.unwrap();
        assert_eq!(read(response).await.0, "None None []");
        // What a context has been given to pass on goes along.
        let received = vec![("baggage".to_owned(), "a=1;p , id=7".to_owned())];
        let context = INSIDE.extract(Context::new(), &received).context;
        let asked = shim::spawn_in(context, client.oneshot(server.get(version, "/")));
        let response = asked.await.unwrap().unwrap();
        assert_eq!(read(response).await.0, "None None [id=7,a=1;p]");
    });
}
