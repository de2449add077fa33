//! actix-web: each worker is a `LocalSet` that polls its handlers in tasks of its own.

mod common;

use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex};

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::{App, Error, HttpResponse, HttpServer, web};
use aiocontextvars::propagation::{Extractor, Problem, Propagator};
use aiocontextvars::shim::tokio::task;
use aiocontextvars::{Context, ContextExt, context_var, shim};
use tokio::sync::Barrier;

use common::{TENANT, get, get_for_two, get_with, report, right_reports, tenant};

context_var! {
    /// Set by a middleware.
    static GREETING: String = String::new();
}

fn tenant_of(request: &ServiceRequest) -> String {
    let tenant = request.headers().get("x-tenant").unwrap();
    tenant.to_str().unwrap().to_owned()
}

fn app(
    both_are_here: web::Data<Barrier>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    use actix_web::dev::Service;

    let inside = web::scope("/inside")
        .route("/report", web::to(handler))
        .route("/local", web::to(local))
        .route("/body", web::to(body))
        .service(
            web::resource("/middleware")
                .route(web::to(async || GREETING.get()))
                .wrap_fn(|request, service| {
                    // This is no future: it is done in the call of the service around it.
                    GREETING.set(format!("hello, {}", TENANT.get()));
                    service.call(request)
                }),
        )
        .wrap_fn(|request, service| {
            let tenant = tenant_of(&request);
            TENANT.sync_scope(tenant, || service.call(request).in_current_context())
        });
    let called = web::scope("/called")
        .route("/report", web::to(handler))
        .route("/body", web::to(body))
        .route("/tenant", web::to(tenant))
        .wrap_fn(|request, service| {
            let mut received = INSIDE.extract(Context::new(), &Headers(request.headers()));
            received.context.run(|| {
                received.problems.iter().for_each(log);
                service.call(request).in_current_context()
            })
        });
    App::new()
        .app_data(both_are_here)
        .service(inside)
        .service(called)
        .route("/outside", web::to(outside))
}

/// The headers of a request. actix-web has a type of its own for them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.get_all(name).map(HeaderValue::as_bytes)
    }
}

static INSIDE: LazyLock<Propagator> =
    LazyLock::new(|| Propagator::new().both("tenant", &TENANT).max_len(16));

static PROBLEMS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

fn log(problem: &Problem) {
    let mut problems = PROBLEMS.lock().unwrap();
    problems.push((TENANT.get(), problem.to_string()));
}

async fn handler(both_are_here: web::Data<Barrier>) -> String {
    report(&both_are_here).await
}

/// Tasks of the worker, and the jobs of actix-web's own thread pool.
async fn local(both_are_here: web::Data<Barrier>) -> String {
    both_are_here.wait().await;
    let inherits = task::spawn_local(tenant()).await.unwrap();
    let along = actix_web::rt::spawn(tenant().in_current_context())
        .await
        .unwrap();
    let bare = actix_web::rt::spawn(tenant()).await.unwrap();
    let job = web::block(shim::bind(|| TENANT.get())).await.unwrap();
    let bare_job = web::block(|| TENANT.get()).await.unwrap();
    format!("{inherits} {along} {bare} {job} {bare_job}")
}

/// A body that is polled when the handler has returned.
async fn body() -> HttpResponse {
    let chunk = async { Ok::<_, Error>(web::Bytes::from(tenant().await)) };
    let bare = async { Ok::<_, Error>(web::Bytes::from(format!(" {}", tenant().await))) };
    let chunks = futures::stream::once(chunk).in_current_context();
    HttpResponse::Ok().streaming(futures::StreamExt::chain(
        chunks,
        futures::stream::once(bare),
    ))
}

/// A handler that no middleware gives a context.
async fn outside() -> String {
    match TENANT.try_set("acme".to_owned()) {
        Ok(_) => "set".to_owned(),
        Err(error) => format!("{}: {error}", TENANT.get()),
    }
}

/// A server with one worker, so that the requests of both tenants meet on one thread.
fn serve() -> (Server, SocketAddr) {
    let both_are_here = web::Data::new(Barrier::new(2));
    let server = HttpServer::new(move || app(both_are_here.clone()))
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
    let address = server.addrs()[0];
    (server.run(), address)
}

/// Asks a server while it runs, and stops it.
fn with_server(client: impl AsyncFnOnce(SocketAddr)) {
    actix_web::rt::System::new().block_on(async {
        let (server, address) = serve();
        let handle = server.handle();
        let server = tokio::spawn(server);
        client(address).await;
        handle.stop(false).await;
        server.await.unwrap().unwrap();
    });
}

#[test]
fn each_request_has_its_own_context() {
    with_server(async |server| {
        assert_eq!(get_for_two(server, "/inside/report").await, right_reports());
        // Once more: nothing is left on the worker.
        assert_eq!(get_for_two(server, "/inside/report").await, right_reports());
    });
}

#[test]
fn middlewares_inside_read_and_write_before_they_call_on() {
    with_server(async |server| {
        assert_eq!(
            get_for_two(server, "/inside/middleware").await,
            ["hello, acme", "hello, umbrella"]
        );
    });
}

#[test]
fn tasks_of_the_worker_inherit_and_bare_ones_see_nobody() {
    with_server(async |server| {
        let seen = get_for_two(server, "/inside/local").await;
        let expected =
            ["acme", "umbrella"].map(|tenant| format!("{tenant} {tenant} nobody {tenant} nobody"));
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_body_in_a_context_is_polled_there() {
    with_server(async |server| {
        let seen = get_for_two(server, "/inside/body").await;
        assert_eq!(seen, ["acme nobody", "umbrella nobody"]);
    });
}

#[test]
fn a_handler_outside_of_the_middleware_cannot_write() {
    with_server(async |server| {
        let refused = get(server, "/outside", "acme").await;
        assert!(refused.starts_with("nobody: "), "{refused}");
        assert!(refused.contains("scope"), "{refused}");
        let reports = get_for_two(server, "/inside/report").await;
        assert_eq!(reports, right_reports());
        assert_eq!(get(server, "/outside", "acme").await, refused);
    });
}

#[test]
fn values_come_in_the_headers_of_a_request() {
    with_server(async |server| {
        let reports = tokio::join!(
            get_with(server, "/called/report", b"baggage: tenant=acme"),
            get_with(server, "/called/report", b"baggage: tenant=umbrella"),
        );
        assert_eq!(<[String; 2]>::from(reports), right_reports());
        let body = get_with(server, "/called/body", b"baggage: tenant=acme").await;
        assert_eq!(body, "acme nobody");

        // Several headers are one list, and what is wrong is reported once.
        assert!(PROBLEMS.lock().unwrap().is_empty());
        let headers = b"baggage: tenant=acme,x\r\nBaggage: tenant=\xff";
        assert_eq!(get_with(server, "/called/tenant", headers).await, "acme");
        let forged = b"x-tenant: acme\r\nbaggage: tenant=seventeen-letters";
        assert_eq!(get_with(server, "/called/tenant", forged).await, "nobody");
        let problems = PROBLEMS.lock().unwrap();
        let [none, encoding, long] = &problems[..] else {
            panic!("{problems:?}")
        };
        assert!(none.0 == "acme" && none.1.contains("key=value"));
        assert!(encoding.0 == "acme" && encoding.1.contains("UTF-8"));
        assert!(long.0 == "nobody" && long.1.contains("max_len"));
    });
}
