//! A task's handle: aborting, awaiting and asking, while the task ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, TaskGroup};
use aiocontextvars_models::{Drops, Exclusive, Steps, check, yield_once};
use loom::future::block_on;
use loom::thread;

/// Runs steps on a thread of the model while `body` goes on here.
fn beside_a_worker(steps: &Steps, body: impl FnOnce()) {
    let worker = {
        let steps = steps.clone();
        thread::spawn(move || steps.run())
    };
    body();
    steps.finish();
    worker.join().unwrap();
}

/// Whoever awaits a task that is aborted meanwhile hears of its end, and its destructors have run by then.
///
/// Fails if an awaiter that finds somebody at work on the handle is forgotten, or is not woken by whoever saw the end.
#[test]
fn aborted_while_awaited() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        let dropped = Drops::new();
        let held = dropped.value();
        let task = executor.spawn(async move {
            let _held = held;
            yield_once().await;
            7
        });
        let abort = task.abort_handle();
        beside_a_worker(&steps, || {
            let aborter = thread::spawn(move || abort.abort());
            match block_on(task) {
                Ok(output) => assert_eq!(output, 7),
                Err(error) => assert!(error.is_cancelled()),
            }
            assert_eq!(dropped.count(), 1);
            aborter.join().unwrap();
        });
    });
}

/// The same for a task that never ends by itself: no abort is forgotten.
///
/// Fails if the note of an abort that finds somebody at work on the handle is not seen to.
#[test]
fn a_pending_task_is_aborted_while_awaited() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        let dropped = Drops::new();
        let held = dropped.value();
        let task = executor.spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let abort = task.abort_handle();
        beside_a_worker(&steps, || {
            let aborter = thread::spawn(move || abort.abort());
            assert!(block_on(task).unwrap_err().is_cancelled());
            assert_eq!(dropped.count(), 1);
            aborter.join().unwrap();
        });
    });
}

/// A done-callback that is added while another thread aborts the task is called.
///
/// Fails if a watcher that comes while somebody works on the handle is forgotten.
#[test]
fn a_callback_is_added_during_an_abort() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        let task = executor.spawn(std::future::pending::<()>());
        let abort = task.abort_handle();
        let aborter = thread::spawn(move || abort.abort());
        let _entered = executor.enter();
        let last = steps.clone();
        task.add_done_callback(move || last.finish());
        steps.run();
        aborter.join().unwrap();
    });
}

/// Two who abort, and one who asks, get in nobody's way.
///
/// Fails if one who finds another at work on the handle takes the task for ended, or the note that it leaves is lost.
#[test]
fn aborted_twice() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        let dropped = Drops::new();
        let held = dropped.value();
        let task = executor.spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let abort = task.abort_handle();
        let aborter = {
            let abort = abort.clone();
            thread::spawn(move || abort.abort())
        };
        abort.abort();
        aborter.join().unwrap();
        steps.run_ready();
        assert!(abort.is_finished());
        assert_eq!(dropped.count(), 1);
        assert!(block_on(task).unwrap_err().is_cancelled());
    });
}

/// Whoever sees that a local task has ended sees all that its destructors have done.
///
/// Fails if `finished` is set or read as `Relaxed`, or set before the future is dropped.
#[test]
fn finished_means_dropped() {
    struct TouchedOnDrop(Exclusive);

    impl Drop for TouchedOnDrop {
        fn drop(&mut self) {
            self.0.touch();
        }
    }

    check(|| {
        let event_loop = EventLoop::new();
        let touched = Exclusive::new();
        let held = TouchedOnDrop(touched.clone());
        let task = event_loop.spawn(async move {
            let _held = held;
        });
        let abort = task.abort_handle();
        let other = thread::spawn(move || {
            if abort.is_finished() {
                touched.touch();
            }
        });
        event_loop.run_until_complete(task).unwrap();
        other.join().unwrap();
    });
}

/// A done-callback that is added while the task ends is called once, and in order.
///
/// Fails if `Done::end` looks and closes under different locks, or a wake-up of the watcher is forgotten that comes while
/// somebody works on the handle.
#[test]
fn a_callback_is_added_at_the_end() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        let calls = Arc::new(AtomicUsize::new(0));
        let task = executor.spawn(async {});
        let note = |place: usize| {
            let (calls, steps) = (calls.clone(), steps.clone());
            move || {
                assert_eq!(calls.fetch_add(1, Ordering::SeqCst), place);
                if place == 1 {
                    steps.finish();
                }
            }
        };
        let worker = {
            let steps = steps.clone();
            thread::spawn(move || steps.run())
        };
        let _entered = executor.enter();
        task.add_done_callback(note(0));
        task.add_done_callback(note(1));
        worker.join().unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    });
}

/// Leaving a group waits for a task that ends, or fails, meanwhile.
///
/// Fails if a task's end does not wake the group, or the group looks before it leaves its waker.
#[test]
fn a_group_waits() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        let dropped = Drops::new();
        let held = dropped.value();
        beside_a_worker(&steps, || {
            let _entered = executor.enter();
            let ended = block_on(TaskGroup::scope(|group| async move {
                group
                    .spawn(async move {
                        let _held = held;
                        Err::<(), _>("out of paper")
                    })
                    .detach();
                Ok(())
            }));
            assert_eq!(ended.unwrap_err().failures().len(), 1);
            assert_eq!(dropped.count(), 1);
        });
    });
}

/// A task that nobody awaits, and whose handle is dropped while it ends, is released.
#[test]
fn the_handle_goes_while_the_task_ends() {
    check(|| {
        let steps = Steps::new();
        let executor = steps.executor();
        let dropped = Drops::new();
        let output = dropped.value();
        let task = executor.spawn(async move { output });
        let abort = task.abort_handle();
        let dropper = thread::spawn(move || drop(task));
        steps.run_ready();
        dropper.join().unwrap();
        steps.run_ready();
        assert_eq!(dropped.count(), 1, "while an abort handle is alive");
        drop(abort);
        drop(executor);
        let _no_executor = shim::try_spawn(async {});
    });
}
