//! Rows R-5: executors and clocks of one's own, and what is shown, use the crate.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::future;
use std::panic::{self, AssertUnwindSafe};
use std::rc::{Rc, Weak as RcWeak};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use aiocontextvars::copy_context;
use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{
    self, Clock, ContextAwareExecutor, Executor, Job, LocalExecutor, LocalRunnable, Runnable,
    TaskGroup,
};
use futures::channel::oneshot;
use futures::future::BoxFuture;

use crate::fixtures::{ID, Log, until};
use crate::harness::message;
use crate::here::Here;
use crate::meddler::{OPERATIONS, Operation};
use crate::reentrancy_panics::{Bomb, goes_off};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(1);

/// What an executor does whenever it is called.
struct Meddling {
    operation: Operation,
    /// How often it still sends work to itself. That makes more calls, and so must have an end.
    own_work: AtomicUsize,
    failures: Log<String>,
}

impl Meddling {
    fn new(operation: Operation) -> Meddling {
        Meddling {
            operation,
            own_work: AtomicUsize::new(40),
            failures: Log::new(),
        }
    }

    /// `own` sends work to the executor that is being called.
    fn meddle(&self, place: &str, own: impl FnOnce()) {
        thread_local!(static BUSY: Cell<bool> = const { Cell::new(false) });
        if BUSY.replace(true) {
            return;
        }
        let state = || (ID.get(), copy_context().len());
        let before = state();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            (self.operation.1)();
            let spend = |left: usize| left.checked_sub(1);
            let order = Ordering::SeqCst;
            if self.own_work.fetch_update(order, order, spend).is_ok() {
                own();
            }
        }));
        if let Err(payload) = outcome {
            let text = message(&*payload);
            self.failures
                .push(format!("{place}, {}: {text}", self.operation.0));
        } else if state() != before {
            self.failures.push(format!("{place} has left traces"));
        }
        BUSY.set(false);
    }
}

/// Runs steps on threads, or where they are scheduled.
struct Own {
    this: Weak<Own>,
    steps: Option<Mutex<mpsc::Sender<Runnable>>>,
    meddling: Arc<Meddling>,
}

impl Own {
    fn start(operation: Operation, inline: bool) -> Arc<Own> {
        let steps = (!inline).then(|| {
            let (sender, receiver) = mpsc::channel::<Runnable>();
            thread::spawn(move || receiver.into_iter().for_each(Runnable::run));
            Mutex::new(sender)
        });
        Arc::new_cyclic(|this| Own {
            this: this.clone(),
            steps,
            meddling: Arc::new(Meddling::new(operation)),
        })
    }

    fn meddle(&self, place: &str) {
        self.meddling.meddle(place, || {
            let Some(this) = self.this.upgrade() else {
                return;
            };
            let wrapper = ContextAwareExecutor::new(this);
            wrapper.call_soon(|| drop(ID.set(30)));
            wrapper.call_later(Duration::ZERO, || drop(ID.set(31)));
            wrapper
                .call_later(LONG, || unreachable!("cancelled"))
                .cancel();
            let task = wrapper.spawn(async { ID.set(32) });
            {
                let _entered = wrapper.enter();
                task.add_done_callback(|| ());
            }
            task.abort();
            wrapper.spawn(shim::yield_now()).detach();
        });
    }
}

impl Executor for Own {
    fn schedule(&self, task: Runnable) {
        self.meddle("schedule");
        match &self.steps {
            Some(steps) => steps.lock().unwrap().send(task).unwrap(),
            None => task.run(),
        }
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.meddle("clock");
        Arc::new(OwnClock(self.this.clone()))
    }

    fn spawn_blocking(&self, job: Job) {
        self.meddle("spawn_blocking");
        thread::spawn(|| job.run());
    }
}

struct OwnClock(Weak<Own>);

impl OwnClock {
    fn meddle(&self, place: &str) {
        if let Some(own) = self.0.upgrade() {
            own.meddle(place);
        }
    }
}

impl Clock for OwnClock {
    fn now(&self) -> Instant {
        self.meddle("now");
        Instant::now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        self.meddle("sleep_until");
        let left = at.saturating_duration_since(Instant::now());
        Box::pin(futures_timer::Delay::new(left))
    }
}

