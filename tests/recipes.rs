//! The code of `docs/testing.md`: one fresh context for each test, on any runtime, with fixtures.
#![cfg(all(feature = "tokio", feature = "smol"))]

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, Runner};
use aiocontextvars::{Context, ContextExt, SharedContext, context_var, copy_context};

context_var! {
    static TENANT: String = "public".to_owned();
    static USER: String;
}

/// Code under test.
fn greeting() -> String {
    format!("hello, {}", TENANT.get())
}

/// The same, in a task of its own.
async fn greeting_of_a_task() -> String {
    shim::spawn(async { greeting() }).await.unwrap()
}

#[test]
fn a_tenant_is_greeted() {
    Context::new().run(|| {
        assert_eq!(greeting(), "hello, public");
        TENANT.set("acme".to_owned());
        assert_eq!(greeting(), "hello, acme");
    });
}

#[tokio::test]
async fn a_tenant_is_greeted_on_tokio() {
    let test = async {
        TENANT.set("acme".to_owned());
        assert_eq!(greeting_of_a_task().await, "hello, acme");
    };
    test.in_context(Context::new()).await;
}

#[test]
fn a_tenant_is_greeted_on_smol() {
    let test = || {
        shim::smol::block_on(async {
            TENANT.set("acme".to_owned());
            assert_eq!(greeting_of_a_task().await, "hello, acme");
        });
    };
    Context::new().run(test);
}

#[test]
fn a_reminder_knows_its_tenant() {
    let test = || {
        EventLoop::with_virtual_clock().run_until_complete(async {
            let sent = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&sent);
            TENANT.set("acme".to_owned());
            shim::call_later(Duration::from_secs(3600), move || {
                log.lock().unwrap().push(greeting());
            });
            TENANT.set("other".to_owned());
            shim::sleep(Duration::from_secs(3601)).await;
            assert_eq!(*sent.lock().unwrap(), ["hello, acme"]);
        });
    };
    Context::new().run(test);
}

fn runners() -> Vec<(&'static str, Runner)> {
    let multi_thread = tokio::runtime::Runtime::new().unwrap();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let current_thread = builder.enable_all().build().unwrap();
    vec![
        ("event loop", Runner::new()),
        ("smol", Runner::on(shim::smol::executor())),
        (
            "tokio",
            Runner::from_block_on(move |future| multi_thread.block_on(future)),
        ),
        (
            "tokio, one thread",
            Runner::from_block_on(move |future| current_thread.block_on(future)),
        ),
    ]
}

#[test]
fn a_tenant_is_greeted_on_every_runtime() {
    for (name, mut runner) in runners() {
        let context = Context::new().with_value(&TENANT, "acme".to_owned());
        let greeting = runner.run_in(context, greeting_of_a_task());
        assert_eq!(greeting, "hello, acme", "{name}");
    }
}

/// A fixture: sets what tests need.
fn signed_in(user: &str) {
    USER.set(user.to_owned());
}

/// Another, that takes time.
async fn tenant_of_the_user() {
    let user = USER.get().unwrap();
    shim::yield_now().await;
    TENANT.set(format!("{user}'s"));
}

#[test]
fn fixtures_share_the_context_of_their_test() {
    Context::new().run(|| {
        let mut runner = Runner::new();
        runner.run(async { signed_in("ada") });
        runner.run(tenant_of_the_user());
        runner.run(async { assert_eq!(greeting_of_a_task().await, "hello, ada's") });
        // What cleans up sees all of it.
        runner.run(async { assert_eq!(USER.get().as_deref(), Some("ada")) });
    });
}

/// A fixture that is a context: what calls fixtures may do so before the test begins, as those of
/// `rstest` are.
fn acme() -> Context {
    Context::new().with_value(&TENANT, "acme".to_owned())
}

#[test]
fn a_fixture_that_is_a_context() {
    let context = acme();
    assert_eq!(context.bind(greeting)(), "hello, acme");
}

