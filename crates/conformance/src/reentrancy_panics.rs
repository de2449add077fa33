//! Rows R-5: user code that panics where it should not.

use std::any::Any;
use std::future;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use std::task::{self, Poll};
use std::thread;
use std::time::Duration;

use aiocontextvars::shim::{self, CallHandle};
use aiocontextvars::{Context, ContextExt, SharedContext, context_var, copy_context};
use futures::FutureExt;

use crate::executor::{On, Task};
use crate::fixtures::{Drops, HELD, HeldElsewhere, ID, Log, until};
use crate::harness::message;
use crate::reports;
use crate::waker::{WakerHook, waker};

const LONG: Duration = Duration::from_secs(3600);

/// Panics when it is dropped.
pub(crate) struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic::resume_unwind(Box::new("in a destructor"));
    }
}

context_var! { pub(crate) static BOMB: Bomb; }

/// Calls `f`, which panics, and returns what it throws.
#[track_caller]
pub(crate) fn unwinds<R>(f: impl FnOnce() -> R) -> Box<dyn Any + Send> {
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| drop(f())));
    outcome.expect_err("nothing has panicked")
}

/// Calls `f`, in which a [`Bomb`] goes off.
#[track_caller]
pub(crate) fn goes_off<R>(f: impl FnOnce() -> R) {
    assert_eq!(message(&*unwinds(f)), "in a destructor");
}

fn is_armed() -> bool {
    BOMB.with(|value| value.is_some())
}

pub(crate) fn r_05_a_destructor_that_panics() {
    let drops = Drops::new();
    ID.set(1);
    BOMB.set(Bomb);
    goes_off(|| BOMB.set(Bomb));
    assert!(is_armed(), "the write has taken place");
    goes_off(|| BOMB.unset());
    assert!(!is_armed());
    let token = BOMB.set(Bomb);
    goes_off(|| BOMB.reset(token));
    assert!(!is_armed());
    let guard = BOMB.scoped(Bomb);
    goes_off(|| drop(guard));
    assert!(!is_armed());
    goes_off(|| BOMB.sync_scope(Bomb, || drop(HELD.set(drops.value()))));
    goes_off(|| {
        Context::new()
            .with_value(&BOMB, Bomb)
            .with_value(&HELD, drops.value())
    });
    goes_off(|| {
        let shared = Context::new().with_value(&HELD, drops.value()).share();
        let inside = || drop(BOMB.set(Bomb));
        shared.run(inside).unwrap();
    });
    let in_a_future = drops.value();
    goes_off(|| BOMB.scope(Bomb, async move { drop(in_a_future) }));
    assert_eq!(drops.count(), 4, "the other values are dropped");
    // A frame that was left is left.
    goes_off(|| Context::new().run(|| Context::new().with_value(&BOMB, Bomb)));
    assert_eq!((ID.get(), copy_context().len()), (Some(1), 1));
    // A panic that is under way is the one that goes on.
    let payload = unwinds(|| {
        let _guard = BOMB.scoped(Bomb);
        let _future = BOMB.scope(Bomb, async {});
        panic::resume_unwind(Box::new("first"))
    });
    assert_eq!((message(&*payload), is_armed()), ("first", false));
    let shared = Context::new().with_value(&BOMB, Bomb).share();
    let panics = || panic::resume_unwind(Box::new("first"));
    let payload = shim::thread::spawn_in::<_, ()>(shared, panics).join();
    assert_eq!(message(&*payload.unwrap_err()), "first");
    // Nobody is there to hear of it when a thread ends.
    let at_exit = drops.value();
    let exiting = thread::spawn(|| {
        HELD.set(at_exit);
        BOMB.set(Bomb);
    });
    exiting.join().unwrap();
    assert_eq!(drops.count(), 5);
}

pub(crate) fn r_05_destructors_while_the_thread_unwinds() {
    struct OnDrop<F: FnMut()>(F);
    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    ID.set(1);
    let seen = Log::new();
    let mut context = Context::new().with_value(&ID, 2);
    let inside = || {
        let _outer = OnDrop(|| {
            // What the destructor before this one has set.
            seen.push(ID.get());
            Context::new().run(|| {
                let _guard = ID.scoped(5);
                let nested = panic::catch_unwind(|| {
                    ID.set(6);
                    panic::resume_unwind(Box::new("nested"));
                });
                assert!(nested.is_err() && thread::panicking());
                seen.push(ID.get());
            });
            ID.set(4);
        });
        let _inner = OnDrop(|| drop(ID.set(3)));
        panic::resume_unwind(Box::new("outer"));
    };
    let payload = unwinds(|| context.run(inside));
    assert_eq!(message(&*payload), "outer");
    assert_eq!(seen.take(), [Some(3), Some(6)]);
    assert_eq!((context.get(&ID), ID.get()), (Some(&4), Some(1)));
}

pub(crate) fn r_05_a_waker_that_panics_keeps_no_other_from_waking() {
    let shared = SharedContext::new();
    let woken = Log::new();
    let wait = |waker: &task::Waker| {
        let mut future = Box::pin(async {}.in_context(&shared));
        let polled = future.poll_unpin(&mut task::Context::from_waker(waker));
        assert!(polled.is_pending());
        future
    };
    let panics = waker(|hook| {
        if hook == WakerHook::Wake {
            panic::resume_unwind(Box::new(Bomb));
        }
    });
    let note = woken.clone();
    let notes = waker(move |hook| note.push(hook));
    let inside = || Context::new().run(|| [wait(&panics), wait(&notes)]);
    ID.set(1);
    let waiting = shared.run(inside).unwrap();
    assert!(woken.take().contains(&WakerHook::Wake));
    assert_eq!((ID.get(), shared.run(|| ID.get())), (Some(1), Ok(None)));
    drop(waiting);
}

