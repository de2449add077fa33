//! The service: a request enqueues a job, in the context of the request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aiocontextvars::propagation::Propagator;
use aiocontextvars::shim;
use aiocontextvars::shim::tower::HttpContextLayer;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;

use crate::BoxError;
use crate::job::{Headers, Job, Kind, REQUEST_ID, TENANT, now};
use crate::plan::{Request, TICKS, poison};
use crate::queue::Queue;

/// At the edge nobody is believed: these variables go out, and none comes in.
static EDGE: LazyLock<Propagator> = LazyLock::new(|| {
    Propagator::new()
        .send("tenant", &TENANT)
        .send("request-id", &REQUEST_ID)
});

/// Members of requests that the edge has not believed.
pub(crate) static REFUSED: AtomicUsize = AtomicUsize::new(0);

const DELAY: Duration = Duration::from_millis(500);
const PERIOD: Duration = Duration::from_millis(200);

pub(crate) fn router(queue: Arc<Queue>) -> Router {
    let layer = HttpContextLayer::new().extracting(&EDGE).on_problem(|_| {
        REFUSED.fetch_add(1, Ordering::Relaxed);
    });
    Router::new()
        .route("/{kind}/{tenant}/{request_id}/{number}", post(handle))
        .with_state(queue)
        .layer(layer)
}

async fn handle(
    State(queue): State<Arc<Queue>>,
    Path((kind, tenant, request_id, number)): Path<(String, String, u64, u64)>,
) -> Result<StatusCode, (StatusCode, String)> {
    let request = Request::named(&kind).ok_or((StatusCode::NOT_FOUND, kind))?;
    // A real service has this from what it has authenticated.
    TENANT.set(tenant);
    REQUEST_ID.set(request_id);
    match enqueue(&queue, request, number).await {
        Ok(()) => Ok(StatusCode::ACCEPTED),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// Knows of no tenant: the queue takes it from the context.
async fn enqueue(queue: &Arc<Queue>, request: Request, number: u64) -> Result<(), BoxError> {
    let job = |kind| Job { number, kind };
    match request {
        Request::Now => queue.push(job(Kind::Now)).await,
        Request::Stuck => queue.push(job(Kind::Stuck)).await,
        Request::Delayed => {
            let due = now() + DELAY.as_millis() as u64;
            queue.push(job(Kind::Delayed(due))).await
        }
        Request::Periodic => {
            let queue = Arc::clone(queue);
            // The task inherits the context of the request that has asked for it.
            shim::spawn(async move {
                for number in number..number + TICKS {
                    shim::sleep(PERIOD).await;
                    let kind = Kind::Now;
                    if let Err(error) = queue.push(Job { number, kind }).await {
                        eprintln!("jobs: a periodic job was not enqueued: {error}");
                    }
                }
            })
            .detach();
            Ok(())
        }
        // As another program might write it.
        Request::Poisoned => {
            let header = poison(number, &TENANT.get().unwrap_or_default()).header;
            let headers = Headers::from([("baggage".to_owned(), header)]);
            queue.push_with(job(Kind::Now), headers).await
        }
    }
}
