//! Cancelling a callback or timer while it is run.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{CallHandle, Clock, ContextAwareExecutor, Executor, Runnable};
use aiocontextvars_models::{Drops, Exclusive, Steps, TouchedOnDrop, check, yield_once};
use futures::future::BoxFuture;
use loom::thread;

type Callback = Box<dyn FnOnce() + Send>;

/// Schedules a callback and has it cancelled by another thread, while `run` runs what is due.
/// `settle` runs what the cancellation has left. The callback has been called or dropped then, and
/// the handle knows which.
fn call_or_cancel(
    schedule: impl FnOnce(Callback) -> CallHandle,
    run: impl FnOnce(),
    settle: impl FnOnce(),
) {
    let dropped = Drops::new();
    let touched = Exclusive::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let handle = schedule({
        let (calls, touched, held) = (calls.clone(), touched.clone(), dropped.value());
        Box::new(move || {
            calls.fetch_add(1, Ordering::SeqCst);
            touched.touch();
            drop(held);
        })
    });
    let canceller = thread::spawn(move || {
        handle.cancel();
        handle.is_cancelled()
    });
    run();
    let cancelled = canceller.join().unwrap();
    settle();
    assert_eq!(calls.load(Ordering::SeqCst), usize::from(!cancelled));
    assert_eq!(dropped.count(), 1);
    touched.touch();
}

/// A callback that is cancelled while its turn comes is either called or dropped.
///
/// Fails if `discard` or `run` looks and takes under different locks, if `cancel` notes what it did
/// not do, or keeps the closure.
#[test]
fn called_or_cancelled() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        call_or_cancel(|f| executor.call_soon(f), || steps.run_ready(), || ());
    });
}

/// Whoever sees that a callback was cancelled sees all that its destructors have done.
///
/// Fails if `cancelled` is set or read as `Relaxed`, or set before the closure is dropped.
#[test]
fn cancelled_means_dropped() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        let touched = Exclusive::new();
        let held = TouchedOnDrop(touched.clone());
        let handle = Arc::new(executor.call_soon(move || drop(held)));
        let canceller = {
            let handle = handle.clone();
            thread::spawn(move || handle.cancel())
        };
        if handle.is_cancelled() {
            touched.touch();
        }
        canceller.join().unwrap();
        steps.run_ready();
    });
}

/// Of two who cancel, one is told that it came in time, and the closure is dropped once.
#[test]
fn cancelled_twice() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        let dropped = Drops::new();
        let held = dropped.value();
        let handle = Arc::new(executor.call_soon(move || drop(held)));
        let canceller = {
            let handle = handle.clone();
            thread::spawn(move || handle.cancel())
        };
        handle.cancel();
        canceller.join().unwrap();
        assert!(handle.is_cancelled(), "nothing ran");
        assert_eq!(dropped.count(), 1);
        steps.run_ready();
        assert_eq!(dropped.count(), 1);
    });
}

/// A closure that stays on its thread and is cancelled from another is called or dropped there,
/// once.
///
/// Fails if both sides take the closure, or the key of one that was cancelled gets lost.
#[test]
fn called_here_or_cancelled_elsewhere() {
    check(|| {
        let event_loop = EventLoop::new();
        let turn = || event_loop.run_until_complete(yield_once());
        // What another thread has cancelled goes at the next turn.
        call_or_cancel(|f| event_loop.call_soon(f), turn, turn);
    });
}

/// An executor on whose clock no time passes.
struct Still {
    steps: Steps,
    clock: Arc<StillClock>,
}

struct StillClock {
    now: Instant,
    sleepers: Arc<AtomicUsize>,
}

/// Never wakes. Counts among the sleepers until it is dropped.
struct Asleep(Arc<AtomicUsize>);

impl Future for Asleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Clock for StillClock {
    fn now(&self) -> Instant {
        self.now
    }

    fn sleep_until(&self, _: Instant) -> BoxFuture<'static, ()> {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        Box::pin(Asleep(Arc::clone(&self.sleepers)))
    }
}

impl Executor for Still {
    fn schedule(&self, task: Runnable) {
        self.steps.schedule(task);
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }
}

/// The driver of a queue whose only timer is cancelled hears of it and ends, whether it has begun
/// to wait or not.
///
/// Fails if a cancellation does not wake the driver, or the driver looks for timers before it
/// leaves its waker.
#[test]
fn nobody_waits_for_a_cancelled_timer() {
    check(|| {
        let steps = Steps::new();
        let sleepers = Arc::new(AtomicUsize::new(0));
        let executor = ContextAwareExecutor::new(Still {
            steps: steps.clone(),
            clock: Arc::new(StillClock {
                now: Instant::now(),
                sleepers: sleepers.clone(),
            }),
        });
        let dropped = Drops::new();
        let held = dropped.value();
        let timer = executor.call_later(Duration::from_secs(1), move || {
            drop(held);
            unreachable!("no time passes");
        });
        let canceller = thread::spawn(move || timer.cancel());
        steps.run_ready();
        canceller.join().unwrap();
        assert_eq!(dropped.count(), 1);
        // If the driver had begun to wait, it was woken.
        steps.run_ready();
        assert_eq!(sleepers.load(Ordering::SeqCst), 0, "the driver waits");
    });
}
