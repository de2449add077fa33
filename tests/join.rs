//! Join and abort handles where several have a hand in a task: races, panics, and what they keep
//! alive.

#[path = "common/threads.rs"]
mod threads;
#[path = "../crates/conformance/src/waker.rs"]
mod waker;

use std::collections::HashSet;
use std::future::{self, Future};
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{self, Wake, Waker};
use std::thread;
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{
    self, AbortHandle, ContextAwareExecutor, FromSchedule, JoinSet, Runnable, TaskGroup,
};
use aiocontextvars::{context_var, shim::JoinHandle};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::executor::block_on;

use waker::{WakerHook, waker};

context_var! {
    static ID: u64;
}

fn pool() -> ContextAwareExecutor<FromSchedule> {
    threads::threads(1)
}

/// An executor that runs steps where they are scheduled.
fn inline() -> ContextAwareExecutor<FromSchedule> {
    ContextAwareExecutor::from_schedule(Runnable::run)
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic::resume_unwind(Box::new("an output's destructor"));
    }
}

#[test]
fn an_unread_output_that_panics_harms_nobody() {
    let pool = pool();
    pool.spawn(async { Bomb }).detach();
    pool.spawn_blocking(|| Bomb).detach();
    assert_eq!(pool.block_on(pool.spawn(async { 1 })).unwrap(), 1);
    let event_loop = EventLoop::new();
    event_loop.spawn(async { Bomb }).detach();
    event_loop.handle().spawn(async { Bomb }).detach();
    let main = async {
        shim::yield_now().await;
        shim::yield_now().await;
        2
    };
    assert_eq!(event_loop.run_until_complete(main), 2);
    #[cfg(feature = "smol")]
    shim::smol::block_on(async {
        shim::smol::spawn(async { Bomb }).detach();
        shim::smol::spawn(async {}).await.unwrap();
    });
    #[cfg(feature = "async-std")]
    shim::async_std::block_on(async {
        shim::async_std::spawn(async { Bomb }).detach();
        shim::async_std::spawn(async {}).await.unwrap();
    });
}

/// Notes the id that it finds when it is dropped, and sets one.
#[derive(Debug)]
struct Meddles(Arc<Mutex<Vec<Option<u64>>>>);

impl Drop for Meddles {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(ID.get());
        ID.set(9);
    }
}

#[test]
fn what_nobody_asks_of_a_task_that_failed_goes_in_an_empty_context() {
    struct FailsInDrop(Option<Meddles>);
    impl Drop for FailsInDrop {
        fn drop(&mut self) {
            panic::resume_unwind(Box::new(self.0.take()));
        }
    }
    async fn fail(payload: Meddles) {
        ID.set(2);
        panic::resume_unwind(Box::new(payload))
    }
    let seen = Arc::default();
    let next = || Meddles(Arc::clone(&seen));
    EventLoop::new().run_until_complete(async {
        ID.set(1);
        for _ in 0..2 {
            shim::spawn(fail(next())).detach();
            let failed = shim::spawn_local(fail(next()));
            let fails = FailsInDrop(Some(next()));
            let aborted = shim::spawn(async move {
                let _fails = fails;
                future::pending::<()>().await;
            });
            let group = TaskGroup::new();
            let error = next();
            let member = group.spawn(async { Err::<(), _>(error) });
            while !member.is_finished() {
                shim::yield_now().await;
            }
            aborted.abort();
            while !(failed.is_finished() && aborted.is_finished()) {
                shim::yield_now().await;
            }
        }
        assert_eq!(ID.get(), Some(1));
    });
    assert_eq!((ID.get(), seen.lock().unwrap().len()), (None, 8));
    assert!(seen.lock().unwrap().iter().all(Option::is_none));
}

