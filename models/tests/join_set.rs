//! A set of tasks: who waits for the next one that ends.

use std::future;

use aiocontextvars::shim::JoinSet;
use aiocontextvars_models::{Steps, check, yield_once};
use loom::future::block_on;
use loom::thread;

/// The end of a task wakes who waits for the set, also when it comes while the set asks.
///
/// Fails if a task is taken off the list after it was asked, or the waiter is registered then.
#[test]
fn a_task_that_ends_wakes_the_set() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        let mut tasks = JoinSet::new();
        tasks.spawn_on(&executor, async {
            yield_once().await;
            7
        });
        let worker = steps.worker();
        let output = block_on(tasks.join_next());
        assert_eq!(output.unwrap().unwrap(), 7);
        assert!(block_on(tasks.join_next()).is_none());
        steps.finish();
        worker.join().unwrap();
    });
}

/// Two tasks, one of which another thread aborts.
#[test]
fn each_task_comes_once() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        let mut tasks = JoinSet::new();
        let abort = tasks.spawn_on(&executor, future::pending::<u8>());
        tasks.spawn_on(&executor, async { 7 });
        let aborter = thread::spawn(move || {
            abort.abort();
        });
        steps.run_ready();
        let mut outputs = Vec::new();
        let first = block_on(tasks.join_next()).unwrap();
        outputs.extend(first);
        aborter.join().unwrap();
        steps.run_ready();
        outputs.extend(block_on(tasks.join_next()).unwrap());
        assert_eq!(outputs, [7]);
        assert!(tasks.is_empty());
    });
}