pub(crate) fn r_05_an_executor_may_use_the_crate() {
    const CALLS: u32 = 20;
    for inline in [false, true] {
        for operation in OPERATIONS {
            let own = Own::start(operation, inline);
            let wrapper = ContextAwareExecutor::new(Arc::clone(&own));
            ID.set(1);
            let (done, wait) = oneshot::channel();
            let (order, within) = (Log::new(), Arc::new(Mutex::new(())));
            for n in 0..CALLS {
                let (order, calling) = (order.clone(), Arc::clone(&within));
                let held = within.lock().unwrap();
                let call = move || {
                    // Never within the call, by whichever way the executor runs steps.
                    drop(calling.lock().unwrap());
                    order.push((n, ID.get()));
                };
                wrapper.call_soon(call);
                drop(held);
            }
            wrapper.call_later(SHORT, || done.send(ID.get()).unwrap());
            let cancelled = wrapper.call_later(LONG, || unreachable!("cancelled"));
            cancelled.cancel();
            assert!(cancelled.is_cancelled());
            let job = wrapper.spawn_blocking(|| ID.get());
            let task = wrapper.spawn(async {
                shim::yield_now().await;
                shim::sleep(SHORT).await;
                let child = shim::spawn(async { ID.get() });
                child.await.unwrap()
            });
            let aborted = wrapper.spawn(future::pending::<()>());
            let (ended, heard) = oneshot::channel();
            {
                let _entered = wrapper.enter();
                aborted.add_done_callback(|| ended.send(ID.get()).unwrap());
            }
            aborted.abort();
            let seen = wrapper.block_on(async {
                assert!(aborted.await.unwrap_err().is_cancelled());
                (job.await, task.await, heard.await, wait.await)
            });
            let (job, task, heard, timer) = seen;
            assert_eq!((job.unwrap(), task.unwrap()), (Some(1), Some(1)));
            assert_eq!((heard, timer), (Ok(Some(1)), Ok(Some(1))));
            let expected: Vec<_> = (0..CALLS).map(|n| (n, Some(1))).collect();
            assert_eq!(order.take(), expected, "{}", operation.0);
            assert_eq!(own.meddling.failures.take(), Vec::<String>::new());
            assert_eq!((ID.get(), copy_context().len()), (Some(1), 1));
        }
    }
}

/// Runs steps on this thread.
struct OwnLocal {
    this: RcWeak<OwnLocal>,
    steps: RefCell<VecDeque<LocalRunnable>>,
    meddling: Meddling,
}

impl LocalExecutor for OwnLocal {
    fn schedule_local(&self, task: LocalRunnable) {
        self.meddling.meddle("schedule_local", || {
            let Some(this) = self.this.upgrade() else {
                return;
            };
            let wrapper = ContextAwareExecutor::new(this);
            wrapper.call_soon_local(|| drop(ID.set(30)));
            wrapper
                .call_later_local(LONG, || unreachable!("cancelled"))
                .cancel();
            let task = wrapper.spawn_local(async { ID.set(31) });
            task.abort();
            wrapper.spawn_local(shim::yield_now()).detach();
        });
        self.steps.borrow_mut().push_back(task);
    }
}

pub(crate) fn r_05_a_local_executor_may_use_the_crate() {
    for operation in OPERATIONS {
        let own = Rc::new_cyclic(|this| OwnLocal {
            this: this.clone(),
            steps: RefCell::default(),
            meddling: Meddling::new(operation),
        });
        let wrapper = ContextAwareExecutor::new(Rc::clone(&own));
        ID.set(1);
        let order = Log::new();
        for n in 0..5 {
            let order = order.clone();
            wrapper.call_soon_local(move || order.push((n, ID.get())));
        }
        let aborted = wrapper.spawn_local(future::pending::<()>());
        aborted.abort();
        let task = wrapper.spawn_local(async move {
            assert!(aborted.await.unwrap_err().is_cancelled());
            shim::sleep(SHORT).await;
            ID.get()
        });
        while !task.is_finished() {
            let step = own.steps.borrow_mut().pop_front();
            match step {
                Some(step) => step.run(),
                None => {
                    thread::park();
                    shim::deliver_remote_wakes();
                }
            }
        }
        assert_eq!(futures::executor::block_on(task).unwrap(), Some(1));
        assert!(order.take().into_iter().eq((0..5).map(|n| (n, Some(1)))));
        assert_eq!(own.meddling.failures.take(), Vec::<String>::new());
        assert_eq!((ID.get(), copy_context().len()), (Some(1), 1));
    }
}

