//! What is tokio's own: its paused clock, its budget, its ways to shut down.
#![cfg(feature = "tokio")]

use std::future;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, ContextAwareExecutor};
use aiocontextvars::{Context, ContextExt, SharedContext, context_var};
use futures::FutureExt;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

context_var! {
    static ID: u64;
}

fn multi_thread() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_time().build().unwrap()
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// The text that `f` panics with.
fn panic_text(f: impl FnOnce()) -> String {
    let payload = panic::catch_unwind(AssertUnwindSafe(f)).unwrap_err();
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn timers_follow_the_paused_clock() {
    let start = shim::now();
    let order = Arc::new(Mutex::new(Vec::new()));
    ID.set(1);
    for hours in [3, 1, 2, 1] {
        let order = Arc::clone(&order);
        let timer = shim::call_later(Duration::from_secs(3600 * hours), move || {
            let after = (shim::now() - start).as_secs() / 3600;
            order.lock().unwrap().push((hours, after, ID.get()));
        });
        assert_eq!(timer.when() - start, Duration::from_secs(3600 * hours));
    }
    ID.set(2);
    shim::sleep(Duration::from_secs(3 * 3600 + 1)).await;
    assert_eq!(
        *order.lock().unwrap(),
        [
            (1, 1, Some(1)),
            (1, 1, Some(1)),
            (2, 2, Some(1)),
            (3, 3, Some(1))
        ]
    );
    let elapsed = shim::timeout(Duration::from_secs(60), future::pending::<()>()).await;
    assert!(elapsed.is_err());
    assert_eq!((shim::now() - start).as_secs(), 3 * 3600 + 61);
}

#[test]
fn a_runtime_without_timers_refuses_them_at_the_call() {
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let text = panic_text(|| drop(shim::call_later(Duration::from_secs(1), || ())));
        assert!(text.contains("time"), "{text}");
        // Callbacks without a delay work all the same, and so do those after the refusal.
        let (sender, receiver) = futures::channel::oneshot::channel();
        shim::call_soon(move || sender.send(()).unwrap());
        receiver.await.unwrap();
    });
}

#[test]
fn values_that_go_in_a_foreign_task_may_be_those_that_write() {
    /// Tells whether a write was let through.
    struct Writes(mpsc::Sender<bool>);
    impl Drop for Writes {
        fn drop(&mut self) {
            self.0.send(ID.try_set(2).is_ok()).unwrap();
        }
    }
    context_var! { static WRITES: Writes; }
    let (sender, receiver) = mpsc::channel();
    let context = || Context::new().with_value(&WRITES, Writes(sender.clone()));
    current_thread().block_on(async {
        shim::spawn(async {}).await.unwrap();
        let wrapped = async { ID.get() }.in_context(context());
        let bound = context().bind(|| ID.get());
        let shared = async { ID.get() }.in_context(context().share());
        assert_eq!(tokio::spawn(wrapped).await.unwrap(), None);
        assert_eq!(tokio::spawn(shared).await.unwrap(), None);
        assert_eq!(tokio::task::spawn_blocking(bound).await.unwrap(), None);
    });
    drop(sender);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [true, true, true]);
}

