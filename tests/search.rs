//! Which executor the free functions of the shim go to. The default is the process's, so that only
//! the first test may go without an executor of its own.

#[path = "common/leak.rs"]
mod leak;
#[path = "common/threads.rs"]
mod threads;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, ContextAwareExecutor, EnterGuard, FromSchedule, Runnable};
use aiocontextvars::{Context, context_var};
use futures::channel::oneshot;

use leak::leak;

context_var! {
    static ID: u64;
}

/// An executor of one thread, which has the given name.
fn named(name: &str) -> ContextAwareExecutor<FromSchedule> {
    let (sender, receiver) = mpsc::channel::<Runnable>();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || receiver.into_iter().for_each(Runnable::run))
        .unwrap();
    ContextAwareExecutor::from_schedule(move |task| {
        let _ = sender.send(task);
    })
}

/// The name of the thread that a task spawned from here runs on.
fn spawned_on() -> Option<String> {
    let (sender, receiver) = mpsc::channel();
    let task = shim::try_spawn(async move {
        let name = thread::current().name().map(str::to_owned);
        sender.send(name).unwrap();
    });
    task.ok()?.detach();
    receiver.recv_timeout(Duration::from_secs(60)).unwrap()
}

/// Of smol or async-std, alone.
fn is_there_a_global() -> bool {
    !cfg!(feature = "tokio") && cfg!(feature = "smol") != cfg!(feature = "async-std")
}

#[test]
fn the_innermost_frame_then_the_default_then_the_global() {
    let (first, second) = (named("first"), named("second"));
    assert_eq!(spawned_on().is_some(), is_there_a_global());
    {
        let _first = first.enter();
        assert_eq!(spawned_on().as_deref(), Some("first"));
        {
            let _second = second.enter();
            assert_eq!(spawned_on().as_deref(), Some("second"));
        }
        assert_eq!(spawned_on().as_deref(), Some("first"));
        // A task's own executor comes before one that was entered around its spawn.
        let (sender, receiver) = mpsc::channel();
        second
            .spawn(async move { sender.send(spawned_from_a_task().await).unwrap() })
            .detach();
        assert_eq!(receiver.recv().unwrap().as_deref(), Some("second"));
    }
    let no_runtime = shim::try_spawn(async {});
    if !is_there_a_global() {
        let error = no_runtime.unwrap_err().to_string();
        assert!(error.contains("enter"), "{error}");
        let payload = std::panic::catch_unwind(|| shim::call_soon(|| ())).unwrap_err();
        assert_eq!(payload.downcast_ref::<String>(), Some(&error));
        let payload = std::panic::catch_unwind(|| shim::spawn_blocking(|| ())).unwrap_err();
        assert_eq!(payload.downcast_ref::<String>(), Some(&error));
    }
    shim::set_default(first.clone());
    assert_eq!(spawned_on().as_deref(), Some("first"));
    // Also in `block_on`, and with but one runtime.
    let seen = shim::block_on(spawned_from_a_task());
    assert_eq!(seen.as_deref(), Some("first"));
    let fixed = Context::new().with_value(&ID, 7);
    shim::set_default(ContextAwareExecutor::fixed(first.get_ref().clone(), fixed));
    all_starts_in_the_fixed_context();
    shim::set_default(second);
    assert_eq!(spawned_on().as_deref(), Some("second"));
    // A runtime that says it is here comes before the default.
    #[cfg(feature = "tokio")]
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("runtime")
            .build()
            .unwrap();
        let _entered = runtime.enter();
        assert_eq!(spawned_on().as_deref(), Some("runtime"));
        let _first = first.enter();
        assert_eq!(spawned_on().as_deref(), Some("first"));
    }
    #[cfg(feature = "async-std")]
    shim::async_std::block_on(async {
        assert!(spawned_on().unwrap().starts_with("async-std"));
    });
}

/// What goes to the default, whose fixed context has 7.
fn all_starts_in_the_fixed_context() {
    let (sender, receiver) = mpsc::channel();
    let next = || receiver.recv_timeout(Duration::from_secs(60)).unwrap();
    let seen = || (next(), next());
    let tell_twice = || {
        let sender = sender.clone();
        move || {
            sender.send(ID.get()).unwrap();
            shim::call_soon(move || sender.send(ID.get()).unwrap());
        }
    };
    ID.sync_scope(1, || {
        shim::call_soon(tell_twice());
        assert_eq!(seen(), (Some(7), Some(7)));
        let task = shim::spawn(async { ID.get() });
        task.add_done_callback(tell_twice());
        assert_eq!(seen(), (Some(7), Some(7)));
        task.add_done_callback_in(Context::new().with_value(&ID, 2), tell_twice());
        assert_eq!(seen(), (Some(2), Some(7)));
    });
}

