//! Tasks on an executor of one thread that can only run steps.

#[path = "../crates/conformance/src/drops.rs"]
mod drops;
#[path = "common/threads.rs"]
mod threads;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{self, poll_fn};
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread::{self, ThreadId};
use std::time::Duration;

use aiocontextvars::shim::{self, ContextAwareExecutor, JoinHandle, LocalExecutor, LocalRunnable};
use aiocontextvars::{Context, context_var, copy_context};
use futures::channel::oneshot;

use drops::Drops;

context_var! {
    static ID: u64;
}

#[derive(Default)]
struct Steps {
    ready: RefCell<VecDeque<LocalRunnable>>,
    /// Where steps were scheduled.
    threads: RefCell<Vec<ThreadId>>,
    refuses: Cell<bool>,
}

impl LocalExecutor for Steps {
    fn schedule_local(&self, task: LocalRunnable) {
        self.threads.borrow_mut().push(thread::current().id());
        if self.refuses.get() {
            // In silence: the panic hook is not called.
            panic::resume_unwind(Box::new("refused"));
        }
        self.ready.borrow_mut().push_back(task);
    }
}

impl Steps {
    fn wrapped() -> (Rc<Steps>, ContextAwareExecutor<Rc<Steps>>) {
        let steps = Rc::new(Steps::default());
        let wrapper = ContextAwareExecutor::new(Rc::clone(&steps));
        (steps, wrapper)
    }

    fn step(&self) -> bool {
        let step = self.ready.borrow_mut().pop_front();
        step.map(LocalRunnable::run).is_some()
    }

    /// Runs what is there, and returns in how many steps.
    fn run(&self) -> usize {
        let mut steps = 0;
        while self.step() {
            steps += 1;
        }
        steps
    }

    /// Runs until the task has ended, parked while there is nothing to do.
    fn wait<T: 'static>(&self, task: JoinHandle<T>) -> T {
        while !task.is_finished() {
            if !self.step() {
                thread::park();
                shim::deliver_remote_wakes();
            }
        }
        futures::executor::block_on(task).unwrap()
    }
}

/// Sees when it is dropped, and in which context.
struct SeesOnDrop(Rc<RefCell<Vec<Option<u64>>>>);

impl Drop for SeesOnDrop {
    fn drop(&mut self) {
        self.0.borrow_mut().push(ID.get());
    }
}

#[test]
fn tasks_and_their_children_inherit() {
    let (steps, wrapper) = Steps::wrapped();
    ID.set(1);
    let task = wrapper.spawn_local(async {
        let before = ID.get();
        ID.set(2);
        let here = Rc::new(3);
        let child = shim::spawn_local(async move { (*here, ID.get()) });
        // There is no other executor that this could go to.
        let anywhere = shim::spawn(async { ID.get() });
        ID.set(4);
        shim::yield_now().await;
        (
            before,
            child.await.unwrap(),
            anywhere.await.unwrap(),
            ID.get(),
        )
    });
    let given = wrapper.spawn_local_in(Context::new().with_value(&ID, 9), async { ID.get() });
    ID.set(5);
    let seen = steps.wait(task);
    assert_eq!(seen, (Some(1), (3, Some(2)), Some(2), Some(4)));
    assert_eq!(steps.wait(given), Some(9));
    assert_eq!((ID.get(), copy_context().len()), (Some(5), 1));
    assert_eq!(steps.run(), 0);
}

#[test]
fn callbacks_and_timers_keep_their_order() {
    let (steps, wrapper) = Steps::wrapped();
    let order = Rc::new(RefCell::new(Vec::new()));
    let push = |n: u64| {
        let order = Rc::clone(&order);
        move || order.borrow_mut().push((n, ID.get()))
    };
    ID.set(1);
    wrapper.call_soon_local(push(1));
    ID.set(2);
    wrapper.call_soon_local(push(2));
    wrapper.call_later_local(Duration::from_millis(1), push(4));
    wrapper.call_soon_local_in(Context::new(), push(3));
    let last = push(5);
    let (done, wait) = oneshot::channel();
    wrapper.call_later_local(Duration::from_millis(2), move || {
        last();
        done.send(()).unwrap();
    });
    ID.set(3);
    assert!(order.borrow().is_empty());
    let task = wrapper.spawn_local(wait);
    assert_eq!(steps.wait(task), Ok(()));
    let seen = [
        (1, Some(1)),
        (2, Some(2)),
        (3, None),
        (4, Some(2)),
        (5, Some(2)),
    ];
    assert_eq!(*order.borrow(), seen);
}

