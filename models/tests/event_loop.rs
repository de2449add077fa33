//! The event loop: parking, and being unparked from other threads.

use std::future;
use std::sync::Arc;
use std::task::Poll;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars_models::{Drops, Exclusive, check};
use loom::future::AtomicWaker;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

/// A callback from another thread reaches a loop that is about to park.
///
/// Fails if the parker forgets an unpark that comes before the park, an addition does not unpark,
/// or the loop parks without a last look at the queue.
#[test]
fn a_callback_unparks_the_loop() {
    check(|| {
        let event_loop = EventLoop::new();
        let handle = event_loop.handle();
        let called = Exclusive::new();
        let other = {
            let called = called.clone();
            thread::spawn(move || {
                let stop = handle.clone();
                handle.call_soon_threadsafe(move || {
                    called.touch();
                    stop.stop();
                });
            })
        };
        event_loop.run_forever();
        other.join().unwrap();
        assert_eq!(called.times(), 1);
        called.touch();
    });
}

/// A stop from another thread ends a loop that runs, or that runs next.
///
/// Fails if `stop` does not unpark, unparks before it says so, or a run forgets a stop that came
/// before it.
#[test]
fn a_stop_unparks_the_loop() {
    check(|| {
        let event_loop = EventLoop::new();
        let handle = event_loop.handle();
        let other = thread::spawn(move || handle.stop());
        event_loop.run_forever();
        other.join().unwrap();
    });
}

/// The main future is polled again when another thread wakes it, also during its poll.
///
/// Fails if `WakeMain` resets its mark after the poll, or the wake-up of a main future that is
/// queued is lost.
#[test]
fn the_main_future_is_woken() {
    check(|| {
        let event_loop = EventLoop::new();
        let (sender, receiver) = channel();
        let other = thread::spawn(move || sender.send());
        event_loop.run_until_complete(receiver.wait());
        other.join().unwrap();
    });
}

/// What is done before a wake-up is seen by the poll after it, also when the main future was in the
/// line already.
///
/// Fails if a poll takes back the mark by a store, which does not see what was done before the mark
/// was set again.
#[test]
fn a_poll_sees_what_came_before_the_wake() {
    check(|| {
        let event_loop = EventLoop::new();
        let sent = Arc::new(AtomicBool::new(false));
        let mut other = None;
        let main = future::poll_fn(|cx| {
            // No waker is left at a second poll, so that the flag is all that orders the threads.
            if other.is_none() {
                let (sent, waker) = (sent.clone(), cx.waker().clone());
                other = Some(thread::spawn(move || {
                    sent.store(true, Ordering::Release);
                    waker.wake();
                }));
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if sent.load(Ordering::Acquire) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        event_loop.run_until_complete(main);
        other.unwrap().join().unwrap();
    });
}

/// A task that other threads abort ends, and whoever awaits it on the loop hears of it.
///
/// Fails if the other thread notes the abort itself, which a step that has just been scheduled need
/// not see.
#[test]
fn a_local_task_is_aborted_from_another_thread() {
    check(|| {
        let event_loop = EventLoop::new();
        let dropped = Drops::new();
        let held = dropped.value();
        let task = event_loop.spawn(async move {
            let _held = held;
            future::pending::<()>().await;
        });
        let abort = task.abort_handle();
        let other = thread::spawn(move || abort.abort());
        let outcome = event_loop.run_until_complete(task);
        assert!(outcome.unwrap_err().is_cancelled());
        assert_eq!(dropped.count(), 1);
        other.join().unwrap();
    });
}

/// A task that is spawned from another thread while the loop is dropped runs to its end or is
/// dropped.
///
/// Fails if the closed queue keeps later entries.
#[test]
fn spawned_while_the_loop_goes() {
    check(|| {
        let event_loop = EventLoop::new();
        let handle = event_loop.handle();
        let dropped = Drops::new();
        let held = dropped.value();
        let other = thread::spawn(move || {
            let task = handle.spawn(async move { drop(held) });
            drop(task);
            handle
        });
        drop(event_loop);
        let handle = other.join().unwrap();
        assert_eq!(dropped.count(), 1, "while a handle is alive");
        drop(handle);
    });
}

/// A flag with one who waits for it, made of loom's parts.
fn channel() -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        sent: AtomicBool::new(false),
        waker: AtomicWaker::new(),
    });
    (Sender(shared.clone()), Receiver(shared))
}

struct Shared {
    sent: AtomicBool,
    waker: AtomicWaker,
}

struct Sender(Arc<Shared>);

impl Sender {
    fn send(self) {
        self.0.sent.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

struct Receiver(Arc<Shared>);

impl Receiver {
    async fn wait(self) {
        future::poll_fn(|cx| {
            self.0.waker.register_by_ref(cx.waker());
            if self.0.sent.load(Ordering::Acquire) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}