/// A group whose body panics, which is all that its caller hears, and whose task has failed with
/// this before.
fn fails_and_panics<E: Send + 'static>(error: E) {
    let pool = pool();
    let id = pool.block_on(async {
        ID.set(1);
        let scope = TaskGroup::<E>::scope(async |group| {
            let member = group.spawn(async { Err::<(), _>(error) });
            // The body is not dropped at an await then.
            while !member.is_finished() {
                thread::yield_now();
            }
            if member.is_finished() {
                panic::resume_unwind(Box::new("the body"));
            }
            Ok(())
        });
        let outcome = AssertUnwindSafe(scope).catch_unwind().await;
        let payload = outcome.err().unwrap();
        assert_eq!(payload.downcast_ref(), Some(&"the body"));
        ID.get()
    });
    assert_eq!(id, Some(1));
}

#[test]
fn what_a_group_drops_for_a_panic_goes_in_an_empty_context() {
    let seen = Arc::default();
    fails_and_panics(Meddles(Arc::clone(&seen)));
    assert_eq!(*seen.lock().unwrap(), [None]);
    // It would end the process while the body's panic unwinds.
    fails_and_panics(Bomb);
}

#[test]
fn what_a_set_drops_goes_in_an_empty_context() {
    let seen = Arc::default();
    let next = || Meddles(Arc::clone(&seen));
    let pool = pool();
    pool.block_on(async {
        ID.set(1);
        let mut set = JoinSet::new();
        let output = next();
        let ended = set.spawn_on(&pool, async { output });
        while !ended.is_finished() {
            shim::yield_now().await;
        }
        set.shutdown().await;
        assert_eq!((set.len(), ID.get()), (0, Some(1)));
        let output = next();
        let ended = set.spawn_on(&pool, async { output });
        // So that its output is taken before the other's panic.
        while !ended.is_finished() {
            shim::yield_now().await;
        }
        set.spawn_on(&pool, async { panic::resume_unwind(Box::new("a task")) });
        let all = AssertUnwindSafe(set.join_all()).catch_unwind().await;
        assert_eq!(all.unwrap_err().downcast_ref(), Some(&"a task"));
        assert_eq!(ID.get(), Some(1));
        // It would end the process.
        let mut set = JoinSet::new();
        let ended = set.spawn_on(&pool, async { Bomb });
        while !ended.is_finished() {
            shim::yield_now().await;
        }
        set.spawn_on(&pool, async { panic::resume_unwind(Box::new("a task")) });
        let all = AssertUnwindSafe(set.join_all()).catch_unwind().await;
        assert!(all.is_err());
    });
    assert_eq!(*seen.lock().unwrap(), [None, None]);
}

/// Awaits tasks while another thread asks whether they have finished.
fn asked_beside_the_await(abort: bool, spawn: impl Fn() -> JoinHandle<()>) {
    for _ in 0..2000 {
        let task = spawn();
        let handle = task.abort_handle();
        if abort {
            handle.abort();
        }
        let asks = thread::spawn(move || while !handle.is_finished() {});
        assert_eq!(block_on(task).is_ok(), !abort);
        asks.join().unwrap();
    }
}

#[test]
fn asking_takes_no_wake_up_from_the_awaiter() {
    let pool = pool();
    asked_beside_the_await(false, || pool.spawn(shim::yield_now()));
    asked_beside_the_await(true, || pool.spawn(future::pending()));
    #[cfg(feature = "async-std")]
    asked_beside_the_await(false, || shim::async_std::spawn(shim::yield_now()));
}

#[test]
fn an_abort_beside_an_abort_handle_is_not_lost() {
    let pool = pool();
    for _ in 0..2000 {
        let task = pool.spawn(future::pending::<()>());
        let both = Barrier::new(2);
        let handle = thread::scope(|scope| {
            let handle = scope.spawn(|| {
                both.wait();
                task.abort_handle()
            });
            both.wait();
            task.abort();
            handle.join().unwrap()
        });
        assert!(block_on(task).unwrap_err().is_cancelled());
        assert!(handle.is_finished());
    }
}

