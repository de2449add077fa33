//! Context variables while a thread's locals are destroyed, and what becomes of a thread's own
//! context.

use std::cell::RefCell;
use std::future::pending;
use std::panic;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::task;
use std::thread;
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{ContextAwareExecutor, LocalExecutor, LocalRunnable};
use aiocontextvars::{
    Context, ContextExt, ContextVar, SetErrorKind, SharedContext, context_var, copy_context, shim,
};
use futures::FutureExt;
use futures::channel::oneshot;

context_var! {
    static ID: u64;
    static TENANT: String = "public".to_owned();
    static HELD: Held;
}

/// A value that uses the crate when it is dropped.
struct Held(Sender<(Option<u64>, String)>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send((ID.get(), TENANT.get())).unwrap();
        // A write may have nowhere to go by then; it must not panic either.
        drop(ID.scoped(10));
    }
}

/// Calls a function when the thread's locals are destroyed.
struct AtExit(Option<Box<dyn FnOnce()>>);

impl Drop for AtExit {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

thread_local! {
    static AT_EXIT: RefCell<AtExit> = const { RefCell::new(AtExit(None)) };
}

/// Runs `at_exit` when a new thread's locals are destroyed, before or after its own context is
/// freed.
fn in_a_destructor(context_goes_last: bool, at_exit: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(move || {
        let first_use = || ID.set(1);
        // Locals are destroyed in the reverse order of their first uses; both have to work.
        if context_goes_last {
            first_use();
            AT_EXIT.with_borrow_mut(|slot| slot.0 = Some(Box::new(at_exit)));
        } else {
            AT_EXIT.with_borrow_mut(|slot| slot.0 = Some(Box::new(at_exit)));
            first_use();
        }
    });
    thread.join().unwrap();
}

/// Runs `f`, which leaves something to the thread's end, on a new thread. Then tells what was seen
/// by then.
fn at_the_end_of_a_thread(
    f: impl FnOnce(Sender<Option<u64>>) + Send + 'static,
) -> Vec<Option<u64>> {
    let (sender, receiver): (_, Receiver<Option<u64>>) = mpsc::channel();
    thread::spawn(move || f(sender)).join().unwrap();
    let mut seen: Vec<_> = receiver.iter().collect();
    seen.sort();
    seen
}

/// Keeps what `make` returns in a thread-local, which is destroyed before or after the thread's own
/// context.
fn keep<T: 'static>(context_goes_last: bool, make: impl FnOnce() -> T) {
    if context_goes_last {
        ID.set(1);
        AT_EXIT.with(|_| ());
    } else {
        AT_EXIT.with(|_| ());
        ID.set(1);
    }
    let value = make();
    AT_EXIT.with_borrow_mut(|slot| slot.0 = Some(Box::new(|| drop(value))));
}

#[test]
fn r_06_reading_works() {
    for order in [false, true] {
        let (sender, receiver) = mpsc::channel();
        in_a_destructor(order, move || {
            let fresh = ContextVar::<u8>::with_default("fresh", || 3);
            sender.send((ID.get(), TENANT.get(), fresh.get())).unwrap();
            assert_eq!(ID.get_or(5), ID.get().unwrap_or(5));
            assert_eq!(copy_context().len(), usize::from(ID.get().is_some()));
        });
        let (id, tenant, fresh) = receiver.recv().unwrap();
        assert!(id.is_none() || id == Some(1));
        assert_eq!((tenant.as_str(), fresh), ("public", 3));
    }
}

#[test]
fn r_06_entering_and_leaving_works() {
    for order in [false, true] {
        let (sender, receiver) = mpsc::channel();
        in_a_destructor(order, move || {
            let mut context = Context::new().with_value(&ID, 2);
            let seen = context.run(|| {
                // Inside a context of its own, writing works as ever.
                let token = ID.set(3);
                let seen = ID.get();
                ID.reset(token).unwrap();
                let _guard = ID.scoped(4);
                (seen, ID.get())
            });
            let shared = SharedContext::new();
            shared.run(|| ID.set(5)).unwrap();
            drop(async {}.in_context(context));
            let blocked = shim::thread::spawn(|| ID.get()).join().unwrap();
            sender
                .send((seen, shared.get(&ID), blocked == ID.get()))
                .unwrap();
        });
        assert_eq!(receiver.recv(), Ok(((Some(3), Some(4)), Some(5), true)));
    }
}