#[tokio::test]
async fn a_fixture_that_is_a_context_on_tokio() {
    let context = acme();
    let greeting = greeting_of_a_task().in_context(context).await;
    assert_eq!(greeting, "hello, acme");
}

#[tokio::test]
async fn what_a_function_sets() {
    let context = SharedContext::new();
    let test = async {
        signed_in("ada");
        tenant_of_the_user().await;
    };
    test.in_context(&context).await;
    assert_eq!(context.get(&TENANT).as_deref(), Some("ada's"));
    assert!(context.contains(&USER));
    // And nothing else.
    assert_eq!(context.len(), 2);
    assert!(!copy_context().contains(&USER));
}

/// Runs functions on a thread: a library under test.
struct Worker(mpsc::Sender<Box<dyn FnOnce() + Send>>);

impl Worker {
    fn start() -> Worker {
        let (sender, receiver) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        thread::spawn(move || receiver.into_iter().for_each(|job| job()));
        Worker(sender)
    }

    fn submit(&self, job: impl FnOnce() + Send + 'static) {
        // Without `bind`, jobs would find what the thread has, which is nothing.
        self.0.send(Box::new(shim::bind(job))).unwrap();
    }
}

#[test]
fn jobs_have_a_copy_of_the_submitters_context() {
    let worker = Worker::start();
    Context::new().run(|| {
        let (sender, seen) = mpsc::channel();
        for tenant in ["acme", "other"] {
            let sender = sender.clone();
            TENANT.set(tenant.to_owned());
            worker.submit(move || {
                let before = TENANT.get();
                // Neither the submitter nor the next job is to see this.
                TENANT.set("set by a job".to_owned());
                sender.send(before).unwrap();
            });
        }
        // Captured when it was submitted.
        TENANT.set("later".to_owned());
        assert_eq!(seen.recv(), Ok("acme".to_owned()));
        assert_eq!(seen.recv(), Ok("other".to_owned()));
        assert_eq!(TENANT.get(), "later");
    });
}

#[test]
fn a_worker_keeps_no_values() {
    context_var! { static HELD: Arc<()>; }
    let worker = Worker::start();
    let held = Arc::new(());
    let (done, wait) = mpsc::channel::<()>();
    Context::new()
        .with_value(&HELD, Arc::clone(&held))
        .run(|| worker.submit(move || drop(done)));
    assert!(wait.recv().is_err());
    // Whatever comes behind the job comes after its end.
    let (next, wait) = mpsc::channel();
    worker.submit(move || next.send(()).unwrap());
    wait.recv().unwrap();
    assert_eq!(Arc::strong_count(&held), 1);
}

/// Where a harness runs several tests on one thread.
#[test]
fn no_test_sees_another_on_the_same_thread() {
    for test in [
        a_tenant_is_greeted,
        a_tenant_is_greeted_on_tokio,
        a_tenant_is_greeted_on_smol,
        a_reminder_knows_its_tenant,
        a_tenant_is_greeted_on_every_runtime,
        fixtures_share_the_context_of_their_test,
        a_fixture_that_is_a_context,
        a_fixture_that_is_a_context_on_tokio,
        what_a_function_sets,
        jobs_have_a_copy_of_the_submitters_context,
        a_worker_keeps_no_values,
    ] {
        let before = copy_context().len();
        test();
        test();
        assert_eq!(copy_context().len(), before);
        assert_eq!((TENANT.get().as_str(), USER.get()), ("public", None));
    }
}

#[test]
fn the_page_has_the_code_of_this_file() {
    let (page, code) = (
        include_str!("../docs/testing.md"),
        include_str!("recipes.rs"),
    );
    // That section is tested where axum is.
    let (before, section) = page.split_once("\n## Servers and subscribers\n").unwrap();
    let (_, after) = section.split_once("\n## ").unwrap();
    let page = [before, after].concat();
    let mut blocks = 0;
    for block in page.split("```rust,ignore\n").skip(1) {
        let block = block.split("```").next().unwrap();
        assert!(code.contains(block), "not in this file:\n{block}");
        blocks += 1;
    }
    assert!(blocks >= 10, "only {blocks} blocks");
}
