//! What tasks, callbacks and timers allocate: beside the runtime's own where it has any.

use std::time::Duration;

use aiocontextvars::event_loop::{EventLoop, LoopHandle};
use aiocontextvars::shim::JoinHandle;
use aiocontextvars::{ContextExt, copy_context, shim};

use crate::counting::{alone, by_this_thread, count};
use crate::{ID, context_of};

const TIMES: u64 = 1000;

/// How often `counter` goes up while `spawn` makes a task and awaits it, `TIMES` times.
async fn of_tasks(counter: fn() -> u64, spawn: impl AsyncFn()) -> u64 {
    // Queues and lists grow to the length that they need.
    for _ in 0..TIMES {
        spawn().await;
    }
    let before = counter();
    for _ in 0..TIMES {
        spawn().await;
    }
    counter() - before
}

/// What a task of the shim does.
async fn work() -> Option<u64> {
    shim::yield_now().await;
    ID.get()
}

/// Tasks of the shim that `spawn` makes, with ten variables to inherit.
async fn ours_by(counter: fn() -> u64, spawn: impl Fn() -> JoinHandle<Option<u64>>) -> u64 {
    let spawn = async || assert_eq!(spawn().await.unwrap(), Some(1));
    let context = context_of(9).with_value(&ID, 1);
    of_tasks(counter, spawn).in_context(context).await
}

/// The same by the free function.
#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std"))]
async fn ours(counter: fn() -> u64) -> u64 {
    ours_by(counter, || shim::spawn(work())).await
}

/// What `shim::spawn` boxes where it does not find the first of tokio, smol and async-std by its name:
/// the future, the same with its output boxed, that output and the handle.
#[cfg(any(feature = "smol", feature = "async-std"))]
fn boxes(is_first: bool) -> u64 {
    if is_first { 0 } else { 4 * TIMES }
}

#[test]
fn a_task_of_the_event_loop_is_one_allocation_and_with_a_runtime_compiled_in_a_box() {
    let _alone = alone();
    let of = |spawn: fn() -> JoinHandle<Option<u64>>| {
        EventLoop::new().run_until_complete(ours_by(by_this_thread, spawn))
    };
    let counted = [
        of(|| shim::spawn(work())),
        of(|| shim::try_spawn(work()).unwrap()),
        of(|| shim::spawn_in(copy_context(), work())),
    ];
    let is_first = !cfg!(any(
        feature = "tokio",
        feature = "smol",
        feature = "async-std"
    ));
    let expected = if is_first { [1, 1, 1] } else { [2, 2, 5] };
    assert_eq!(counted, expected.map(|each| each * TIMES));
}

#[test]
fn a_callback_of_the_event_loop_is_one_allocation() {
    fn call(left: u64, event_loop: LoopHandle) {
        match left {
            0 => event_loop.stop(),
            left => drop(shim::call_soon(move || call(left - 1, event_loop))),
        }
    }
    let _alone = alone();
    let event_loop = EventLoop::new();
    let chain = |times| {
        let handle = event_loop.handle();
        event_loop.call_soon(move || call(times, handle));
        count(|| event_loop.run_forever())
    };
    let base = chain(0);
    assert_eq!(chain(TIMES) - base, TIMES);
}

#[test]
fn a_timer_of_the_event_loop_is_two_allocations() {
    let _alone = alone();
    let event_loop = EventLoop::with_virtual_clock();
    let cancelled = || {
        for _ in 0..TIMES {
            event_loop
                .call_later(Duration::from_secs(1), || ())
                .cancel();
        }
    };
    count(cancelled);
    // The room for cancelled ones is given back now and then.
    let counted = count(cancelled);
    assert!(
        (2 * TIMES..2 * TIMES + TIMES / 5).contains(&counted),
        "{counted}"
    );
}

/// Compares tasks of the runtime, bare and through the shim, counted over all threads.
///
/// The least of several rounds, since the harness of the tests has a thread too.
#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std"))]
fn costs_no_more(bare: impl Fn() -> u64, ours: impl Fn() -> u64) {
    costs_boxes(0, bare, ours);
}