#[test]
fn an_abort_handle_made_by_the_destructor_that_the_abort_runs() {
    struct Asks {
        task: Arc<Mutex<Option<Arc<JoinHandle<()>>>>>,
        made: mpsc::Sender<AbortHandle>,
    }
    impl Drop for Asks {
        fn drop(&mut self) {
            let task = self.task.lock().unwrap().take().unwrap();
            task.abort();
            self.made.send(task.abort_handle()).unwrap();
        }
    }
    let slot = Arc::default();
    let (made, handles) = mpsc::channel();
    let asks = Asks {
        task: Arc::clone(&slot),
        made,
    };
    let task = inline().spawn(async move {
        let _asks = asks;
        future::pending::<()>().await;
    });
    let task = Arc::new(task);
    *slot.lock().unwrap() = Some(Arc::clone(&task));
    task.abort();
    assert!(task.is_finished());
    assert!(handles.recv().unwrap().is_finished());
}

#[test]
fn a_done_callback_added_by_the_schedule_closure_that_the_abort_calls() {
    let slot = Arc::new(Mutex::new(None::<Arc<JoinHandle<()>>>));
    let (sender, steps) = mpsc::channel::<Runnable>();
    let (done, wait) = mpsc::channel();
    let aborted = Arc::clone(&slot);
    let executor = ContextAwareExecutor::from_schedule(move |step| {
        sender.send(step).unwrap();
        let task = aborted.lock().unwrap().take();
        if let Some(task) = task {
            let done = done.clone();
            task.add_done_callback(move || done.send(()).unwrap());
        }
    });
    let _entered = executor.enter();
    let task = Arc::new(executor.spawn(future::pending()));
    steps.try_iter().for_each(Runnable::run);
    *slot.lock().unwrap() = Some(Arc::clone(&task));
    task.abort();
    assert!(wait.try_recv().is_err());
    // Nobody asks the handle whether the task has ended.
    steps.try_iter().for_each(Runnable::run);
    assert_eq!(wait.try_recv(), Ok(()));
}

#[test]
fn an_abort_handle_keeps_no_output() {
    for abort_first in [false, true] {
        let pool = pool();
        let (hold, held) = mpsc::channel::<()>();
        pool.spawn(async move { held.recv().is_ok() }).detach();
        let output = Arc::new(());
        let task = pool.spawn({
            let output = Arc::clone(&output);
            async move { output }
        });
        let handle = task.abort_handle();
        if abort_first {
            handle.abort();
        }
        drop(task);
        drop(hold);
        while !handle.is_finished() {
            thread::yield_now();
        }
        // What runs on the pool's one thread comes after the end of the task.
        block_on(pool.spawn(async {})).unwrap();
        assert_eq!(Arc::strong_count(&output), 1);
    }
}

