//! What holds without blocking: each test is a future, in Node as well as in a browser.

use std::cell::RefCell;
use std::fmt::Write;
use std::future::{self, Future};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, ContextAwareExecutor, Executor, JoinHandle, Runnable};
use aiocontextvars::{ContextExt, SharedContext, context_var, copy_context};
use futures::FutureExt;
use futures::channel::{mpsc, oneshot};
use futures::stream::StreamExt;
use js_sys::Promise;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

context_var! {
    static ID: u64;
}

/// Notes the value of [`ID`] when it is dropped.
struct SeesOnDrop(Rc<RefCell<Vec<Option<u64>>>>);

impl Drop for SeesOnDrop {
    fn drop(&mut self) {
        self.0.borrow_mut().push(ID.get());
    }
}

/// A value that stays on its thread, and this program has only one.
type Seen = Rc<RefCell<Vec<Option<u64>>>>;

async fn tasks_start_in_a_copy_of_the_context() {
    ID.set(1);
    let child = shim::spawn(async {
        let first = ID.get();
        ID.set(5);
        shim::yield_now().await;
        let grandchild = shim::wasm::spawn(async { ID.get() });
        (first, ID.get(), grandchild.await.unwrap())
    });
    ID.set(2);
    assert_eq!(child.await.unwrap(), (Some(1), Some(5), Some(5)));
    assert_eq!(ID.get(), Some(2));
}

async fn a_task_finds_its_context_after_awaiting_javascript() {
    ID.set(1);
    let other = shim::spawn_local(async {
        ID.set(9);
        shim::sleep(Duration::from_millis(2)).await;
        ID.get()
    });
    let task = shim::spawn_local(async {
        let promise = Promise::resolve(&JsValue::from(4));
        let value: JsValue = wasm_bindgen_futures::JsFuture::from(promise).await.unwrap();
        (value.as_f64(), ID.get())
    });
    assert_eq!(task.await.unwrap(), (Some(4.0), Some(1)));
    assert_eq!(other.await.unwrap(), Some(9));
}

async fn local_tasks_need_nothing_entered() {
    ID.set(3);
    let value = Rc::new(1);
    let inner = Rc::clone(&value);
    let task = shim::spawn_local(async move {
        let nested = shim::spawn_local(async move { (*inner, ID.get()) });
        nested.await.unwrap()
    });
    assert_eq!(task.await.unwrap(), (1, Some(3)));
    assert_eq!(Rc::strong_count(&value), 1);
}

async fn an_aborted_task_is_dropped_in_its_context() {
    let seen = Seen::default();
    ID.set(1);
    let (started, wait) = oneshot::channel();
    let probe = SeesOnDrop(Rc::clone(&seen));
    let task = shim::spawn_local(async move {
        let _probe = probe;
        ID.set(7);
        started.send(()).unwrap();
        future::pending::<()>().await;
    });
    wait.await.unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!((seen.take(), ID.get()), (vec![Some(7)], Some(1)));
}

async fn a_dropped_handle_detaches() {
    let (done, wait) = oneshot::channel();
    drop(shim::spawn(async move { done.send(1).unwrap() }));
    assert_eq!(wait.await, Ok(1));
}

async fn callbacks_run_in_order_and_timers_by_deadline() {
    let (sender, mut receiver) = mpsc::unbounded();
    let tell = |name: &'static str| {
        let sender = sender.clone();
        move || sender.unbounded_send((name, ID.get())).unwrap()
    };
    ID.set(1);
    // Not from the time of each call: the first ones take long.
    let start = shim::now();
    shim::call_at(start + Duration::from_millis(8), tell("late"));
    shim::call_at(start + Duration::from_millis(2), tell("early"));
    shim::call_soon(tell("first"));
    ID.set(2);
    shim::call_soon_local(tell("local"));
    let cancelled = shim::call_later(Duration::from_millis(1), tell("cancelled"));
    cancelled.cancel();
    shim::call_soon(tell("second"));
    let mut found = Vec::new();
    for _ in 0..5 {
        found.push(receiver.next().await.unwrap());
    }
    // Local callbacks have a queue of their own.
    found.retain(|found| *found != ("local", Some(2)));
    let expected = [
        ("first", Some(1)),
        ("second", Some(2)),
        ("early", Some(1)),
        ("late", Some(1)),
    ];
    assert_eq!(found, expected);
}

async fn the_clock_goes_on_and_sleeps_last_as_long_as_they_should() {
    let start = shim::now();
    shim::sleep(Duration::from_millis(5)).await;
    assert!(shim::now() - start >= Duration::from_millis(5));
    let result = shim::timeout(Duration::from_millis(1), future::pending::<()>()).await;
    assert!(result.is_err());
    // Dropped before its time.
    assert!(
        shim::sleep(Duration::from_secs(3600))
            .now_or_never()
            .is_none()
    );
}

async fn blocking_jobs_run_in_a_later_turn() {
    ID.set(1);
    let job = shim::spawn_blocking(|| ID.set(ID.get().unwrap() + 1).var_name().len());
    assert!(!job.is_finished());
    assert!(job.await.is_ok());
    assert_eq!(ID.get(), Some(1));
}

