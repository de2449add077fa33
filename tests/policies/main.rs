//! Which context each hop gives its unit of work: a copy of the caller's, in which `local`
//! variables are left out, or the one it is given, as it is.

mod background;
mod batches;
mod caches;
mod given;
#[path = "../../crates/conformance/src/here.rs"]
mod here;
mod inherits;
#[cfg(feature = "rayon")]
mod jobs;
mod messages;
mod pools;
#[path = "../common/threads.rs"]
mod threads;

use std::future::Future;
use std::rc::Rc;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{ContextAwareExecutor, FromSchedule, JoinHandle};
use aiocontextvars::{Context, ContextExt, context_var, copy_context, shim};
use futures::channel::oneshot;
use futures::future::{self, FutureExt, LocalBoxFuture};

use crate::here::Here;

context_var! {
    static ID: u64;
    #[local] static CONNECTION: u64;
}

/// What a unit of work finds in [`ID`] and in [`CONNECTION`].
type Seen = (Option<u64>, Option<u64>);

fn see() -> Seen {
    (ID.get(), CONNECTION.get())
}

async fn sees() -> Seen {
    see()
}

fn context(id: u64, connection: u64) -> Context {
    Context::new()
        .with_value(&ID, id)
        .with_value(&CONNECTION, connection)
}

/// What a unit of work has seen, for who can wait.
type Answer = LocalBoxFuture<'static, Seen>;

type Callback = Box<dyn FnOnce() + Send>;

/// The answer of a callback.
fn called(schedule: impl FnOnce(Callback)) -> Answer {
    let (sender, receiver) = oneshot::channel();
    schedule(Box::new(move || sender.send(see()).unwrap()));
    Box::pin(receiver.map(Result::unwrap))
}

/// The answer of a task that has no handle.
fn executed(execute: impl FnOnce(future::BoxFuture<'static, ()>)) -> Answer {
    let (sender, receiver) = oneshot::channel();
    execute(Box::pin(async { sender.send(see()).unwrap() }));
    Box::pin(receiver.map(Result::unwrap))
}

fn awaited(task: JoinHandle<Seen>) -> Answer {
    Box::pin(task.map(Result::unwrap))
}

fn joined(thread: std::thread::JoinHandle<Seen>) -> Answer {
    at_once(thread.join().unwrap())
}

fn at_once(seen: Seen) -> Answer {
    Box::pin(future::ready(seen))
}

fn pool() -> ContextAwareExecutor<FromSchedule> {
    threads::threads(1)
}

/// Starts something on an event loop, and runs that until the answer is there.
fn on_a_loop(start: impl FnOnce(&EventLoop) -> Answer) -> Seen {
    let event_loop = EventLoop::new();
    let answer = start(&event_loop);
    event_loop.run_until_complete(answer)
}

/// The same on another executor of one thread, which may have a fixed context.
fn on_a_local_pool(
    context: Option<Context>,
    start: impl FnOnce(&ContextAwareExecutor<Rc<Here>>) -> Answer,
) -> Seen {
    let here = Rc::new(Here::default());
    let executor = match context {
        Some(context) => ContextAwareExecutor::fixed(Rc::clone(&here), context),
        None => ContextAwareExecutor::new(Rc::clone(&here)),
    };
    let answer = start(&executor);
    here.run_until(answer)
}

/// A service that answers with what it sees when it is called, and in its future.
#[cfg(feature = "tower")]
struct Service;

#[cfg(feature = "tower")]
impl tower_service::Service<()> for Service {
    type Response = [Seen; 2];
    type Error = ();
    type Future = LocalBoxFuture<'static, Result<[Seen; 2], ()>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), ()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let called = see();
        Box::pin(async move { Ok([called, see()]) })
    }
}

/// The answer of the service, which is the same twice.
#[cfg(feature = "tower")]
fn served(answer: impl Future<Output = Result<[Seen; 2], ()>> + 'static) -> Answer {
    Box::pin(answer.map(|seen| {
        let [called, seen] = seen.unwrap();
        assert_eq!(called, seen);
        seen
    }))
}

/// Calls `hop` where [`ID`] is 1 and [`CONNECTION`] is 2, and both are others before anybody waits
/// for the answer.
fn from_a_caller<A: Future<Output = Seen>>(hop: impl FnOnce() -> A) -> impl Future<Output = Seen> {
    async move {
        let answer = hop();
        ID.set(8);
        CONNECTION.set(9);
        let seen = answer.await;
        assert_eq!(see(), (Some(8), Some(9)), "nothing comes out");
        seen
    }
    .in_context(context(1, 2))
}