#[test]
fn woken_from_another_thread_it_is_scheduled_on_its_own() {
    let (steps, wrapper) = Steps::wrapped();
    let (sender, receiver) = oneshot::channel::<u64>();
    ID.set(1);
    let task = wrapper.spawn_local(async move {
        let received = receiver.await.unwrap();
        (received, ID.get())
    });
    assert_eq!((steps.run(), steps.threads.borrow().len()), (1, 1));
    let other = thread::spawn(move || {
        ID.set(2);
        sender.send(7).unwrap();
    });
    other.join().unwrap();
    // Nobody has delivered it yet; the other thread has only unparked this one.
    assert_eq!((steps.run(), steps.threads.borrow().len()), (0, 1));
    thread::park();
    shim::deliver_remote_wakes();
    assert_eq!(steps.threads.borrow().len(), 2);
    assert_eq!(steps.run(), 1);
    assert!(task.is_finished());
    assert_eq!(futures::executor::block_on(task).unwrap(), (7, Some(1)));
    let home = thread::current().id();
    assert!(steps.threads.borrow().iter().all(|thread| *thread == home));
    // There is nothing to be delivered twice.
    shim::deliver_remote_wakes();
    assert_eq!(steps.threads.borrow().len(), 2);
}

#[test]
fn a_step_delivers_what_was_woken_from_other_threads() {
    let (steps, wrapper) = Steps::wrapped();
    let (sender, receiver) = oneshot::channel::<u64>();
    let woken = wrapper.spawn_local(receiver);
    assert_eq!(steps.run(), 1);
    thread::spawn(move || sender.send(7))
        .join()
        .unwrap()
        .unwrap();
    assert_eq!(steps.run(), 0);
    let other = wrapper.spawn_local(async {});
    assert_eq!(steps.run(), 2);
    assert!(other.is_finished());
    assert_eq!(futures::executor::block_on(woken).unwrap(), Ok(7));
}

#[test]
fn steps_of_two_executors_go_to_their_own() {
    let ((first, on_first), (second, on_second)) = (Steps::wrapped(), Steps::wrapped());
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..2).map(|_| oneshot::channel::<u64>()).unzip();
    let tasks: Vec<_> = [&on_first, &on_second]
        .into_iter()
        .zip(receivers)
        .map(|(wrapper, receiver)| wrapper.spawn_local(receiver))
        .collect();
    assert_eq!((first.run(), second.run()), (1, 1));
    let wake = move || {
        senders
            .into_iter()
            .for_each(|sender| sender.send(7).unwrap())
    };
    thread::spawn(wake).join().unwrap();
    shim::deliver_remote_wakes();
    assert_eq!(
        (first.run(), tasks[0].is_finished(), tasks[1].is_finished()),
        (1, true, false)
    );
    assert_eq!((second.run(), tasks[1].is_finished()), (1, true));
}

#[test]
fn aborted_and_dropped_steps_drop_the_task_in_its_context() {
    type Cancel = fn(&Steps, &JoinHandle<()>);
    let cancels: [(&str, Cancel); 4] = [
        ("aborted before the first step", |steps, task| {
            task.abort();
            assert_eq!(steps.run(), 1);
        }),
        ("aborted while it waits", |steps, task| {
            assert_eq!(steps.run(), 1);
            task.abort();
            assert!(!task.is_finished());
            assert_eq!(steps.run(), 1);
        }),
        ("dropped before the first step", |steps, _| {
            let step = steps.ready.borrow_mut().pop_front();
            drop(step.unwrap());
        }),
        ("refused when it is woken", |steps, task| {
            assert_eq!(steps.run(), 1);
            steps.refuses.set(true);
            task.abort();
        }),
    ];
    for (name, cancel) in cancels {
        let (steps, wrapper) = Steps::wrapped();
        let seen = Rc::default();
        let probe = SeesOnDrop(Rc::clone(&seen));
        ID.set(1);
        let task = wrapper.spawn_local(async move {
            let _probe = probe;
            future::pending().await
        });
        ID.set(2);
        assert!(seen.borrow().is_empty(), "{name}");
        cancel(&steps, &task);
        assert_eq!((task.is_finished(), ID.get()), (true, Some(2)), "{name}");
        assert_eq!(*seen.borrow(), [Some(1)], "{name}");
        let error = futures::executor::block_on(task).unwrap_err();
        assert!(error.is_cancelled(), "{name}: {error}");
        assert_eq!((steps.run(), steps.ready.borrow().len()), (0, 0), "{name}");
    }
}