async fn blocking_is_an_error_that_says_what_to_do() {
    let error = shim::try_block_on(async {}).unwrap_err();
    assert!(error.to_string().contains("spawn_local"), "{error}");
    let executor = ContextAwareExecutor::new(shim::wasm::Global::default());
    assert!(executor.try_block_on(async {}).is_err());
}

async fn a_built_in_event_loop_runs_what_does_not_wait() {
    ID.set(1);
    let event_loop = EventLoop::with_virtual_clock();
    let found = event_loop.run_until_complete(async {
        let task = shim::spawn(async { ID.get() });
        shim::sleep(Duration::from_secs(3600)).await;
        task.await.unwrap()
    });
    assert_eq!(found, Some(1));
}

async fn an_executor_of_ones_own_has_timers_and_jobs() {
    struct Microtasks;

    impl Executor for Microtasks {
        fn schedule(&self, task: Runnable) {
            wasm_bindgen_futures::spawn_local(async move { task.run() });
        }
    }

    let executor = ContextAwareExecutor::new(Microtasks);
    ID.set(4);
    let task = executor.spawn(async {
        shim::sleep(Duration::from_millis(1)).await;
        let job = shim::spawn_blocking(|| ID.get()).await.unwrap();
        (ID.get(), job)
    });
    assert_eq!(task.await.unwrap(), (Some(4), Some(4)));
}

async fn a_shared_context_passes_from_task_to_task() {
    let shared = SharedContext::new();
    let add = || async {
        ID.set(ID.get().unwrap_or(0) + 1);
        shim::yield_now().await;
    };
    let tasks: Vec<JoinHandle<()>> = (0..3).map(|_| shim::spawn_in(&shared, add())).collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(shared.get(&ID), Some(3));
}

async fn two_tasks_interleave_in_one_context() {
    let shared = SharedContext::new();
    let (to_second, second_may) = oneshot::channel();
    let (to_first, first_may) = oneshot::channel();
    let first = shim::spawn_in(&shared, async move {
        ID.set(10);
        to_second.send(()).unwrap();
        first_may.await.unwrap();
        ID.get()
    });
    let second = shim::spawn_in(&shared, async move {
        second_may.await.unwrap();
        let before = ID.get();
        ID.set(20);
        to_first.send(()).unwrap();
        before
    });
    assert_eq!(second.await.unwrap(), Some(10));
    assert_eq!(first.await.unwrap(), Some(20));
    assert_eq!((shared.get(&ID), ID.get()), (Some(20), None));
}

/// What the documentation warns of: a bare task's write goes to the thread's own context.
async fn a_bare_task_is_put_into_a_context_by_hand() {
    let (done, wait) = oneshot::channel();
    ID.set(1);
    let task = async move {
        ID.set(2);
        done.send(ID.get()).unwrap();
    };
    wasm_bindgen_futures::spawn_local(task.in_current_context());
    assert_eq!((wait.await, ID.get()), (Ok(Some(2)), Some(1)));
}

/// Runs all tests, each as a task of its own with an empty context. A line for each begins with
/// "ok" or "failed".
#[wasm_bindgen]
pub async fn tests() -> String {
    AssertUnwindSafe(run()).await
}

async fn run() -> String {
    type Test = Pin<Box<dyn Future<Output = ()>>>;

    macro_rules! list {
        ($($name:ident)*) => {
            [$((stringify!($name), Box::pin($name()) as Test),)*]
        };
    }

    let all = list! {
        tasks_start_in_a_copy_of_the_context
        a_task_finds_its_context_after_awaiting_javascript
        local_tasks_need_nothing_entered
        an_aborted_task_is_dropped_in_its_context
        a_dropped_handle_detaches
        callbacks_run_in_order_and_timers_by_deadline
        the_clock_goes_on_and_sleeps_last_as_long_as_they_should
        blocking_jobs_run_in_a_later_turn
        blocking_is_an_error_that_says_what_to_do
        a_built_in_event_loop_runs_what_does_not_wait
        an_executor_of_ones_own_has_timers_and_jobs
        a_shared_context_passes_from_task_to_task
        two_tasks_interleave_in_one_context
        a_bare_task_is_put_into_a_context_by_hand
    };
    let mut lines = Vec::new();
    for (name, test) in all {
        let limit = shim::timeout(
            Duration::from_secs(10),
            AssertUnwindSafe(test).catch_unwind(),
        );
        let mut line = String::new();
        match shim::spawn_local(limit).await {
            Ok(Ok(Ok(()))) => write!(line, "ok {name}").unwrap(),
            Ok(Ok(Err(payload))) => {
                let text = payload.downcast_ref::<String>().map_or("", String::as_str);
                write!(line, "failed {name}: {text}").unwrap();
            }
            outcome => write!(
                line,
                "failed {name}: {}",
                if outcome.is_err() {
                    "cancelled"
                } else {
                    "hung"
                }
            )
            .unwrap(),
        }
        lines.push(line);
    }
    // Nothing of it is left on the thread.
    lines.push(format!(
        "{} nothing_is_left_on_the_thread",
        if copy_context().is_empty() {
            "ok"
        } else {
            "failed"
        }
    ));
    lines.join("\n")
}