/// As `spawned_on`, from a thread that must not block.
async fn spawned_from_a_task() -> Option<String> {
    let task = shim::spawn(async { thread::current().name().map(str::to_owned) });
    task.await.unwrap()
}

#[test]
fn a_fixed_executor_fixes_what_its_tasks_submit() {
    let fixed = Context::new().with_value(&ID, 7);
    let plain = named("plain");
    let executor = ContextAwareExecutor::fixed(plain.into_inner(), fixed);
    ID.set(1);
    let (sender, receiver) = mpsc::channel();
    executor.call_soon(move || {
        let seen = ID.get();
        ID.set(8);
        shim::call_soon({
            let sender = sender.clone();
            move || sender.send(ID.get()).unwrap()
        });
        shim::spawn_blocking({
            let sender = sender.clone();
            move || sender.send(ID.get()).unwrap()
        })
        .detach();
        // Given a context, it takes that.
        shim::call_soon_in(Context::new(), move || {
            sender.send(ID.get().or(seen)).unwrap();
        });
    });
    let seen: Vec<_> = receiver.iter().collect();
    assert_eq!(seen, [Some(7); 3]);
    {
        let _entered = executor.enter();
        let (sender, receiver) = mpsc::channel();
        let later = sender.clone();
        shim::call_later(Duration::ZERO, move || later.send(ID.get()).unwrap());
        assert_eq!(receiver.recv(), Ok(Some(7)));
        // What a callback submits starts there as well, whatever the callback has set.
        shim::call_soon(move || {
            ID.set(9);
            shim::call_soon(move || sender.send(ID.get()).unwrap());
        });
        assert_eq!(receiver.recv(), Ok(Some(7)));
    }
    assert_eq!(
        (executor.block_on(async { ID.get() }), ID.get()),
        (Some(7), Some(1))
    );
}

/// What a child of a task sees whose executor has a fixed context, when the wrapper has gone.
fn seen_without_the_wrapper<E: shim::Executor>(executor: E) -> impl Future<Output = Option<u64>> {
    let fixed = Context::new().with_value(&ID, 7);
    let wrapper = ContextAwareExecutor::fixed(executor, fixed);
    let (go, going) = oneshot::channel::<()>();
    let (sender, receiver) = oneshot::channel();
    let task = wrapper.spawn(async move {
        going.await.unwrap();
        ID.set(8);
        let child = shim::spawn(async { ID.get() });
        sender.send(child.await.unwrap()).unwrap();
    });
    task.detach();
    drop(wrapper);
    go.send(()).unwrap();
    async { receiver.await.unwrap() }
}

#[test]
fn tasks_know_their_fixed_executor_without_its_wrapper() {
    let event_loop = EventLoop::new();
    let seen = event_loop.run_until_complete(seen_without_the_wrapper(event_loop.handle()));
    assert_eq!(seen, Some(7));
    #[cfg(feature = "tokio")]
    {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let handle = runtime.handle().clone();
        let seen = runtime.block_on(seen_without_the_wrapper(handle));
        assert_eq!(seen, Some(7));
    }
    #[cfg(feature = "async-std")]
    {
        let global = shim::async_std::Global::default();
        let seen = shim::async_std::block_on(seen_without_the_wrapper(global));
        assert_eq!(seen, Some(7));
    }
    #[cfg(feature = "smol")]
    {
        let global = shim::smol::Global::default();
        let seen = shim::smol::block_on(seen_without_the_wrapper(global));
        assert_eq!(seen, Some(7));
    }
}