#[test]
fn r_06_writing_fails_softly() {
    for context_goes_last in [false, true] {
        let (sender, receiver) = mpsc::channel();
        in_a_destructor(context_goes_last, move || {
            let outcome = ID.try_set(7).map(drop).map_err(|error| {
                assert!(error.to_string().contains("`ID`"), "{error}");
                (error.kind(), error.into_value())
            });
            // The form without an error drops the value, and its token restores nothing.
            let token = ID.set(8);
            let kept = ID.get() == Some(8);
            assert_eq!(ID.reset(token).is_ok(), kept);
            drop(ID.scoped(9));
            drop(ID.unset());
            sender.send((outcome, kept)).unwrap();
        });
        let expected = if context_goes_last {
            (Ok(()), true)
        } else {
            (Err((SetErrorKind::ThreadExit, 7)), false)
        };
        assert_eq!(receiver.recv(), Ok(expected));
    }
}

#[test]
fn th_07_a_finished_threads_values_are_dropped_once() {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        ID.set(1);
        HELD.set(Held(sender.clone()));
        // A copy that outlives the thread keeps what it has, and no more.
        HELD.set(Held(sender));
        assert_eq!(ID.get(), Some(1));
    })
    .join()
    .unwrap();
    let seen: Vec<_> = receiver.iter().collect();
    let tenant = "public".to_owned();
    // The first was replaced while the thread ran; the second went with it.
    assert_eq!(seen, [(Some(1), tenant.clone()), (None, tenant)]);
}

#[test]
fn th_07_a_copy_outlives_its_thread() {
    let (sender, receiver) = mpsc::channel();
    let copy = thread::spawn(move || {
        ID.set(1);
        HELD.set(Held(sender));
        copy_context()
    })
    .join()
    .unwrap();
    assert_eq!(copy.get(&ID), Some(&1));
    assert!(receiver.try_recv().is_err());
    drop(copy);
    assert_eq!(receiver.iter().count(), 1);
}

/// Runs a loop with work of every kind when it is dropped.
struct RunsALoop(Sender<Option<u64>>);

impl Drop for RunsALoop {
    fn drop(&mut self) {
        let seen = EventLoop::new().run_until_complete(async {
            ID.set(2);
            let (called, wait) = oneshot::channel();
            shim::call_soon(move || called.send(ID.get()).unwrap());
            let task = shim::spawn(async { ID.get() });
            let job = shim::spawn_blocking(|| ID.get());
            shim::sleep(Duration::from_millis(1)).await;
            assert_eq!(wait.await.unwrap(), Some(2));
            assert_eq!(job.await.unwrap(), Some(2));
            task.await.unwrap()
        });
        self.0.send(seen).unwrap();
    }
}

#[test]
fn r_06_the_event_loop_runs_in_a_destructor() {
    for used_before in [false, true] {
        let seen = at_the_end_of_a_thread(move |sender| {
            // Registered before what the loop keeps for the thread, so that this is gone already at
            // the end.
            keep(false, || RunsALoop(sender.clone()));
            if used_before {
                drop(RunsALoop(sender));
            }
        });
        assert_eq!(seen, vec![Some(2); 1 + usize::from(used_before)]);
    }
}

/// Sends what `ID` is when it is dropped, and uses the crate in every way that is left.
struct Uses(Sender<Option<u64>>);

context_var! { static USES: Uses; }

impl Drop for Uses {
    fn drop(&mut self) {
        let seen = ID.get();
        let token = ID.try_set(20).ok();
        let set = token.is_some();
        assert_eq!(ID.get(), if set { Some(20) } else { seen });
        // A write that is refused drops its value, here and now.
        let (sender, receiver) = mpsc::channel();
        HELD.set(Held(sender));
        let refused = receiver.try_iter().count();
        assert_eq!(refused, usize::from(!set));
        HELD.unset();
        assert_eq!(refused + receiver.iter().count(), 1);
        drop(ID.scoped(21));
        let mut context = copy_context().with_value(&ID, 22);
        assert_eq!(context.run(|| (ID.set(23), ID.get()).1), Some(23));
        let (shared, at_call) = (context.share(), ID.get());
        assert_eq!(shared.run(|| ID.get()), Ok(Some(23)));
        let wrapped = async { ID.get() }.in_current_context();
        assert_eq!(wrapped.now_or_never(), Some(at_call));
        assert_eq!(shim::bind(|| ID.get())(), at_call);
        if let Some(token) = token {
            ID.reset(token).unwrap();
        }
        assert_eq!(ID.get(), seen);
        self.0.send(seen).unwrap();
    }
}

