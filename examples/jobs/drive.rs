//! A run: the service, its clients, its workers, and what has become of the jobs.

use std::process;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::BoxError;
use crate::args::{Backend, Run};
use crate::ledger::{Ledger, Tally};
use crate::plan::{Planned, plan};
use crate::queue::Queue;
use crate::report::Outcome;
use crate::service::{self, REFUSED};
use crate::workers::Workers;
use crate::{job, memory};

const WORKERS: usize = 2;
/// Requests in flight.
const AT_ONCE: usize = 16;
/// A run in which nothing happens for this long hangs.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// Headers from outside, which nobody believes.
const FORGED: &str = "tenant=forged,request-id=13";
const FORGED_MEMBERS: usize = 2;

/// What came out, and the first complaints.
pub(crate) struct Ran {
    pub(crate) tally: Tally,
    pub(crate) complaints: Vec<String>,
}

pub(crate) fn run(run: &Run, runtime: &Runtime) -> Result<Ran, BoxError> {
    let plan = plan(run.jobs, run.kill);
    let mut ledger = Ledger::new(&plan);
    let (reports, reported) = mpsc::channel();
    let name = format!("jobs-{}-{}", process::id(), job::now());
    let (queue, mut workers) = match &run.backend {
        Backend::Memory => {
            let (sinks, queues) = (0..WORKERS).map(|_| memory::queue()).unzip();
            (
                Queue::Memory(sinks),
                Workers::tasks(runtime, queues, &reports),
            )
        }
        Backend::Server(engine, url) => {
            let queue = runtime.block_on(Queue::create(*engine, url, &name))?;
            let server = (*engine, url.as_str());
            (queue, Workers::processes(WORKERS, server, &name, &reports)?)
        }
    };
    let queue = Arc::new(queue);
    let forged = plan.iter().filter(|planned| planned.forged).count();
    let mut load = Some(runtime.spawn(load(plan, Arc::clone(&queue))));

    let bar = progress(&ledger);
    let mut last = Instant::now();
    let mut killed = false;
    while !ledger.is_complete() && last.elapsed() < LIMIT {
        workers.check()?;
        if let Some(load) = load.take_if(|load| load.is_finished()) {
            runtime.block_on(load)??;
        }
        let Ok(report) = reported.recv_timeout(LOOK) else {
            continue;
        };
        last = Instant::now();
        ledger.enter(&report);
        bar.set_position(ledger.done());
        if report.outcome == Outcome::Stuck && !killed {
            killed = true;
            workers.kill(report.worker)?;
        }
    }
    bar.finish_and_clear();
    if run.kill && !killed {
        return Err("no worker was killed: the job that waits for that was not delivered".into());
    }
    if let Some(load) = load {
        runtime.block_on(load)??;
    }
    workers.stop(runtime)?;
    runtime.block_on(queue.delete())?;
    // What was delivered again meanwhile.
    reported.try_iter().for_each(|report| ledger.enter(&report));

    let refused = REFUSED.load(Ordering::Relaxed);
    let mut complaints = ledger.complaints().to_vec();
    let mut tally = ledger.tally();
    if refused != forged * FORGED_MEMBERS {
        tally.unexpected += 1;
        complaints.push(format!(
            "{refused} members of {forged} forged headers were refused"
        ));
    }
    Ok(Ran { tally, complaints })
}

/// Sends the requests.
async fn load(plan: Vec<Planned>, queue: Arc<Queue>) -> Result<(), BoxError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let served = tokio::spawn(axum::serve(listener, service::router(queue)).into_future());
    let client = Client::builder(TokioExecutor::new()).build_http();
    let ask = async |planned: Planned| {
        let mut request = Request::post(format!("http://{address}{}", planned.path));
        if planned.forged {
            request = request.header("baggage", FORGED);
        }
        let response = client.request(request.body(Empty::<Bytes>::new())?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status != StatusCode::ACCEPTED {
            let body = String::from_utf8_lossy(&body);
            return Err(format!("the service answers {status}: {body}").into());
        }
        Ok::<_, BoxError>(())
    };
    let mut answers = stream::iter(plan).map(ask).buffer_unordered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        answer?;
    }
    served.abort();
    Ok(())
}

/// A bar on standard error, if that is a terminal.
fn progress(ledger: &Ledger) -> ProgressBar {
    let bar = ProgressBar::new(ledger.jobs());
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} jobs") {
        bar.set_style(style);
    }
    bar
}