/// The same, if our tasks are boxed.
#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std"))]
fn costs_boxes(boxes: u64, bare: impl Fn() -> u64, ours: impl Fn() -> u64) {
    let _alone = alone();
    let least = |round: &dyn Fn() -> u64| (0..5).map(|_| round()).min().unwrap();
    let (bare, ours) = (least(&bare), least(&ours));
    assert!(bare >= TIMES, "{bare}");
    // A runtime's queue that grows by blocks is off by one of them, by where a round begins.
    assert!(
        ours.abs_diff(bare + boxes) <= 1,
        "{ours} beside {bare} and {boxes} boxes"
    );
}

#[cfg(feature = "tokio")]
mod tokio {
    use super::*;
    use crate::counting::by_all_threads;
    use ::tokio::runtime::{Builder, Runtime};
    use ::tokio::task;

    fn compare(runtime: &Runtime) {
        let spawn = async || {
            let task = ::tokio::spawn(async {
                task::yield_now().await;
                Some(1)
            });
            assert_eq!(task.await.unwrap(), Some(1));
        };
        costs_no_more(
            || runtime.block_on(of_tasks(by_all_threads, spawn)),
            || runtime.block_on(ours(by_all_threads)),
        );
    }

    #[test]
    fn a_task_of_a_tokio_thread_costs_no_more() {
        compare(&Builder::new_current_thread().build().unwrap());
    }

    #[test]
    fn a_task_of_tokio_s_threads_costs_no_more() {
        compare(&Builder::new_multi_thread().build().unwrap());
    }
}

#[cfg(feature = "smol")]
mod smol {
    use std::sync::Arc;

    use super::*;
    use crate::counting::by_all_threads;
    use ::smol::{Executor, block_on, future};
    use aiocontextvars::shim::ContextAwareExecutor;

    #[test]
    fn a_task_of_smol_s_threads_costs_no_more() {
        let spawn = async || {
            let task = ::smol::spawn(async {
                future::yield_now().await;
                Some(1)
            });
            assert_eq!(task.await, Some(1));
        };
        let bare = || block_on(of_tasks(by_all_threads, spawn));
        costs_no_more(bare, || {
            shim::smol::block_on(ours_by(by_all_threads, || shim::smol::spawn(work())))
        });
        costs_boxes(boxes(!cfg!(feature = "tokio")), bare, || {
            shim::smol::block_on(ours(by_all_threads))
        });
    }

    #[test]
    fn a_task_of_a_smol_executor_costs_no_more() {
        let executor = Arc::new(Executor::new());
        let spawn = async || {
            let task = executor.spawn(async {
                future::yield_now().await;
                Some(1)
            });
            assert_eq!(task.await, Some(1));
        };
        let wrapped = ContextAwareExecutor::new(Arc::clone(&executor));
        let bare = || block_on(executor.run(of_tasks(by_all_threads, spawn)));
        costs_no_more(bare, || {
            wrapped.block_on(ours_by(by_all_threads, || wrapped.spawn(work())))
        });
        costs_boxes(boxes(false), bare, || {
            wrapped.block_on(ours(by_all_threads))
        });
    }
}

#[cfg(feature = "async-std")]
mod async_std {
    use super::*;
    use crate::counting::by_all_threads;
    use ::async_std::task;

    #[test]
    fn a_task_of_async_std_costs_no_more() {
        let spawn = async || {
            let task = task::spawn(async {
                task::yield_now().await;
                Some(1)
            });
            assert_eq!(task.await, Some(1));
        };
        let bare = || task::block_on(of_tasks(by_all_threads, spawn));
        costs_no_more(bare, || {
            shim::async_std::block_on(ours_by(by_all_threads, || shim::async_std::spawn(work())))
        });
        let is_first = !cfg!(any(feature = "tokio", feature = "smol"));
        costs_boxes(boxes(is_first), bare, || {
            shim::async_std::block_on(ours(by_all_threads))
        });
    }
}