#[test]
fn exit_a_thread_whose_values_use_the_crate() {
    // A value of its own context, which has been emptied when the value goes.
    let seen = at_the_end_of_a_thread(|sender| {
        ID.set(1);
        USES.set(Uses(sender));
    });
    assert_eq!(seen, [None]);
    // The same after a panic.
    let (sender, receiver) = mpsc::channel();
    let panicked = thread::spawn(move || {
        ID.set(1);
        USES.set(Uses(sender));
        panic::resume_unwind(Box::new("on purpose"));
    });
    let payload = panicked.join().unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [None]);
}

#[test]
fn exit_a_thread_that_keeps_a_context() {
    for context_goes_last in [false, true] {
        let seen = at_the_end_of_a_thread(move |sender| {
            let context = Context::new()
                .with_value(&ID, 2)
                .with_value(&USES, Uses(sender.clone()));
            let shared = Context::new().with_value(&USES, Uses(sender)).share();
            keep(context_goes_last, || (context, shared));
        });
        // In the context of the thread, while there is one.
        let id = context_goes_last.then_some(1);
        assert_eq!(seen, [id, id]);
    }
}

#[test]
fn exit_a_thread_that_keeps_a_wrapped_future() {
    for context_goes_last in [false, true] {
        for polls in 0..2 {
            let seen = at_the_end_of_a_thread(move |sender| {
                let held = Uses(sender.clone());
                let future = async move {
                    let _held = held;
                    ID.set(3);
                    pending::<()>().await;
                };
                let context = Context::new()
                    .with_value(&ID, 2)
                    .with_value(&USES, Uses(sender));
                let mut future = Box::pin(future.in_context(context));
                let mut cx = task::Context::from_waker(task::Waker::noop());
                for _ in 0..polls {
                    assert!(future.as_mut().poll(&mut cx).is_pending());
                }
                keep(context_goes_last, || future);
            });
            // The value of its context goes when that has been left, in an empty one.
            assert_eq!(seen, [None, Some(2 + polls)]);
        }
    }
}

#[test]
fn exit_a_thread_that_keeps_a_guard_and_a_token() {
    for context_goes_last in [false, true] {
        let seen = at_the_end_of_a_thread(move |sender| {
            keep(context_goes_last, || USES.scoped(Uses(sender)));
        });
        // The value is the context's: it goes with the guard, or with the context if that is first.
        assert_eq!(seen, [context_goes_last.then_some(1)]);
        let seen = at_the_end_of_a_thread(move |sender| {
            keep(context_goes_last, || {
                USES.set(Uses(sender));
                USES.unset()
            });
        });
        // That of a token is the token's.
        assert_eq!(seen, [context_goes_last.then_some(1)]);
    }
}

#[test]
fn exit_a_thread_that_keeps_an_event_loop() {
    for context_goes_last in [false, true] {
        let (sender, receiver) = mpsc::channel();
        let handles = thread::spawn(move || {
            let event_loop = EventLoop::new();
            let context = |id| {
                let uses = Uses(sender.clone());
                Context::new().with_value(&ID, id).with_value(&USES, uses)
            };
            let held = || Uses(sender.clone());
            let (from_handle, task, timer, soon) = (held(), held(), held(), held());
            let task = event_loop.spawn_in(context(4), async move {
                let _held = task;
                pending::<()>().await;
            });
            let remote = ContextAwareExecutor::new(event_loop.handle());
            let remote = remote.spawn_in(context(5), async move {
                let _held = from_handle;
                pending::<()>().await;
            });
            let hour = Duration::from_secs(3600);
            let timer = event_loop.call_later_in(context(6), hour, move || drop(timer));
            event_loop.run_until_complete(async { shim::yield_now().await });
            // This one has had no turn.
            let soon = event_loop.call_soon_in(context(7), move || drop(soon));
            keep(context_goes_last, || event_loop);
            (task, remote, timer, soon)
        });
        let (task, remote, timer, soon) = handles.join().unwrap();
        let mut seen: Vec<_> = receiver.iter().collect();
        seen.sort();
        let closures = [4, 5, 6, 7].map(Some);
        assert_eq!(seen, [&[None; 4][..], &closures].concat());
        for task in [task, remote] {
            assert!(
                futures::executor::block_on(task)
                    .unwrap_err()
                    .is_cancelled()
            );
        }
        timer.cancel();
        soon.cancel();
        assert!(!timer.is_cancelled() && !soon.is_cancelled());
    }
}