#[test]
fn a_waker_may_use_the_handle() {
    struct Asks(Mutex<Option<AbortHandle>>);
    impl Wake for Asks {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Asks {
        fn drop(&mut self) {
            if let Some(handle) = self.0.lock().unwrap().take() {
                assert!(!handle.is_finished());
                handle.abort();
            }
        }
    }
    let mut task = pin!(pool().spawn(future::pending::<()>()));
    let asks = Asks(Mutex::new(Some(task.abort_handle())));
    let waker = Waker::from(Arc::new(asks));
    let first = task.as_mut().poll(&mut task::Context::from_waker(&waker));
    assert!(first.is_pending());
    drop(waker);
    assert!(block_on(task).is_err());
}

#[test]
fn a_schedule_closure_that_panics_cancels_the_task() {
    let (sender, receiver) = mpsc::channel::<Runnable>();
    let dying = ContextAwareExecutor::from_schedule(move |step| sender.send(step).unwrap());
    let pool = pool();
    let (go, going) = futures::channel::oneshot::channel::<()>();
    let inner = pool.spawn(async move { going.await.is_ok() });
    let outer = dying.spawn(inner);
    receiver.recv().unwrap().run();
    drop(receiver);
    go.send(()).unwrap();
    // The wake-up comes from the pool, which goes on.
    assert!(block_on(outer).unwrap_err().is_cancelled());
    assert_eq!(block_on(pool.spawn(async { 1 })).unwrap(), 1);
}

#[test]
fn the_last_task_may_drop_an_executor_that_panics() {
    let (sender, steps) = mpsc::channel::<Runnable>();
    let bomb = Bomb;
    let executor = ContextAwareExecutor::from_schedule(move |step| {
        let _dropped_with_this = &bomb;
        drop(sender.send(step));
    });
    let task = executor.spawn(async { 1 });
    drop(executor);
    steps.recv().unwrap().run();
    assert_eq!(steps.try_recv().err(), Some(mpsc::TryRecvError::Empty));
    assert_eq!(block_on(task).unwrap(), 1);
    assert_eq!(
        steps.try_recv().err(),
        Some(mpsc::TryRecvError::Disconnected)
    );
}

#[test]
#[should_panic(expected = "polled after it gave its result")]
fn polled_again_a_handle_panics() {
    let event_loop = EventLoop::new();
    let mut task = event_loop.spawn(async {});
    event_loop.run_until_complete(async {
        (&mut task).await.unwrap();
        let _again = Pin::new(&mut task).await;
    });
}

#[test]
fn a_job_keeps_no_executor_alive() {
    // A task that awaits a job of its own executor.
    let (executor, steps) = {
        let (sender, steps) = mpsc::channel::<Runnable>();
        (
            ContextAwareExecutor::from_schedule(move |step| drop(sender.send(step))),
            steps,
        )
    };
    let shared = ContextAwareExecutor::new(Arc::new(executor.into_inner()));
    let alive = Arc::downgrade(shared.get_ref());
    let (go, going) = mpsc::channel::<()>();
    let held = Arc::new(());
    let task = shared.spawn({
        let held = Arc::clone(&held);
        async move {
            let _held = held;
            shim::spawn_blocking(move || going.recv().is_ok()).await
        }
    });
    steps.recv().unwrap().run();
    drop(shared);
    assert!(alive.upgrade().is_none());
    go.send(()).unwrap();
    // The job's end wakes a task whose executor is gone.
    assert!(block_on(task).unwrap_err().is_cancelled());
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_timer_that_is_cancelled_with_a_panic_keeps_no_executor_alive() {
    let (sender, steps) = mpsc::channel::<Runnable>();
    let executor = ContextAwareExecutor::from_schedule(move |step| drop(sender.send(step)));
    let bomb = Bomb;
    let timer = executor.call_later(Duration::from_secs(60 * 60), move || drop(bomb));
    drop(executor);
    // The driver of the timers waits, and holds the executor.
    steps.recv().unwrap().run();
    assert_eq!(steps.try_recv().err(), Some(mpsc::TryRecvError::Empty));

    let cancelled = panic::catch_unwind(AssertUnwindSafe(|| timer.cancel()));
    assert!(cancelled.is_err());
    assert!(timer.is_cancelled());
    // It has nothing to wait for any more.
    steps.try_recv().unwrap().run();
    let left = steps.recv_timeout(Duration::from_secs(60));
    assert_eq!(left.err(), Some(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn done_callbacks_keep_no_executor_alive() {
    for is_removed in [true, false] {
        let (sender, steps) = mpsc::channel::<Runnable>();
        let run = || steps.try_iter().for_each(Runnable::run);
        let executor = ContextAwareExecutor::from_schedule(move |step| drop(sender.send(step)));
        let task = executor.spawn(future::pending::<()>());
        // The driver of the callbacks waits for the end of the task, and holds the executor.
        let id = {
            let _entered = executor.enter();
            task.add_done_callback(|| ())
        };
        drop(executor);
        run();
        if is_removed {
            assert!(task.remove_done_callback(id));
            // It has nothing to wait for any more.
            run();
        }
        task.abort();
        run();
        drop(task);
        assert_eq!(
            steps.try_recv().err(),
            Some(mpsc::TryRecvError::Disconnected)
        );
    }
}

#[test]
fn wrappers_of_one_queue_keep_their_contexts_apart() {
    let event_loop = EventLoop::new();
    let fixed_to = |id| {
        let context = aiocontextvars::Context::new().with_value(&ID, id);
        ContextAwareExecutor::fixed(event_loop.handle(), context)
    };
    let plain = ContextAwareExecutor::new(event_loop.handle());
    let (sender, receiver) = mpsc::channel();
    ID.set(1);
    let submit = |name: &'static str| {
        let sender = sender.clone();
        move || {
            let seen = ID.get();
            ID.set(100);
            let task = shim::spawn(async move { sender.send((name, seen, ID.get())).unwrap() });
            task.detach();
        }
    };
    fixed_to(7).call_soon(submit("seven"));
    plain.call_soon(submit("plain"));
    fixed_to(8).call_soon(submit("eight"));
    event_loop.run_until_complete(async {
        for _ in 0..4 {
            shim::yield_now().await;
        }
    });
    drop(sender);
    let seen: Vec<_> = receiver.try_iter().collect();
    let expected = [
        ("seven", Some(7), Some(7)),
        ("plain", Some(1), Some(100)),
        ("eight", Some(8), Some(8)),
    ];
    assert_eq!(seen, expected);
}

/// Awaits a task of each kind; `then` has a look at it after the first poll.
fn woken_in_spite_of(then: fn(&JoinHandle<()>)) {
    async fn body(then: fn(&JoinHandle<()>)) {
        let (go, going) = futures::channel::oneshot::channel();
        let mut task = shim::spawn(async { going.await.unwrap() });
        let mut polled = false;
        let mut go = Some(go);
        future::poll_fn(|cx| {
            let outcome = Pin::new(&mut task).poll(cx).map(drop);
            if !std::mem::replace(&mut polled, true) {
                then(&task);
                // From here on, only the end of the task wakes us.
                // Fails where the task has been aborted.
                let _ = go.take().unwrap().send(());
            }
            outcome
        })
        .await;
    }
    EventLoop::new().run_until_complete(body(then));
    pool().block_on(body(then));
    #[cfg(feature = "tokio")]
    tokio::runtime::Runtime::new().unwrap().block_on(body(then));
    #[cfg(feature = "smol")]
    shim::smol::block_on(body(then));
    #[cfg(feature = "async-std")]
    shim::async_std::block_on(body(then));
}

#[test]
fn who_awaits_is_woken_whatever_else_is_done_with_the_handle() {
    woken_in_spite_of(|task| drop(task.abort_handle()));
    woken_in_spite_of(|task| assert!(!task.abort_handle().is_finished()));
    woken_in_spite_of(|task| {
        task.add_done_callback(|| ());
    });
    woken_in_spite_of(|task| task.abort());
}

#[test]
fn an_output_that_panics_harms_nobody_beside_an_abort_handle() {
    async fn body() {
        let task = shim::spawn(async {
            shim::yield_now().await;
            Bomb
        });
        let abort = task.abort_handle();
        drop(task);
        while !abort.is_finished() {
            shim::yield_now().await;
        }
    }
    EventLoop::new().run_until_complete(body());
    pool().block_on(body());
    #[cfg(feature = "tokio")]
    tokio::runtime::Runtime::new().unwrap().block_on(body());
    #[cfg(feature = "smol")]
    shim::smol::block_on(body());
}

#[test]
fn callbacks_of_tasks_whose_executor_is_gone_are_dropped() {
    let held = Arc::new(());
    let event_loop = EventLoop::new();
    let executor = ContextAwareExecutor::new(event_loop.handle());
    let _entered = executor.enter();
    let tasks = [
        event_loop.handle().spawn(future::pending::<()>()),
        event_loop.spawn(future::pending()),
    ];
    let waiting = Arc::clone(&held);
    tasks[0].add_done_callback(move || drop(waiting));
    drop(event_loop);
    assert_eq!(Arc::strong_count(&held), 1);
    for task in tasks {
        let late = Arc::clone(&held);
        task.add_done_callback(move || drop(late));
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

#[test]
fn a_done_callback_added_outside_of_the_executor() {
    // As asyncio programs do it: before the loop runs.
    let event_loop = EventLoop::new();
    let on_loop = ContextAwareExecutor::new(event_loop.handle());
    let entered = on_loop.enter();
    ID.set(5);
    let (sender, receiver) = mpsc::channel();
    for task in [
        event_loop.spawn(async {}),
        event_loop.handle().spawn(async {}),
    ] {
        let sender = sender.clone();
        task.add_done_callback(move || sender.send((thread::current().id(), ID.get())).unwrap());
        task.detach();
    }
    ID.set(6);
    event_loop.run_until_complete(async {
        for _ in 0..3 {
            shim::yield_now().await;
        }
    });
    let here = (thread::current().id(), Some(5));
    assert!(receiver.try_iter().eq([here, here]));
    drop(entered);
    let pool = pool();
    let _entered = pool.enter();
    // The executor of the callback need not be that of the task.
    let task = on_loop.spawn(async {});
    task.add_done_callback(move || sender.send((thread::current().id(), ID.get())).unwrap());
    event_loop.run_until_complete(task).unwrap();
    let (other, seen) = receiver.recv().unwrap();
    assert_ne!(other, thread::current().id());
    assert_eq!(seen, Some(6));
}

#[test]
fn a_task_that_fails_while_its_group_spawns_it_is_not_aborted() {
    /// Holds up whoever wakes it, and says so.
    struct Holds(Mutex<(mpsc::Sender<()>, mpsc::Receiver<()>)>);

    impl Wake for Holds {
        fn wake(self: Arc<Self>) {
            let held = self.0.lock().unwrap();
            held.0.send(()).unwrap();
            held.1.recv().unwrap();
        }
    }

    let (sender, receiver) = mpsc::channel::<Runnable>();
    thread::spawn(move || receiver.into_iter().for_each(Runnable::run));
    let (fails, failing) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel();
    let failing = Mutex::new(Some(failing));
    let executor = ContextAwareExecutor::from_schedule(move |task| {
        sender.send(task).unwrap();
        // The spawn takes until the task is telling its group.
        if let Some(failing) = failing.lock().unwrap().take() {
            failing.recv().unwrap();
        }
    });

    let group = TaskGroup::new();
    {
        let pool = pool();
        let _entered = pool.enter();
        group.spawn(future::pending::<Result<(), _>>()).detach();
    }
    let waker = Waker::from(Arc::new(Holds(Mutex::new((fails, goes_on)))));
    let mut join = Box::pin(group.clone().join());
    let mut cx = task::Context::from_waker(&waker);
    assert!(join.as_mut().poll(&mut cx).is_pending());

    let _entered = executor.enter();
    let task = group.spawn(async { Err::<(), _>("no") });
    go_on.send(()).unwrap();
    assert_eq!(block_on(task).unwrap(), None);
    assert_eq!(block_on(join).unwrap_err().failures().len(), 1);
}

#[test]
fn a_handle_that_has_given_its_result() {
    let executors: [&dyn Fn() -> JoinHandle<u64>; 2] = [&|| pool().spawn(async { 7 }), &|| {
        inline().spawn(async { 7 })
    }];
    for spawn in executors {
        let mut task = spawn();
        assert_eq!(block_on(&mut task).unwrap(), 7);
        assert!(task.is_finished());
        // There is nothing left to be aborted.
        let abort = task.abort_handle();
        assert!(abort.is_finished());
        abort.abort();
        task.abort();
        assert!(abort.is_finished() && task.is_finished());
        let again = panic::catch_unwind(AssertUnwindSafe(|| block_on(&mut task)));
        let payload = again.unwrap_err();
        let text = payload.downcast_ref::<&str>().copied();
        assert!(text.is_some_and(|text| text.contains("after it gave its result")));
    }
}

#[test]
fn a_group_of_tasks_that_stay_on_their_thread() {
    let event_loop = EventLoop::new();
    let (held, given) = (Rc::new(7), TaskGroup::default());
    event_loop.run_until_complete(async {
        let output = Rc::clone(&held);
        let task = given.spawn_local(async move { Ok::<_, &str>(output) });
        let waits = Rc::clone(&held);
        let aborted = given.spawn_local(async move {
            let _waits = waits;
            future::pending::<Result<(), &str>>().await
        });
        assert!(Rc::ptr_eq(&task.await.unwrap().unwrap(), &held));
        assert_eq!(Rc::strong_count(&held), 2);
        given.spawn_local(async { Err::<(), _>("no") }).detach();
        let error = given.join().await.unwrap_err();
        assert_eq!(error.to_string(), "1 task of the group failed: no");
        assert!(aborted.is_finished());
    });
    assert_eq!(Rc::strong_count(&held), 1);
}

#[test]
fn a_scope_that_is_dropped_aborts_also_if_its_group_was_kept() {
    EventLoop::new().run_until_complete(async {
        let mut kept = None;
        let mut scope = Box::pin(TaskGroup::scope(async |group| {
            let task = group.spawn(future::pending::<Result<(), ()>>());
            kept = Some((group, task));
            future::pending::<Result<(), ()>>().await
        }));
        assert!(futures::poll!(&mut scope).is_pending());
        drop(scope);
        let (_group, task) = kept.unwrap();
        assert!(task.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn ids_of_done_callbacks_are_unique_in_the_process() {
    // More than one of the blocks that a thread draws its ids from.
    let ids = || {
        let event_loop = EventLoop::new();
        let executor = ContextAwareExecutor::new(event_loop.handle());
        let _entered = executor.enter();
        let task = event_loop.spawn(future::pending::<()>());
        let add = |_| task.add_done_callback(|| ());
        (0..3000).map(add).collect::<Vec<_>>()
    };
    let mut all = HashSet::new();
    for _ in 0..2 {
        all.extend(thread::spawn(ids).join().unwrap());
    }
    assert_eq!(all.len(), 6000);
}

/// The compiler has to see that a task is `Send` for whatever lifetimes its awaits have in them.
#[test]
fn a_task_may_await_one_that_returns_a_reference() {
    let names = shim::block_on(async {
        let task = shim::spawn(async {
            let name = shim::spawn(async { "first" }).await.unwrap();
            let other = shim::spawn_in(aiocontextvars::Context::new(), async { "second" });
            let other = other.await.unwrap();
            let third = shim::spawn_blocking(|| Some("third")).await.unwrap();
            (name, other, third)
        });
        task.await.unwrap()
    });
    assert_eq!(names, ("first", "second", Some("third")));
}

#[test]
fn a_waker_that_panics_leaves_the_handle_to_others() {
    let (go_on, waits) = oneshot::channel::<()>();
    let mut handle = pool().spawn(async { waits.await.unwrap() });
    // Another may have a hand in the task from now on.
    let id = handle.id();
    for clones in 0..3 {
        let left = AtomicUsize::new(clones);
        let panics = waker(move |hook| {
            if hook == WakerHook::Clone
                && left
                    .fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1))
                    .is_err()
            {
                panic::resume_unwind(Box::new("in a waker"));
            }
        });
        let cx = &mut task::Context::from_waker(&panics);
        let poll = || Pin::new(&mut handle).poll(cx);
        assert!(panic::catch_unwind(AssertUnwindSafe(poll)).is_err());
    }
    go_on.send(()).unwrap();
    assert_eq!(handle.id(), id);
    block_on(handle).unwrap();
}
