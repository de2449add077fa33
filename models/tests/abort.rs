//! A task's handle: aborting, awaiting and asking, while the task ends.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{JoinError, TaskGroup};
use aiocontextvars_models::{Drops, Exclusive, Steps, TouchedOnDrop, check, yield_once};
use loom::future::block_on;
use loom::thread;

/// Awaits a task that another thread aborts meanwhile, and returns what it ended with. Its
/// destructors have run by then.
fn abort_while_awaited(future: impl Future<Output = u8> + Send + 'static) -> Result<u8, JoinError> {
    let steps = Steps::new();
    let executor = steps.executor();
    let dropped = Drops::new();
    let held = dropped.value();
    let task = executor.spawn(async move {
        let _held = held;
        future.await
    });
    let abort = task.abort_handle();
    let worker = steps.worker();
    let aborter = thread::spawn(move || abort.abort());
    let outcome = block_on(task);
    assert_eq!(dropped.count(), 1);
    aborter.join().unwrap();
    steps.finish();
    worker.join().unwrap();
    outcome
}

/// Whoever awaits a task that is aborted meanwhile hears of its end.
///
/// Fails if an awaiter that finds somebody at work on the handle is forgotten, or is not woken by
/// whoever saw the end.
#[test]
fn aborted_while_awaited() {
    check(|| {
        let outcome = abort_while_awaited(async {
            yield_once().await;
            7
        });
        match outcome {
            Ok(output) => assert_eq!(output, 7),
            Err(error) => assert!(error.is_cancelled()),
        }
    });
}

/// The same for a task that never ends.
///
/// Fails if the awaiter is not woken by whoever saw the end.
#[test]
fn a_pending_task_is_aborted_while_awaited() {
    check(|| {
        let outcome = abort_while_awaited(std::future::pending());
        assert!(outcome.unwrap_err().is_cancelled());
    });
}

/// A done-callback that is added while another thread aborts the task is called.
///
/// Fails if a watcher, or an abort, that comes while somebody works on the handle is forgotten.
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

/// Two who abort get in nobody's way.
///
/// Fails if one who finds another at work on the handle takes the task for ended, or the note that
/// it leaves is lost.
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
/// Fails if `Done::end` looks and closes under different locks, or a wake-up of the watcher is
/// forgotten that comes while somebody works on the handle.
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
        let worker = steps.worker();
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
        let worker = steps.worker();
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
        steps.finish();
        worker.join().unwrap();
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
        let _abort = task.abort_handle();
        let dropper = thread::spawn(move || drop(task));
        steps.run_ready();
        dropper.join().unwrap();
        steps.run_ready();
        assert_eq!(dropped.count(), 1, "while an abort handle is alive");
    });
}