pub(crate) fn r_05_an_executor_may_go_with_its_last_task() {
    /// Runs steps on a thread, and tells when it is dropped, which fails.
    struct Ends(Mutex<mpsc::Sender<Runnable>>, mpsc::Sender<()>);
    impl Executor for Ends {
        fn schedule(&self, task: Runnable) {
            self.0.lock().unwrap().send(task).unwrap();
        }
    }
    impl Drop for Ends {
        fn drop(&mut self) {
            OPERATIONS.iter().for_each(|(_, operation)| operation());
            self.1.send(()).unwrap();
            panic::resume_unwind(Box::new("the end of an executor"));
        }
    }
    let (sender, receiver) = mpsc::channel::<Runnable>();
    let (ended, ends) = mpsc::channel();
    let runs = thread::spawn(|| receiver.into_iter().for_each(Runnable::run));
    // Moved into the wrapper, it lives as long as its tasks do.
    let wrapper = ContextAwareExecutor::new(Ends(Mutex::new(sender), ended));
    let (go, going) = oneshot::channel::<()>();
    let task = wrapper.spawn(async move { going.await.unwrap() });
    task.detach();
    let last = Arc::new(Mutex::new(Some(wrapper)));
    let place = Arc::clone(&last);
    let drops = move || {
        let wrapper = place.lock().unwrap().take();
        drop(wrapper);
    };
    last.lock().unwrap().as_ref().unwrap().call_soon(drops);
    go.send(()).unwrap();
    // Wherever the last reference goes.
    assert!(ends.recv().is_ok());
    runs.join().unwrap();
}

pub(crate) fn r_05_a_handler_of_slow_callbacks_may_use_the_crate() {
    let order = Log::new();
    let event_loop = Rc::new(EventLoop::new());
    event_loop.set_debug(true);
    event_loop.set_slow_callback_duration(Duration::ZERO);
    let (weak, log) = (Rc::downgrade(&event_loop), order.clone());
    event_loop.set_slow_callback_handler(move |_| {
        OPERATIONS.iter().for_each(|(_, operation)| operation());
        let event_loop = weak.upgrade().unwrap();
        // Replaced while it runs.
        let second = log.clone();
        event_loop.set_slow_callback_handler(move |_| second.push("second"));
        assert!(event_loop.try_run_forever().is_err());
        let called = log.clone();
        event_loop.call_soon(move || called.push("called"));
        log.push("first");
        panic::resume_unwind(Box::new("in a handler"));
    });
    event_loop.call_soon(|| ());
    event_loop.run_until_complete(async {
        until(|| !order.is_empty()).await;
        shim::yield_now().await;
        shim::yield_now().await;
    });
    let seen = order.take();
    assert_eq!(seen[0], "first");
    assert!(seen.contains(&"called") && seen.contains(&"second"));
}

pub(crate) fn r_05_a_cancelled_timer_whose_destructor_panics_is_not_waited_for() {
    let here = Rc::new(Here::default());
    let wrapper = ContextAwareExecutor::new(Rc::clone(&here));
    let bomb = Bomb;
    let timer = wrapper.call_later_local(LONG, || drop(bomb));
    let (done, wait) = oneshot::channel();
    wrapper.call_soon_local(|| done.send(()).unwrap());
    here.run_until(wait).unwrap();
    goes_off(|| timer.cancel());
    assert!(timer.is_cancelled());
    // The queue has nothing to wait for.
    here.run();
}

pub(crate) fn r_05_errors_and_groups_may_be_shown_while_they_are_used() {
    /// Calls a function whenever something is written.
    struct Calls<F>(F);
    impl<F: FnMut()> Write for Calls<F> {
        fn write_str(&mut self, _: &str) -> fmt::Result {
            (self.0)();
            Ok(())
        }
    }
    let error = shim::block_on(async {
        let task = shim::spawn(async { panic::resume_unwind(Box::new("on purpose")) });
        let task: shim::JoinHandle<()> = task;
        task.await.unwrap_err()
    });
    let mut calls = 0;
    let mut show = Calls(|| {
        calls += 1;
        assert!(error.to_string().ends_with("on purpose"));
        assert!(format!("{error:?}").contains("on purpose"));
    });
    write!(show, "{error} {error:?}").unwrap();
    assert!(calls > 2);
    let group = TaskGroup::<&str>::new();
    shim::block_on(async {
        let mut show = Calls(|| {
            assert!(format!("{group:?}").contains("tasks"));
            group.spawn(future::pending::<Result<(), &str>>()).detach();
        });
        write!(show, "{group:?}").unwrap();
        group.abort();
        assert!(group.clone().join().await.is_ok());
    });
}
