//! A job: which variables travel with it, and what it does.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aiocontextvars::propagation::{Extractor, Problem, Propagator};
use aiocontextvars::{Context, context_var, shim};
use serde::{Deserialize, Serialize};

use crate::report::{Look, Outcome, Report, Reporter};

context_var! {
    pub(crate) static TENANT: String;
    pub(crate) static REQUEST_ID: u64;
    /// How far an attempt has come. The next attempt has to begin without it.
    static PROGRESS: u64;
    /// What was wrong with the headers of the message.
    static PROBLEMS: Vec<Problem> = Vec::new();
}

/// What travels from the service to its workers.
pub(crate) static INSIDE: LazyLock<Propagator> = LazyLock::new(|| {
    Propagator::new()
        .both("tenant", &TENANT)
        .max_len(32)
        .both("request-id", &REQUEST_ID)
});

/// The headers of a job's message.
pub(crate) type Headers = HashMap<String, String>;

/// How long a job works.
const WORK: Duration = Duration::from_millis(5);
/// One in so many jobs panics on its first delivery.
const PANICS_EVERY: u64 = 5;

/// What a job does, apart from its context.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Job {
    pub(crate) number: u64,
    pub(crate) kind: Kind,
}

/// When a job runs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Kind {
    /// At once. Some of these panic on their first delivery.
    Now,
    /// Not before this time, in milliseconds since 1970.
    Delayed(u64),
    /// At once, and its first delivery never ends: its worker is going to be killed.
    Stuck,
}

impl Job {
    /// How long the job is not to be run yet.
    pub(crate) fn delay(&self) -> Option<Duration> {
        match self.kind {
            Kind::Delayed(due) => {
                let left = due.saturating_sub(now());
                (left > 0).then(|| Duration::from_millis(left))
            }
            Kind::Now | Kind::Stuck => None,
        }
    }

    pub(crate) fn panics_at_first(&self) -> bool {
        self.kind == Kind::Now && self.number.is_multiple_of(PANICS_EVERY)
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}

/// Whether the headers of messages are ignored, to see what goes wrong then.
static BARE: AtomicBool = AtomicBool::new(false);

pub(crate) fn ignore_headers() {
    BARE.store(true, Ordering::Relaxed);
}

pub(crate) fn is_bare() -> bool {
    BARE.load(Ordering::Relaxed)
}

/// The context that a job is to run in. It starts from an empty one, not from the worker's: what
/// this message does not say, it must not have from anybody else.
pub(crate) fn context(headers: &impl Extractor) -> Context {
    if is_bare() {
        return Context::new();
    }
    let received = INSIDE.extract(Context::new(), headers);
    received.context.with_value(&PROBLEMS, received.problems)
}

/// Does the job, in its context. `delivery` counts from 1.
pub(crate) async fn run(job: Job, delivery: u64, reporter: Reporter) {
    let left_over = PROGRESS.get();
    PROGRESS.set(delivery);
    let early = job.delay().is_some();
    let mut looks = vec![look("start")];
    let report = |looks, outcome| {
        let problems = PROBLEMS.get();
        reporter.send(Report {
            worker: reporter.worker,
            job: job.number,
            looks,
            left_over,
            early,
            problems: problems.iter().map(Problem::to_string).collect(),
            outcome,
        });
    };
    if job.kind == Kind::Stuck && delivery == 1 {
        report(looks, Outcome::Stuck);
        return std::future::pending().await;
    }

    shim::sleep(WORK).await;
    looks.push(look("sleep"));
    looks.extend(shim::spawn(async { look("task") }).await);
    looks.extend(shim::spawn_blocking(|| look("blocking job")).await);
    if job.panics_at_first() && delivery == 1 {
        report(looks, Outcome::Panicked);
        // A panic without its message on standard error.
        std::panic::resume_unwind(Box::new("the first delivery"));
    }
    report(looks, Outcome::Done);
}

fn look(hop: &str) -> Look {
    Look {
        hop: hop.to_owned(),
        tenant: TENANT.get(),
        request_id: REQUEST_ID.get(),
    }
}