/// tokio drops a task that is spawned at a shutdown within the spawn, and lets nobody enter a
/// runtime there.
#[test]
fn a_destructor_starts_timers_within_a_spawn_at_a_shutdown() {
    struct Starts(Arc<AtomicUsize>);
    impl Drop for Starts {
        fn drop(&mut self) {
            assert_eq!(ID.get(), Some(7));
            let second = Duration::from_secs(1);
            drop(shim::call_later(second, || unreachable!()));
            drop(shim::call_at(shim::now() + second, || unreachable!()));
            drop(shim::tokio::executor().call_later(second, || unreachable!()));
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    struct Spawns(Option<Starts>);
    impl Drop for Spawns {
        fn drop(&mut self) {
            shim::spawn(until_dropped(self.0.take())).detach();
        }
    }
    async fn until_dropped<T>(_held: T) {
        future::pending::<()>().await;
    }
    for runtime in [multi_thread(), current_thread()] {
        let ended = Arc::new(AtomicUsize::new(0));
        let spawns = Spawns(Some(Starts(Arc::clone(&ended))));
        runtime.block_on(async {
            let work = ID.scope(7, async { shim::spawn(until_dropped(spawns)).detach() });
            shim::spawn(work).await.unwrap();
        });
        drop(runtime);
        assert_eq!(ended.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn shutdown_drops_tasks_and_callbacks_in_their_contexts() {
    struct SeesOnDrop(mpsc::Sender<Option<u64>>);
    impl Drop for SeesOnDrop {
        fn drop(&mut self) {
            self.0.send(ID.get()).unwrap();
        }
    }
    for runtime in [multi_thread(), current_thread()] {
        let (sender, seen) = mpsc::channel();
        let probe = || SeesOnDrop(sender.clone());
        runtime.block_on(
            async {
                ID.set(1);
                let (task, timer, queued) = (probe(), probe(), probe());
                let task = shim::spawn(async move {
                    let _task = task;
                    ID.set(2);
                    future::pending::<()>().await;
                });
                shim::call_later(Duration::from_secs(3600), move || drop(timer));
                shim::yield_now().await;
                task.detach();
                // Never gets its turn on a runtime of one thread, and may on the other.
                shim::spawn(async move { drop(queued) }).detach();
                ID.set(3);
            }
            .in_current_context(),
        );
        drop(runtime);
        drop(sender);
        let mut seen: Vec<_> = seen.iter().collect();
        seen.sort();
        // The first task may not have been polled, on two threads.
        assert!(
            seen == [Some(1), Some(1), Some(2)] || seen == [Some(1); 3],
            "{seen:?}"
        );
        assert_eq!(ID.get(), None);
    }
}

#[test]
fn wrappers_of_one_runtime_share_its_queue() {
    let runtime = multi_thread();
    let handle = runtime.handle();
    let wrappers = [
        ContextAwareExecutor::new(handle.clone()),
        ContextAwareExecutor::new(handle.clone()),
    ];
    let running = Arc::new(AtomicUsize::new(0));
    let order = Arc::new(Mutex::new(Vec::new()));
    for n in 0..400 {
        let (running, order) = (Arc::clone(&running), Arc::clone(&order));
        wrappers[n % 2].call_soon(move || {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two at once");
            order.lock().unwrap().push(n);
            std::thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
        });
    }
    let (sender, receiver) = mpsc::channel();
    wrappers[0].call_soon(move || sender.send(()).unwrap());
    receiver.recv().unwrap();
    assert!(order.lock().unwrap().iter().copied().eq(0..400));
}

#[test]
fn a_task_awaits_a_handle_of_another_runtime() {
    let (first, second) = (multi_thread(), multi_thread());
    let other = ContextAwareExecutor::new(second.handle().clone());
    let seen = first.block_on(
        async {
            ID.set(1);
            let there = other.spawn(async {
                ID.set(2);
                // Goes to the runtime whose task this is.
                let here = shim::spawn(async { tokio::runtime::Handle::current().id() });
                here.await.unwrap()
            });
            let waits = shim::spawn(async move { (there.await.unwrap(), ID.get()) });
            waits.await.unwrap()
        }
        .in_current_context(),
    );
    assert_eq!(seen, (second.handle().id(), Some(1)));
}

#[test]
fn a_local_set_blocks_inside_a_multi_thread_runtime() {
    let runtime = multi_thread();
    let _entered = runtime.enter();
    let local = ContextAwareExecutor::new(Rc::new(LocalSet::new()));
    ID.set(1);
    let seen = local.block_on_local(async {
        let one = Rc::new(1);
        let task = shim::spawn_local(async move { (*one, ID.get()) });
        ID.set(2);
        shim::sleep(Duration::from_millis(1)).await;
        let anywhere = shim::spawn(async { ID.get() });
        (task.await.unwrap(), anywhere.await.unwrap())
    });
    assert_eq!((seen, ID.get()), (((1, Some(1)), Some(2)), Some(1)));
    let outside = ContextAwareExecutor::new(Rc::new(LocalSet::new()));
    drop(_entered);
    let error = outside.try_block_on_local(async {}).unwrap_err();
    assert!(error.to_string().contains("enter one"), "{error}");
}

#[test]
fn outside_a_runtime_the_adapter_panics_at_the_call() {
    for refused in [
        (|| shim::tokio::spawn(async {}).detach()) as fn(),
        || drop(shim::tokio::executor()),
        || shim::tokio::block_on(async {}),
        || shim::tokio::spawn_blocking(|| ()).detach(),
    ] {
        let text = panic_text(refused);
        assert!(text.contains("runtime"), "{text}");
    }
}

#[test]
fn spawn_blocking_of_the_runtime_itself_carries_nothing() {
    // TH-04: the shim's does, the runtime's own does not, unless it is handed a bound closure.
    multi_thread().block_on(
        async {
            ID.set(1);
            let bare = tokio::task::spawn_blocking(|| ID.get());
            let bound = tokio::task::spawn_blocking(shim::bind(|| ID.get()));
            let ours = shim::spawn_blocking(|| ID.get());
            assert_eq!(bare.await.unwrap(), None);
            assert_eq!(bound.await.unwrap(), Some(1));
            assert_eq!(ours.await.unwrap(), Some(1));
            assert_eq!(tokio::spawn(async { ID.get() }).await.unwrap(), None);
        }
        .in_current_context(),
    );
}

#[test]
fn a_future_that_is_pending_elsewhere_keeps_its_context() {
    // Polled first on one runtime and then on another, and dropped on a third thread.
    let (first, second) = (current_thread(), current_thread());
    let (go, going) = futures::channel::oneshot::channel::<()>();
    ID.set(1);
    let mut future = Box::pin(
        async move {
            let before = ID.get();
            ID.set(2);
            going.await.unwrap();
            (before, ID.get())
        }
        .in_current_context(),
    );
    ID.set(3);
    first.block_on(async { assert!((&mut future).now_or_never().is_none()) });
    go.send(()).unwrap();
    assert_eq!(second.block_on(future), (Some(1), Some(2)));
    assert_eq!(ID.get(), Some(3));
}

/// Where a blocking job runs, and the tasks that it spawns.
fn job_and_its_task() -> (tokio::runtime::Id, tokio::runtime::Id) {
    let id = || tokio::runtime::Handle::current().id();
    let (sender, receiver) = mpsc::channel();
    shim::spawn(async move { sender.send(id()).unwrap() }).detach();
    (id(), receiver.recv().unwrap())
}

#[test]
fn a_blocking_job_runs_on_the_runtime_of_its_handle() {
    let (first, second) = (multi_thread(), multi_thread());
    let id = second.handle().id();
    let other = ContextAwareExecutor::new(second.handle().clone());
    // From a thread without a runtime,
    let outside = other.spawn_blocking(job_and_its_task);
    // and from a task of another one.
    let inside = first.block_on(async { other.spawn_blocking(job_and_its_task).await });
    assert_eq!(other.block_on(outside).unwrap(), (id, id));
    assert_eq!(inside.unwrap(), (id, id));
}

#[test]
fn a_blocking_job_that_waits_for_its_context_runs_on_its_runtime() {
    let runtime = multi_thread();
    let id = runtime.handle().id();
    let shared = SharedContext::new();
    let (leave, left) = mpsc::channel::<()>();
    let (entered, wait) = mpsc::channel();
    let holder = std::thread::spawn({
        let shared = shared.clone();
        move || {
            let hold = || {
                entered.send(()).unwrap();
                let _gone = left.recv();
            };
            shared.run(hold).unwrap();
        }
    });
    wait.recv().unwrap();
    let seen = runtime.block_on(
        async {
            let job = shim::spawn_blocking_in(&shared, job_and_its_task);
            // The job has been tried when the blocking thread that it was on is free for another.
            shim::spawn_blocking(|| ()).await.unwrap();
            drop(leave);
            job.await.unwrap()
        }
        .in_current_context(),
    );
    holder.join().unwrap();
    assert_eq!(seen, (id, id));
}

#[test]
fn a_blocking_job_may_block() {
    for runtime in [multi_thread(), current_thread()] {
        let seen = runtime.block_on(
            async {
                ID.set(1);
                shim::spawn_blocking(|| shim::try_block_on(async { ID.get() })).await
            }
            .in_current_context(),
        );
        assert_eq!(seen.unwrap(), Ok(Some(1)));
    }
}

#[test]
fn a_task_of_one_runtime_does_not_block_on_another() {
    let (current, multi) = (current_thread(), multi_thread());
    let other = ContextAwareExecutor::new(multi.handle().clone());
    let outcome =
        current.block_on(async { shim::spawn(async move { other.try_block_on(async {}) }).await });
    assert!(outcome.unwrap().unwrap_err().to_string().contains("await"));
}

/// Uses up the budget that tokio gives to a poll.
async fn use_up_the_budget() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    for n in 0..200 {
        sender.send(n).unwrap();
    }
    tokio::task::yield_now().await;
    for _ in 0..128 {
        receiver.recv().await.unwrap();
    }
}

#[test]
fn handles_need_no_budget() {
    for runtime in [multi_thread(), current_thread()] {
        runtime.block_on(async {
            let task = shim::spawn(future::pending::<()>());
            use_up_the_budget().await;
            let id = task.add_done_callback(|| ());
            assert!(task.remove_done_callback(id));
            let abort = task.abort_handle();
            drop(task);
            abort.abort();
            // More results than a budget has.
            let mut tasks = shim::JoinSet::new();
            for n in 0..300 {
                tasks.spawn(async move { n });
            }
            let mut outputs = 0;
            while outputs < 300 {
                match tasks.try_join_next() {
                    Some(output) => {
                        output.unwrap();
                        outputs += 1;
                    }
                    None => tokio::task::yield_now().await,
                }
            }
        });
    }
}

/// An executor inside of one poll of tokio's has tokio's budget for all of its own.
#[test]
fn handles_need_no_budget_in_an_executor_inside_a_task() {
    async fn joins() {
        // More than a budget has.
        for n in 0..300 {
            let task = shim::tokio::spawn(async move { n });
            assert_eq!(task.await.unwrap(), n);
        }
    }
    let runtime = multi_thread();
    runtime.block_on(async { EventLoop::new().run_until_complete(joins()) });
    runtime.block_on(async { futures::executor::block_on(joins()) });
}

#[test]
fn a_callback_may_enter_another_runtime() {
    let (here, there) = (multi_thread(), multi_thread());
    let (handle, id) = (there.handle().clone(), there.handle().id());
    let (sender, receiver) = mpsc::channel();
    here.block_on(async {
        shim::call_soon(move || {
            let _entered = handle.enter();
            let on_there = move || tokio::runtime::Handle::current().id() == id;
            let (soon, later) = (sender.clone(), sender.clone());
            shim::call_soon(move || soon.send(on_there()).unwrap());
            shim::call_later(Duration::ZERO, move || later.send(on_there()).unwrap());
            shim::spawn(async move { sender.send(on_there()).unwrap() }).detach();
        });
        let all = shim::spawn_blocking(move || receiver.iter().collect::<Vec<_>>());
        assert_eq!(all.await.unwrap(), [true; 3]);
    });
}

#[test]
fn a_million_timers_are_one_task() {
    let runtime = current_thread();
    runtime.block_on(async {
        const TIMERS: u64 = 1_000_000;
        let fired = Arc::new(AtomicUsize::new(0));
        let timers: Vec<_> = (0..TIMERS)
            .map(|n| {
                let fired = Arc::clone(&fired);
                shim::call_later(Duration::from_secs(3600 + n % 1000), move || {
                    fired.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(runtime.metrics().num_alive_tasks(), 1);
        timers.iter().for_each(shim::TimerHandle::cancel);
        shim::yield_now().await;
        assert_eq!(Arc::strong_count(&fired), 1);
    });
}

#[test]
fn tasks_of_a_local_set_inherit() {
    let runtime = current_thread();
    let set = Rc::new(LocalSet::new());
    let local = ContextAwareExecutor::new(Rc::clone(&set));
    let _entered = runtime.enter();
    ID.set(1);
    let seen = local.block_on_local(async {
        let here = Rc::new(2);
        let task = shim::tokio::spawn_local(async move { (*here, ID.get()) });
        ID.set(3);
        (task.await.unwrap(), ID.get())
    });
    assert_eq!((seen, ID.get()), (((2, Some(1)), Some(3)), Some(1)));
}

#[test]
fn from_tasks_of_a_local_set_work_may_go_anywhere() {
    let runtime = multi_thread();
    let local = ContextAwareExecutor::new(Rc::new(LocalSet::new()));
    let _entered = runtime.enter();
    let task = local.spawn_local(async {
        let (sender, receiver) = mpsc::channel();
        ID.set(1);
        shim::spawn(async move { sender.send(ID.get()).unwrap() }).detach();
        // This thread is held up meanwhile.
        receiver.recv_timeout(Duration::from_secs(60))
    });
    assert_eq!(local.block_on_local(task).unwrap(), Ok(Some(1)));
}

#[test]
fn a_task_of_a_local_set_does_not_block_whoever_polls_the_set() {
    let runtime = current_thread();
    let _entered = runtime.enter();
    let set = LocalSet::new();
    let task = set.spawn_local(async { shim::try_block_on(async {}) });
    // Without tokio, which would see to that itself.
    let outcome = futures::executor::block_on(set.run_until(task));
    let text = outcome.unwrap().unwrap_err().to_string();
    assert!(text.contains("LocalSet"), "{text}");
}

#[test]
fn a_done_callback_goes_to_the_runtime_that_is_entered() {
    let runtime = multi_thread();
    let executor = ContextAwareExecutor::new(runtime.handle().clone());
    let (end, ended) = futures::channel::oneshot::channel::<()>();
    let task = executor.spawn(ended);
    let (sender, receiver) = mpsc::channel();
    ID.set(1);
    // Of another runtime than the task.
    let other = current_thread();
    let _other = other.enter();
    let _entered = executor.enter();
    task.add_done_callback(move || {
        let own = tokio::runtime::Handle::try_current().map(|handle| handle.id());
        sender.send((own.ok(), ID.get())).unwrap();
    });
    ID.set(2);
    end.send(()).unwrap();
    let seen = receiver.recv().unwrap();
    assert_eq!(seen, (Some(runtime.handle().id()), Some(1)));
}

#[test]
fn a_join_set_spawns_on_a_local_set_from_outside() {
    let runtime = current_thread();
    let _entered = runtime.enter();
    let local = ContextAwareExecutor::new(Rc::new(LocalSet::new()));
    let mut tasks = shim::JoinSet::new();
    let id = ID.sync_scope(7, || {
        let task = tasks.spawn_local_on(&local, async {
            let id = Rc::new(ID.get());
            shim::yield_now().await;
            *id
        });
        task.id()
    });
    local.block_on_local(async {
        let (ended, result) = tasks.join_next_with_id().await.unwrap();
        assert_eq!((ended, result.unwrap()), (id, Some(7)));
    });
    assert_eq!((tasks.len(), ID.get()), (0, None));
}