#[test]
fn local_variables_are_left_behind_where_a_context_is_inherited() {
    for (name, hop) in inherits::hops() {
        let seen = EventLoop::new().run_until_complete(from_a_caller(hop));
        assert_eq!(seen, (Some(1), None), "{name}");
    }
    for (name, run) in inherits::runs() {
        // On a thread that runs nothing else.
        let seen = context(1, 2).run(|| {
            let seen = run();
            assert_eq!(see(), (Some(1), Some(2)), "{name}");
            seen
        });
        assert_eq!(seen, (Some(1), None), "{name}");
    }
}

#[test]
fn a_context_that_is_given_is_taken_as_it_is() {
    // One with a local variable, an empty one, and a copy of the caller's.
    let contexts: [(fn() -> Context, Seen); 3] = [
        (|| context(3, 4), (Some(3), Some(4))),
        (Context::new, (None, None)),
        (copy_context, (Some(1), Some(2))),
    ];
    for (context, expected) in contexts {
        for (name, hop) in given::hops().into_iter().chain(given::fixed_hops()) {
            let seen = from_a_caller(|| hop(context()));
            let seen = EventLoop::new().run_until_complete(seen);
            assert_eq!(seen, expected, "{name}");
        }
        for (name, run) in given::runs() {
            let seen = crate::context(1, 2).run(|| run(context()));
            assert_eq!(seen, expected, "{name}");
        }
    }
}

#[test]
fn within_a_unit_of_work_local_variables_are_as_others() {
    let seen = from_a_caller(|| async {
        assert_eq!(see(), (Some(8), Some(9)));
        ID.set(1);
        CONNECTION.set(2);
        let (awaited, joined) = futures::join!(sees(), sees());
        assert_eq!(awaited, joined);
        let timed = shim::timeout(std::time::Duration::from_secs(60), sees()).await;
        assert_eq!(timed, Ok(joined));
        assert_eq!(ID.scope(5, sees()).await, (Some(5), Some(2)));
        assert_eq!(CONNECTION.scope(5, sees()).await, (Some(1), Some(5)));
        assert_eq!(ID.sync_scope(5, see), (Some(5), Some(2)));
        assert_eq!(copy_context().run(see), joined);
        let seen = see();
        ID.set(8);
        CONNECTION.set(9);
        seen
    });
    let seen = EventLoop::new().run_until_complete(seen);
    assert_eq!(seen, (Some(1), Some(2)));
}

/// A value that is `local` is not held by what was inherited either.
#[test]
fn what_is_left_behind_is_not_pinned() {
    use std::sync::Arc;
    context_var! {
        static HELD: Arc<()>;
        #[local] static LEFT: Arc<()>;
    }
    let (held, left) = (Arc::new(()), Arc::new(()));
    let inherits: [fn() -> Box<dyn Send>; 3] = [
        || Box::new(future::pending::<()>().in_current_context()),
        || Box::new(shim::bind(|| ())),
        || {
            let event_loop = EventLoop::new();
            Box::new(event_loop.handle().spawn(future::pending::<()>()))
        },
    ];
    for inherit in inherits {
        let mut caller = Context::new()
            .with_value(&HELD, Arc::clone(&held))
            .with_value(&LEFT, Arc::clone(&left));
        let pending = caller.run(inherit);
        drop(caller);
        assert_eq!(Arc::strong_count(&left), 1);
        drop(pending);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

/// The code of a page, without its indentation.
fn unindented(code: &str) -> String {
    let lines = code.lines().map(str::trim_start);
    lines.map(|line| line.to_owned() + "\n").collect()
}

#[test]
fn the_page_has_the_code_of_these_tests() {
    let files = [
        include_str!("background.rs"),
        include_str!("batches.rs"),
        include_str!("caches.rs"),
        include_str!("jobs.rs"),
        include_str!("pools.rs"),
        // With a real server.
        include_str!("../../examples/jobs/tests/row_level_security.rs"),
    ];
    let code = files.map(unindented);
    let page = include_str!("../../docs/policies.md");
    let mut blocks = 0;
    for block in page.split("```rust,ignore\n").skip(1) {
        let block = unindented(block.split("```").next().unwrap());
        let is_there = code.iter().any(|code| code.contains(&block));
        assert!(is_there, "not in these files:\n{block}");
        blocks += 1;
    }
    assert!(blocks >= 7, "only {blocks} blocks");
}
