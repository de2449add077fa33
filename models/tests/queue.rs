//! The callback queue: threads that add, and the driver that runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aiocontextvars_models::{Drops, Exclusive, Steps, check};
use loom::thread;

/// Counts callbacks and ends the executor after the last one.
#[derive(Clone)]
struct Countdown {
    left: Arc<AtomicUsize>,
    steps: Steps,
}

impl Countdown {
    fn new(count: usize, steps: &Steps) -> Countdown {
        Countdown {
            left: Arc::new(AtomicUsize::new(count)),
            steps: steps.clone(),
        }
    }

    fn one(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.steps.finish();
        }
    }
}

/// What is added from another thread is run, whether the driver is about to wait, about to end, or
/// gone.
///
/// Fails if an addition does not wake the driver, wakes it before it is in the queue, or does not
/// start one; if the driver ends, or waits, without a last look under the lock.
#[test]
fn what_is_added_is_run() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        let all = Countdown::new(3, &steps);
        let other = {
            let (executor, all) = (executor.clone(), all.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    let all = all.clone();
                    executor.call_soon(move || all.one());
                }
            })
        };
        executor.call_soon(move || all.one());
        steps.run();
        other.join().unwrap();
    });
}

/// Two callbacks never run at once, also when two threads run the executor's steps, and each
/// thread's are run in order.
///
/// Fails if an addition starts a driver beside the one that there is, or a driver that ends forgets
/// to look for what has been added.
#[test]
fn one_at_a_time_and_in_order() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        let running = Exclusive::new();
        let last = Arc::new(AtomicUsize::new(0));
        let all = Countdown::new(2, &steps);
        let worker = steps.worker();
        for number in 1..=2 {
            let (running, last, all) = (running.clone(), last.clone(), all.clone());
            executor.call_soon(move || {
                running.touch();
                assert_eq!(last.swap(number, Ordering::SeqCst), number - 1);
                all.one();
            });
        }
        steps.run();
        worker.join().unwrap();
        assert_eq!(running.times(), 2);
    });
}

/// What a callback schedules, which takes no lock, and what others add meanwhile are both run, each
/// once.
///
/// Fails if the line of a turn is not looked at again, or the driver takes what others have added
/// for the line's.
#[test]
fn from_within_and_from_outside() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        let all = Countdown::new(3, &steps);
        let running = Exclusive::new();
        let other = {
            let (executor, all, running) = (executor.clone(), all.clone(), running.clone());
            thread::spawn(move || {
                executor.call_soon(move || {
                    running.touch();
                    all.one();
                });
            })
        };
        executor.call_soon({
            let (executor, all, running) = (executor.clone(), all.clone(), running.clone());
            move || {
                running.touch();
                executor.call_soon({
                    let (all, running) = (all.clone(), running.clone());
                    move || {
                        running.touch();
                        all.one();
                    }
                });
                all.one();
            }
        });
        steps.run();
        other.join().unwrap();
        assert_eq!(running.times(), 3);
    });
}

/// A callback that is added while the executor ends is dropped, once, or has run.
///
/// Fails if a queue that is dropped does not discard its entries: their handles would keep them.
#[test]
fn added_while_the_executor_ends() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        let dropped = Drops::new();
        let add = {
            let (executor, dropped) = (executor.clone(), dropped.clone());
            move || {
                let held = dropped.value();
                executor.call_soon(move || drop(held))
            }
        };
        let first = add();
        let other = thread::spawn(add);
        steps.end();
        let second = other.join().unwrap();
        drop(executor);
        assert_eq!(dropped.count(), 2, "while the handles are alive");
        drop((first, second));
        assert_eq!(dropped.count(), 2);
    });
}