/// Keeps its steps for whoever may run them.
#[derive(Default)]
struct Steps(RefCell<Vec<LocalRunnable>>);

impl LocalExecutor for Steps {
    fn schedule_local(&self, task: LocalRunnable) {
        self.0.borrow_mut().push(task);
    }
}

#[test]
fn r_06_local_work_is_cancelled_where_its_place_is_gone() {
    let (sender, receiver) = mpsc::channel();
    let (sender_of_ends, ends) = mpsc::channel();
    let thread = thread::spawn(move || {
        let executor = Rc::new(ContextAwareExecutor::new(Rc::new(Steps::default())));
        let kept = Rc::clone(&executor);
        let at_exit = move || {
            let context = |id| Context::new().with_value(&ID, id);
            let (in_call, in_task) = (Uses(sender.clone()), Uses(sender));
            let call = kept.call_soon_local_in(context(4), move || drop(in_call));
            let task = kept.spawn_local_in(context(5), async move { drop(in_task) });
            assert!(!call.is_cancelled());
            sender_of_ends.send(task.is_finished()).unwrap();
        };
        AT_EXIT.with_borrow_mut(|slot| slot.0 = Some(Box::new(at_exit)));
        // The places for such work are made here, and go first.
        executor.call_soon_local(|| ());
        executor.spawn_local(async {}).detach();
    });
    thread.join().unwrap();
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [Some(4), Some(5)]);
    assert_eq!(ends.iter().collect::<Vec<_>>(), [true]);
}

#[test]
fn exit_a_thread_that_keeps_handles() {
    for context_goes_last in [false, true] {
        let seen = at_the_end_of_a_thread(move |sender| {
            let event_loop = EventLoop::new();
            let kept = event_loop.run_until_complete(async {
                let held = Uses(sender.clone());
                let context = Context::new().with_value(&ID, 4);
                let task = event_loop.spawn_in(context, async move { held });
                shim::yield_now().await;
                assert!(task.is_finished());
                let held = Uses(sender);
                let hour = Duration::from_secs(3600);
                let context = Context::new().with_value(&ID, 5);
                let timer = event_loop.call_later_in(context, hour, move || drop(held));
                (task, timer)
            });
            // The loop goes first, with the timer's closure; the task's output goes with its handle,
            // in an empty context.
            keep(context_goes_last, || kept);
        });
        assert_eq!(seen, [None, Some(5)]);
    }
}

#[test]
fn exit_a_thread_that_forgot_an_event_loop() {
    /// Within reach of a leak checker.
    static FORGOTTEN: AtomicPtr<EventLoop> = AtomicPtr::new(ptr::null_mut());
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic::resume_unwind(Box::new("on purpose"));
        }
    }
    let seen = at_the_end_of_a_thread(|sender| {
        let event_loop = EventLoop::new();
        let (first, last) = (Uses(sender.clone()), Uses(sender));
        let context = |id| Context::new().with_value(&ID, id);
        event_loop.call_soon_in(context(4), move || drop(first));
        let bomb = Bomb;
        event_loop.call_soon(move || drop(bomb));
        event_loop.call_soon_in(context(5), move || drop(last));
        FORGOTTEN.store(Box::into_raw(Box::new(event_loop)), Ordering::Relaxed);
    });
    assert_eq!(seen, [4, 5].map(Some));
}
