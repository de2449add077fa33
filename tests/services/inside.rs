//! A middleware inside of a `ContextLayer` sets the request's id and tenant, and all work for the
//! request sees them.

use std::future::Future;
use std::sync::Arc;

use aiocontextvars::shim::tower::ContextLayer;
use aiocontextvars::{ContextExt, in_own_context, shim};
use futures::stream::{self, StreamExt};
use test_support::axum::Router;
use test_support::axum::extract::{Request, State};
use test_support::axum::middleware::{Next, from_fn};
use test_support::axum::response::Response;
use test_support::axum::routing::get;
use tokio::runtime::Handle;
use tokio::sync::Barrier;

use super::batches::Loader;
use super::server::{Identity, REQUESTS, Server, Tally, gate, on_each_flavour};
use super::{JOB, REQUEST_ID, TENANT, USER, see};

/// Sets the id and the tenant, and adds the id that it sees at the end to the response.
pub(crate) async fn identify(request: Request, next: Next) -> Response {
    let Identity { id, tenant } = Identity::from_headers(request.headers());
    assert_eq!(
        (REQUEST_ID.get(), TENANT.get()),
        (None, "public".to_owned())
    );
    REQUEST_ID.set(id);
    TENANT.set(tenant);
    let mut response = next.run(request).await;
    if let Some(id) = REQUEST_ID.get() {
        response.headers_mut().insert("x-request-id", id.into());
    }
    response
}

#[derive(Clone)]
struct Shop {
    gate: Arc<Barrier>,
    loader: Arc<Loader>,
}

/// All kinds of work, a line for each piece. The requests wait for each other after each kind.
async fn work(State(shop): State<Shop>) -> String {
    let everyone = || async { shop.gate.wait().await };
    let mut seen = vec![see("handler")];
    everyone().await;
    seen.push(see("after all have set theirs"));

    seen.extend(spawned().await);
    everyone().await;
    seen.push(blocking().await);
    everyone().await;
    seen.extend(joined().await);
    everyone().await;
    seen.extend(concurrent().await);
    everyone().await;
    seen.extend(scoped().await);
    everyone().await;

    let id = REQUEST_ID.get().unwrap();
    assert_eq!(shop.loader.load(id).await, 10 * id);
    seen.push(see("after the batch"));
    everyone().await;
    seen.push(see("end"));
    assert_eq!((JOB.get(), USER.get()), (None, None));
    seen.join("\n")
}

const LINES: usize = 17;

async fn spawned() -> [String; 3] {
    let task = shim::spawn(async {
        tokio::task::yield_now().await;
        let child = shim::spawn(async { see("a task's task") });
        (see("task"), child.await.unwrap())
    });
    let theirs = tokio::spawn(async { see("a task of tokio's, wrapped") }.in_current_context());
    let (task, child) = task.await.unwrap();
    [task, child, theirs.await.unwrap()]
}

/// Sets a value that the next job of the thread must not see.
async fn blocking() -> String {
    let job = shim::spawn_blocking(|| {
        assert_eq!(USER.get(), None);
        USER.set("of a job".to_owned());
        see("job")
    });
    job.await.unwrap()
}

/// Two branches that share the context, and two that do not.
async fn joined() -> [String; 4] {
    let gate = Barrier::new(2);
    let shares = async |hop| {
        gate.wait().await;
        see(hop)
    };
    let (first, second) = tokio::join!(shares("one branch"), shares("the other branch"));
    let has_its_own = async |job| {
        JOB.set(job);
        gate.wait().await;
        assert_eq!(JOB.get(), Some(job));
        see("a branch of its own")
    };
    let (third, fourth) = futures::join!(
        has_its_own(1).in_current_context(),
        has_its_own(2).in_current_context()
    );
    [first, second, third, fourth]
}

async fn concurrent() -> Vec<String> {
    const JOBS: usize = 3;
    let gate = &Barrier::new(JOBS);
    let (sender, lines) = futures::channel::mpsc::unbounded();
    let sender = &sender;
    let work = |job| async move {
        assert_eq!(JOB.get(), None);
        JOB.set(job);
        gate.wait().await;
        let task = shim::spawn(async { (JOB.get(), see("a job's task")) });
        let (seen, line) = task.await.unwrap();
        assert_eq!((JOB.get(), seen), (Some(job), Some(job)));
        sender.unbounded_send(line).unwrap();
    };
    stream::iter(0..JOBS)
        .for_each_concurrent(None, in_own_context(work))
        .await;
    sender.close_channel();
    lines.collect().await
}

/// Knows nothing of any other variable.
fn with_user<F: Future>(user: String, work: F) -> impl Future<Output = F::Output> {
    USER.scope(user, work)
}

async fn scoped() -> [String; 2] {
    let user = format!("user {}", REQUEST_ID.get().unwrap());
    let work = async {
        tokio::task::yield_now().await;
        let task = shim::spawn(async { (JOB.get(), USER.get(), see("a task in two scopes")) });
        (
            JOB.get(),
            USER.get(),
            see("in two scopes"),
            task.await.unwrap(),
        )
    };
    let (job, seen, here, task) = JOB.scope(7, with_user(user.clone(), work)).await;
    assert_eq!((job, seen.as_ref()), (Some(7), Some(&user)));
    assert_eq!((task.0, task.1), (Some(7), Some(user)));
    [here, task.2]
}

#[test]
fn each_of_many_concurrent_requests_sees_its_own_values_in_all_that_works_for_it() {
    on_each_flavour(|flavour| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let server = Server::start(flavour, move || {
            let loader = Loader::fixed(Handle::current());
            sender.send(Arc::clone(&loader)).unwrap();
            Router::new()
                .route("/", get(work))
                .with_state(Shop {
                    gate: gate(),
                    loader,
                })
                .layer(from_fn(identify))
                .layer(ContextLayer::new())
                .route("/outside", get(async || see("outside")))
        });
        let loader = receiver.recv().unwrap();
        for round in 1..=2 {
            let answers = server.ask_all("/");
            let served = Tally {
                served: REQUESTS,
                right: REQUESTS * LINES,
                ..Tally::default()
            };
            assert_eq!(Tally::of(&answers), served);
            for (identity, answer) in answers {
                assert_eq!(answer.unwrap().id, Some(identity.id));
            }
            // One batch for all, on behalf of nobody.
            assert_eq!(loader.batches(), vec!["batch: - public"; round]);
            let outside = Tally::of(&server.ask_all("/outside"));
            assert_eq!((outside.served, outside.lost), (REQUESTS, REQUESTS));
        }
    });
}