#[test]
fn without_its_executor_a_task_is_cancelled() {
    let (steps, wrapper) = Steps::wrapped();
    let (sender, receiver) = oneshot::channel::<()>();
    let seen = Rc::default();
    let probe = SeesOnDrop(Rc::clone(&seen));
    ID.set(1);
    let task = wrapper.spawn_local(async move {
        let _probe = probe;
        receiver.await.unwrap();
    });
    ID.set(2);
    assert_eq!(steps.run(), 1);
    drop((steps, wrapper));
    assert!(!task.is_finished());
    // It has nobody to run it when it is woken.
    sender.send(()).unwrap();
    assert_eq!((task.is_finished(), ID.get()), (true, Some(2)));
    assert_eq!(*seen.borrow(), [Some(1)]);
    assert!(
        futures::executor::block_on(task)
            .unwrap_err()
            .is_cancelled()
    );
}

#[test]
fn tasks_keep_no_executor_alive_that_its_wrapper_owns() {
    let wrapper = ContextAwareExecutor::new(Steps::default());
    let seen = Rc::default();
    let probe = SeesOnDrop(Rc::clone(&seen));
    ID.set(1);
    let task = wrapper.spawn_local(async move {
        let _probe = probe;
        future::pending::<()>().await;
    });
    ID.set(2);
    // The executor goes with its wrapper, and the step with the executor.
    drop(wrapper);
    assert!(task.is_finished());
    assert_eq!((seen.take(), ID.get()), (vec![Some(1)], Some(2)));
}

#[test]
fn a_task_whose_executor_is_gone_has_nowhere_to_spawn() {
    has_nowhere_to_spawn(Rc::new(Steps::default()));
    #[expect(
        clippy::arc_with_non_send_sync,
        reason = "local executors may be held by either"
    )]
    has_nowhere_to_spawn(Arc::new(Steps::default()));
}

/// The task is run after the last of its executor has gone.
fn has_nowhere_to_spawn<P>(steps: P)
where
    P: LocalExecutor + Clone + Deref<Target = Steps>,
{
    let wrapper = ContextAwareExecutor::new(P::clone(&steps));
    let drops = Drops::new();
    let value = drops.value();
    let refused = Rc::new(RefCell::new(String::new()));
    let text = Rc::clone(&refused);
    let task = wrapper.spawn_local(async move {
        shim::yield_now().await;
        let spawn = || shim::spawn_local(async move { drop(value) });
        let payload = panic::catch_unwind(AssertUnwindSafe(spawn)).unwrap_err();
        *text.borrow_mut() = *payload.downcast::<String>().unwrap();
    });
    assert!(steps.step());
    // The step is run by whoever has it.
    let step = steps.ready.borrow_mut().pop_front().unwrap();
    drop((steps, wrapper));
    step.run();
    assert!(task.is_finished());
    let refused = refused.take();
    assert!(refused.starts_with("no local executor"), "{refused}");
    assert_eq!(drops.count(), 1);
}

#[test]
fn a_task_that_has_ended_leaves_nothing_of_its_executor_behind() {
    let (steps, wrapper) = Steps::wrapped();
    let task = wrapper.spawn_local(async { ID.set(1) });
    let aborted = wrapper.spawn_local(future::pending::<()>());
    aborted.abort();
    assert!(Rc::weak_count(&steps) > 0);
    assert_eq!(steps.run(), 2);
    assert!(task.is_finished() && aborted.is_finished());
    drop((task, aborted));
    assert_eq!((Rc::weak_count(&steps), Rc::strong_count(&steps)), (0, 2));
}

#[test]
fn done_callbacks_go_where_they_were_added() {
    // To the current executor, because the task's own has no callbacks for what is added elsewhere.
    let (steps, wrapper) = Steps::wrapped();
    let task = wrapper.spawn_local(async {});
    let pools = [(); 2].map(|()| threads::threads(1));
    let (sender, receiver) = mpsc::channel();
    for (n, pool) in [(0, &pools[0]), (1, &pools[1]), (2, &pools[0])] {
        let _entered = pool.enter();
        let sender = sender.clone();
        task.add_done_callback(move || sender.send((n, thread::current().id())).unwrap());
    }
    assert_eq!(steps.run(), 1);
    let mut seen: Vec<_> = receiver.iter().take(3).collect();
    seen.sort_by_key(|(n, _)| *n);
    let threads = pools.map(|pool| {
        let thread = pool.spawn(async { thread::current().id() });
        pool.block_on(thread).unwrap()
    });
    assert_eq!(seen, [(0, threads[0]), (1, threads[1]), (2, threads[0])]);
}