pub(crate) fn r_05_a_waker_that_panics_leaves_no_context_entered() {
    let shared = Context::new().with_value(&ID, 2).share();
    let armed = Arc::new(Mutex::new(false));
    let fuse = Arc::clone(&armed);
    let bomb = waker(move |hook| {
        let goes_off = hook == WakerHook::Drop && std::mem::take(&mut *fuse.lock().unwrap());
        if goes_off {
            panic::resume_unwind(Box::new("in a waker"));
        }
    });
    let mut cx = task::Context::from_waker(&bomb);
    let mut future = Box::pin(async { ID.get() }.in_context(&shared));
    let inside = || Context::new().run(|| assert!(future.poll_unpin(&mut cx).is_pending()));
    shared.run(inside).unwrap();
    ID.set(1);
    *armed.lock().unwrap() = true;
    let payload = unwinds(|| future.poll_unpin(&mut cx));
    assert_eq!(message(&*payload), "in a waker");
    assert_eq!((ID.get(), shared.run(|| ID.get())), (Some(1), Ok(Some(2))));
    assert_eq!(future.poll_unpin(&mut cx), Poll::Ready(Some(2)));
    // One that waits is dropped by another panic, which is the one that goes on.
    let drop_waiting = || {
        let mut waiting = Box::pin(async {}.in_context(&shared));
        assert!(waiting.poll_unpin(&mut cx).is_pending());
        unwinds(|| {
            let _waiting = waiting;
            *armed.lock().unwrap() = true;
            panic::resume_unwind(Box::new("first"))
        })
    };
    let payload = shared.run(|| Context::new().run(drop_waiting)).unwrap();
    assert_eq!(message(&*payload), "first");
    assert!(!*armed.lock().unwrap(), "its waker has been dropped");
}

/// Whether the executor runs steps where they are scheduled.
async fn runs_inline(on: On) -> bool {
    let (ran, here) = (Log::new(), thread::current().id());
    let log = ran.clone();
    let task = on.spawn(async move { log.push(thread::current().id()) });
    let is_inline = ran.take().contains(&here);
    task.await.unwrap();
    is_inline
}

pub(crate) fn r_05_a_panicking_destructor_harms_no_other(on: On) {
    reports::install();
    on.start().block_on(async {
        ID.set(1);
        let drops = Drops::new();
        let armed = || {
            let context = Context::new().with_value(&HELD, drops.value());
            context.with_value(&BOMB, Bomb)
        };
        // The destructors of a task belong to it.
        let own = on.spawn_in(armed(), shim::yield_now());
        assert!(own.await.unwrap_err().is_panic());
        let shared = on.spawn_in(armed().share(), shim::yield_now());
        assert!(shared.await.unwrap_err().is_panic());
        let panics = on.spawn_in(armed(), async { panic::resume_unwind(Box::new("first")) });
        let panics: Task<()> = panics;
        assert!(panics.await.unwrap_err().is_panic());
        let aborted = on.spawn_in(armed(), future::pending::<()>());
        aborted.abort();
        assert!(aborted.await.is_err());
        assert_eq!(on.spawn(async { ID.get() }).await.unwrap(), Some(1));
        assert_eq!(drops.count(), 4);
        // A job, too.
        let job = shim::spawn_blocking_in(armed(), || ());
        assert!(job.await.unwrap_err().is_panic());
        let job = shim::spawn_blocking_in(armed().share(), || ());
        assert!(job.await.unwrap_err().is_panic());
        assert_eq!(drops.count(), 6);
        // Callbacks go on, in whatever context the one before was.
        let (calls, queue) = (Log::new(), on.hold_the_queue());
        let call = |n: u32| {
            let calls = calls.clone();
            move || calls.push(n)
        };
        on.call_soon_in(armed(), call(1));
        on.call_soon_in(armed().share(), call(2));
        on.call_soon(call(3));
        let bomb = Bomb;
        let last = call(4);
        on.call_soon(move || {
            let _bomb = bomb;
            last();
        });
        drop(queue);
        on.callbacks_so_far().await;
        assert_eq!(calls.take(), [1, 2, 3, 4]);
        until(|| drops.count() >= 8).await;
        // Whoever cancels hears of it, and the cancellation stands.
        let bomb = Bomb;
        let timer = on.call_later(LONG, || drop(bomb));
        goes_off(|| timer.cancel());
        assert!(timer.is_cancelled());
        let task = on.spawn(future::pending::<()>());
        let bomb = Bomb;
        let id = task.add_done_callback(|| drop(bomb));
        assert!(task.remove_done_callback(id));
        task.abort();
        if runs_inline(on).await {
            // Then who leaves the context may be the one that the queue is held on, and would be
            // waited for in vain.
            return;
        }
        // Cancelled while they wait for a shared context, which goes with the last of them.
        let shared = armed().share();
        let held = HeldElsewhere::enter(&shared, || ());
        let waiting = [5, 6].map(|n| on.call_soon_in(&shared, call(n)));
        on.callbacks_so_far().await;
        let queue = on.hold_the_queue();
        waiting.iter().for_each(CallHandle::cancel);
        held.release();
        // Not with the thread, and not with this one.
        drop(shared);
        on.call_soon(call(7));
        drop(queue);
        on.callbacks_so_far().await;
        while drops.count() < 9 {
            on.callbacks_so_far().await;
        }
        on.callbacks_so_far().await;
        assert_eq!(calls.take(), [7]);
        assert_eq!((ID.get(), copy_context().len()), (Some(1), 1));
    });
}