#[test]
fn a_frame_whose_executor_is_gone_is_passed_over() {
    struct OnDrop(mpsc::Sender<Option<String>>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.send(spawned_on()).unwrap();
        }
    }
    let (sender, receiver) = mpsc::channel();
    let (steps, queue) = mpsc::channel::<Runnable>();
    let gone = ContextAwareExecutor::from_schedule(move |step| steps.send(step).unwrap());
    let gone = ContextAwareExecutor::new(Arc::new(gone.into_inner()));
    let on_drop = OnDrop(sender);
    gone.spawn(async move {
        let _on_drop = on_drop;
        std::future::pending::<()>().await;
    })
    .detach();
    drop(gone);
    let other = named("other");
    let _entered = other.enter();
    // The task is dropped in a frame that names the executor which is gone.
    drop(queue.recv().unwrap());
    let seen = receiver.recv().unwrap();
    assert_ne!(
        seen.as_deref(),
        Some("other"),
        "the frame around is not the innermost one"
    );
}

#[test]
fn executors_without_a_size_have_queues_of_their_own() {
    struct First;
    struct Second;
    static STEPS: Mutex<Vec<(&str, Runnable)>> = Mutex::new(Vec::new());
    impl shim::Executor for First {
        fn schedule(&self, step: Runnable) {
            STEPS.lock().unwrap().push(("first", step));
        }
    }
    impl shim::Executor for Second {
        fn schedule(&self, step: Runnable) {
            STEPS.lock().unwrap().push(("second", step));
        }
    }
    ContextAwareExecutor::new(&First).call_soon(|| ());
    ContextAwareExecutor::new(&Second).call_soon(|| ());
    let erased: Arc<dyn shim::Executor> = Arc::new(First);
    ContextAwareExecutor::new(erased).call_soon(|| ());
    let erased: &'static dyn shim::Executor = &Second;
    let task = ContextAwareExecutor::new(erased).spawn(async { 1 });
    let steps = std::mem::take(&mut *STEPS.lock().unwrap());
    let names: Vec<_> = steps.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["first", "second", "first", "second"]);
    steps.into_iter().for_each(|(_, step)| step.run());
    assert!(task.is_finished());
}

#[test]
fn a_long_line_of_inline_callbacks_is_no_stack_of_them() {
    fn again(executor: ContextAwareExecutor<FromSchedule>, left: u32, done: mpsc::Sender<()>) {
        if left == 0 {
            return done.send(()).unwrap();
        }
        let next = executor.clone();
        executor.call_soon(move || again(next, left - 1, done));
    }
    let (done, wait) = mpsc::channel();
    again(
        ContextAwareExecutor::from_schedule(Runnable::run),
        20_000,
        done,
    );
    wait.recv().unwrap();
}

#[test]
fn an_executor_that_runs_inline_runs_tasks_and_no_callbacks_within_the_call() {
    let executor = ContextAwareExecutor::from_schedule(Runnable::run);
    ID.set(1);
    let task = executor.spawn(async {
        let seen = ID.get();
        ID.set(2);
        seen
    });
    assert!(task.is_finished());
    assert_eq!(
        (executor.block_on(task).unwrap(), ID.get()),
        (Some(1), Some(1))
    );
    let (sender, receiver) = mpsc::channel();
    let here = thread::current().id();
    // The second one finds a driver that waits for a timer.
    let timer = executor.call_later(Duration::from_secs(3600), || {
        unreachable!("it is cancelled")
    });
    for _ in 0..2 {
        let sender = sender.clone();
        executor.call_soon(move || {
            let nested = sender.clone();
            shim::call_soon(move || nested.send(("nested", ID.get())).unwrap());
            assert_ne!(thread::current().id(), here);
            sender.send(("outer", ID.get())).unwrap();
        });
        assert_eq!(receiver.recv(), Ok(("outer", Some(1))));
        assert_eq!(receiver.recv(), Ok(("nested", Some(1))));
    }
    timer.cancel();
}

#[test]
fn an_executor_that_is_run_within_a_step_of_another() {
    let (sender, steps) = mpsc::channel::<Runnable>();
    let inner = ContextAwareExecutor::from_schedule(move |step| drop(sender.send(step)));
    let (done, wait) = mpsc::channel();
    inner.call_soon(move || done.send(()).unwrap());
    let pool = threads::threads(1);
    let runs = async move {
        while let Ok(step) = steps.recv() {
            step.run();
        }
    };
    pool.spawn(runs).detach();
    wait.recv().unwrap();
}

