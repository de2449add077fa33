//! Workers of message brokers: each message's job runs in the context that its headers bring, and
//! is acknowledged when that context is gone.

mod amqp;
#[cfg(feature = "kafka")]
mod kafka;
mod redis;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use aiocontextvars::propagation::{Extractor, Problem, Propagator};
use aiocontextvars::shim::{self, JoinError};
use aiocontextvars::{Context, context_var, copy_context};

context_var! {
    static TENANT: String;
    static REQUEST_ID: u64;
    /// What an attempt has set, and the next one must not see.
    static PROGRESS: u32;
    static VALUE: Arc<()>;
}

static INSIDE: LazyLock<Propagator> = LazyLock::new(|| {
    Propagator::new()
        .both("tenant", &TENANT)
        .both("request-id", &REQUEST_ID)
});

/// Runs a job in the context that its message brings. It starts from an empty one, and not from
/// what is current here: what this message does not say, no other one says for it.
async fn deliver<F>(headers: &impl Extractor, job: F) -> Result<F::Output, JoinError>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut received = INSIDE.extract(Context::new(), headers);
    let problems = received.problems;
    received.context.run(|| problems.iter().for_each(log));
    // In a task of its own: a panic is an error here, and when the task has ended, its context
    // is gone, before anything is acknowledged.
    shim::spawn_in(received.context, job).await
}

fn log(problem: &Problem) {
    eprintln!("{:?}: {problem}", TENANT.get());
    let mut problems = PROBLEMS.lock().unwrap();
    problems.push((TENANT.get(), problem.to_string()));
}

static PROBLEMS: Mutex<Vec<(Option<String>, String)>> = Mutex::new(Vec::new());

// What checks it.

const TENANTS: [&str; 4] = ["acme", "globex", "initech", "Käse & Co=100%"];
const JOBS: u64 = 20;
/// A number that is none, from a producer of another kind.
const POISON: &str = "tenant=poisoned,request-id=x7";
const POISONED: u64 = JOBS;

/// What the attempts of each job saw.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<BTreeMap<u64, Vec<String>>>>);

impl Ledger {
    /// Does a job, whose payload is its number. One in five panics at its first attempt.
    async fn job(self, payload: Vec<u8>) {
        let number = String::from_utf8(payload).unwrap().parse().unwrap();
        let seen = whose();
        PROGRESS.set(1);
        let attempts = {
            let mut jobs = self.0.lock().unwrap();
            let attempts = jobs.entry(number).or_default();
            attempts.push(seen);
            attempts.len()
        };
        shim::yield_now().await;
        if number % 5 == 0 && attempts == 1 {
            std::panic::resume_unwind(Box::new("the first attempt"));
        }
    }

    fn check(&self, broker: &str) {
        let mut jobs = self.0.lock().unwrap();
        let poisoned = jobs.remove(&POISONED).unwrap();
        let expected = format!(
            "{:?} {:?} None",
            Some(format!("poisoned-{broker}")),
            None::<u64>
        );
        assert_eq!(poisoned, vec![expected; 2]);
        let expected: BTreeMap<_, _> = (0..JOBS)
            .map(|number| {
                let seen = context(number).call(whose);
                let attempts = if number % 5 == 0 { 2 } else { 1 };
                (number, vec![seen; attempts])
            })
            .collect();
        assert_eq!(*jobs, expected);
        let problems = PROBLEMS.lock().unwrap();
        let tenant = Some(format!("poisoned-{broker}"));
        let of_broker = problems.iter().filter(|(of, _)| *of == tenant);
        // At each of its two deliveries.
        assert_eq!(of_broker.count(), 2);
        assert!(copy_context().is_empty());
    }

    fn attempts(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }
}

/// All attempts of all jobs.
const ATTEMPTS: usize = JOBS as usize + JOBS as usize / 5 + 2;

fn whose() -> String {
    format!(
        "{:?} {:?} {:?}",
        TENANT.get(),
        REQUEST_ID.get(),
        PROGRESS.get()
    )
}

fn context(number: u64) -> Context {
    let tenant = TENANTS[number as usize % TENANTS.len()].to_owned();
    let context = Context::new().with_value(&REQUEST_ID, 1000 + number);
    context.with_value(&TENANT, tenant)
}

fn poison(broker: &str) -> String {
    POISON.replace("poisoned", &format!("poisoned-{broker}"))
}

#[tokio::test]
async fn the_context_of_a_job_is_gone_before_its_message_is_acknowledged() {
    let headers = vec![("baggage".to_owned(), "tenant=acme".to_owned())];
    for panics in [false, true] {
        let value = Arc::new(());
        let of_job = Arc::clone(&value);
        let delivered = deliver(&headers, async move {
            VALUE.set(of_job);
            // It would outlive the job if it kept the context.
            let task = shim::spawn(async { TENANT.get() });
            assert_eq!(task.await.unwrap().unwrap(), "acme");
            if panics {
                std::panic::resume_unwind(Box::new("on purpose"));
            }
        });
        assert_eq!(delivered.await.is_err(), panics);
        assert_eq!(Arc::strong_count(&value), 1);
        assert!(copy_context().is_empty());
    }
}