#[test]
fn a_panic_goes_to_the_handle() {
    let (steps, wrapper) = Steps::wrapped();
    let task = wrapper.spawn_local(async { panic::resume_unwind(Box::new("on purpose")) });
    assert_eq!(steps.run(), 1);
    let error = futures::executor::block_on(task).unwrap_err();
    assert_eq!(error.into_panic().downcast_ref(), Some(&"on purpose"));
}

#[test]
fn the_callers_that_cannot_block_are_told() {
    let (_steps, wrapper) = Steps::wrapped();
    let drops = Drops::new();
    let value = drops.value();
    let outcome = wrapper.try_block_on_local(async move { drop(value) });
    let text = outcome.unwrap_err().to_string();
    assert!(text.contains("block"), "{text}");
    assert_eq!(drops.count(), 1);
}

/// Runs each step where it is scheduled.
struct AtOnce;

impl LocalExecutor for AtOnce {
    fn schedule_local(&self, task: LocalRunnable) {
        task.run();
    }
}

#[test]
fn callbacks_on_an_executor_that_runs_steps_at_once() {
    let executor = ContextAwareExecutor::new(Rc::new(AtOnce));
    let calls = Rc::new(Cell::new(0));
    for n in 1..=3 {
        let counted = Rc::clone(&calls);
        executor.call_soon_local(move || counted.set(counted.get() + 1));
        // Never within the call that schedules it; another thread has the step come back.
        assert_eq!(calls.get(), n - 1);
        while calls.get() < n {
            shim::deliver_remote_wakes();
            thread::yield_now();
        }
    }
    assert_eq!(calls.get(), 3);
}

/// Sees in which contexts it is dropped, from any thread.
struct TellsOnDrop(mpsc::Sender<Option<u64>>);

impl Drop for TellsOnDrop {
    fn drop(&mut self) {
        self.0.send(ID.get()).unwrap();
    }
}

/// A task that waits when its thread exits, and is woken before if `wakes` is set, but not run.
fn a_waiting_task_of_a_thread(wakes: bool) {
    let (tell, told) = mpsc::channel();
    let (give, given) = mpsc::channel();
    let (go_on, woken) = mpsc::channel();
    let thread = thread::spawn(move || {
        let (steps, wrapper) = Steps::wrapped();
        ID.set(7);
        let value = TellsOnDrop(tell);
        let (waker, taken) = mpsc::channel();
        let handle = wrapper.spawn_local(async move {
            let _value = value;
            poll_fn(|cx| {
                waker.send(cx.waker().clone()).unwrap();
                Poll::<()>::Pending
            })
            .await;
        });
        assert_eq!(steps.run(), 1);
        give.send((handle, taken.recv().unwrap())).unwrap();
        woken.recv().unwrap();
        // The executor goes, which does not have the task.
    });
    let (handle, waker) = given.recv().unwrap();
    if wakes {
        waker.wake_by_ref();
    }
    go_on.send(()).unwrap();
    thread.join().unwrap();

    assert_eq!(told.iter().collect::<Vec<_>>(), [Some(7)]);
    assert!(handle.is_finished());
    let error = futures::executor::block_on(handle).unwrap_err();
    assert!(error.is_cancelled());
    waker.wake();
}

#[test]
fn a_task_that_waits_when_its_thread_exits_is_cancelled() {
    a_waiting_task_of_a_thread(false);
}

#[test]
fn a_task_that_was_woken_when_its_thread_exits_is_cancelled() {
    a_waiting_task_of_a_thread(true);
}

#[cfg(feature = "tokio")]
#[test]
fn what_a_task_spawns_goes_where_the_task_is_and_not_to_the_runtime_around() {
    let (steps, wrapper) = Steps::wrapped();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        ID.scope(7, async {
            let task = wrapper.spawn_local(async { shim::spawn(async { ID.get() }).await });
            // The runtime has no turn meanwhile.
            steps.run();
            assert!(task.is_finished());
            assert_eq!(task.await.unwrap().unwrap(), Some(7));
        })
        .await;
    });
    assert!(steps.ready.borrow().is_empty());
}