#[cfg(feature = "futures-executor")]
#[test]
fn a_cancelled_timer_keeps_no_executor_waiting() {
    let mut pool = futures::executor::LocalPool::new();
    let executor = ContextAwareExecutor::new(pool.spawner());
    let timer = executor.call_later_local(Duration::from_secs(3600), || unreachable!());
    pool.run_until_stalled();
    timer.cancel();
    // Runs until no task is left.
    pool.run();
}

#[test]
fn a_guard_that_is_dropped_late_changes_nothing_elsewhere() {
    static OTHER: OnceLock<ContextAwareExecutor<FromSchedule>> = OnceLock::new();
    let around = named("around");
    let _around = around.enter();
    let other = OTHER.get_or_init(|| named("other"));
    let event_loop = EventLoop::new();
    let kept = Rc::new(RefCell::new(None));
    let keeps = Rc::clone(&kept);
    event_loop.call_soon(move || *keeps.borrow_mut() = Some(other.enter()));
    event_loop.run_until_complete(shim::yield_now());
    // The loop's turn that it was made in is over.
    drop(kept.take());
    let (sender, receiver) = mpsc::channel();
    ID.set(1);
    shim::call_soon(move || {
        let thread = thread::current().name().map(str::to_owned);
        sender.send((thread, ID.get())).unwrap();
    });
    let (thread, seen) = receiver.recv().unwrap();
    assert_eq!((thread.as_deref(), seen), (Some("around"), Some(1)));
    event_loop.run_until_complete(shim::yield_now());
}

#[test]
fn a_guard_that_is_dropped_in_an_inner_frame_ends_all_the_same() {
    let (first, second) = (named("first"), named("second"));
    let _first = first.enter();
    let guard = second.enter();
    assert_eq!(spawned_on().as_deref(), Some("second"));
    let event_loop = EventLoop::new();
    event_loop.call_soon_in(Context::new(), {
        // Neither `Send` nor of this frame.
        let guard: EnterGuard<'static> = leak(named("third")).enter();
        move || drop(guard)
    });
    assert_eq!(spawned_on().as_deref(), Some("third"));
    event_loop.run_until_complete(shim::yield_now());
    assert_eq!(spawned_on().as_deref(), Some("second"));
    drop(guard);
    assert_eq!(spawned_on().as_deref(), Some("first"));
}

#[cfg(feature = "futures-executor")]
#[test]
fn a_timer_that_comes_before_the_one_that_is_waited_for() {
    let mut pool = futures::executor::LocalPool::new();
    let executor = ContextAwareExecutor::new(pool.spawner());
    let last = executor.call_later_local(Duration::from_secs(3600), || unreachable!());
    pool.run_until_stalled();
    let (done, wait) = oneshot::channel();
    executor.call_later_local(Duration::from_millis(1), move || done.send(()).unwrap());
    assert_eq!(pool.run_until(wait), Ok(()));
    last.cancel();
}

#[test]
fn values_of_a_fixed_context_that_panic_when_they_are_dropped() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("a value"));
        }
    }
    context_var! { static VALUE: Bomb; }
    let event_loop = EventLoop::new();
    let fixed = Context::new().with_value(&VALUE, Bomb);
    ContextAwareExecutor::fixed(event_loop.handle(), fixed).call_soon(|| ());
    let (done, wait) = mpsc::channel();
    event_loop.call_soon(move || done.send(()).unwrap());
    event_loop.run_until_complete(shim::yield_now());
    assert_eq!(wait.try_recv(), Ok(()));
}

#[test]
fn guards_may_be_dropped_in_any_order() {
    let (sender, receiver) = mpsc::channel();
    let executors = [0, 1, 2].map(|n| {
        let sender = sender.clone();
        ContextAwareExecutor::from_schedule(move |step| {
            sender.send(n).unwrap();
            step.run();
        })
    });
    let goes_to = || {
        shim::spawn(async {}).detach();
        receiver.try_iter().next()
    };
    let outermost = executors[0].enter();
    let (first, second) = (executors[1].enter(), executors[2].enter());
    assert_eq!(goes_to(), Some(2));
    drop(first);
    assert_eq!(goes_to(), Some(2));
    drop(second);
    assert_eq!(goes_to(), Some(0));
    let again = executors[1].enter();
    drop(outermost);
    assert_eq!(goes_to(), Some(1));
    drop(again);
    // Nothing is entered: that of the process, or of nobody.
    let _ = shim::try_spawn(async {});
    assert_eq!(receiver.try_iter().next(), None);
}
