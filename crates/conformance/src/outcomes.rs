//! What every runtime must look like: how tasks end, and what their handles tell.

use std::any::Any;
use std::future;
use std::panic::{self, AssertUnwindSafe};

use aiocontextvars::{Context, ContextExt, context_var, shim};
use futures::FutureExt;
use futures::channel::oneshot;

use crate::executor::{On, OnWrapped};
use crate::fixtures::{Drops, HeldElsewhere, ID, Log, SeesOnDrop, until};
use crate::harness::message;
use crate::reports;

pub(crate) fn table_a_dropped_handle_lets_the_task_run(on: On) {
    on.start().block_on(async {
        for detach in [false, true] {
            let (go, going) = oneshot::channel::<()>();
            let (done, wait) = oneshot::channel();
            ID.set(1);
            let handle = on.spawn(async move {
                going.await.unwrap();
                done.send(ID.get()).unwrap();
            });
            if detach {
                handle.detach();
            } else {
                drop(handle);
            }
            ID.set(2);
            go.send(()).unwrap();
            assert_eq!(wait.await, Ok(Some(1)));
        }
    });
}

pub(crate) fn table_a_panic_is_an_error(on: On) {
    on.start().block_on(async {
        let (seen, drops) = (Log::new(), Drops::new());
        for yields in 0..2 {
            let (probe, held) = (SeesOnDrop(seen.clone()), drops.value());
            ID.set(1);
            let task = on.spawn(async move {
                let (_probe, _held) = (probe, held);
                ID.set(2);
                for _ in 0..yields {
                    shim::yield_now().await;
                }
                panic::resume_unwind(Box::new(format!("after {yields}")));
            });
            let error = task.await.unwrap_err();
            assert!(error.is_panic() && !error.is_cancelled());
            let text = format!("after {yields}");
            assert!(error.to_string().contains(&text), "{error}");
            assert_eq!(message(&*error.into_panic()), text);
            assert_eq!((seen.take(), ID.get()), (vec![Some(2)], Some(1)));
            assert_eq!(drops.count(), yields + 1);
        }
    });
}

pub(crate) fn table_abort_waits_for_the_destructors(on: On) {
    struct Slow(Log<Option<u64>>);
    impl Drop for Slow {
        fn drop(&mut self) {
            for _ in 0..100 {
                std::thread::yield_now();
            }
            self.0.push(ID.get());
        }
    }
    on.start().block_on(async {
        let seen = Log::new();
        let slow = Slow(seen.clone());
        ID.set(1);
        let task = on.spawn(async move {
            let _slow = slow;
            future::pending::<()>().await;
        });
        ID.set(2);
        shim::yield_now().await;
        let abort = task.abort_handle();
        assert!(!task.is_finished() && !abort.is_finished());
        abort.clone().abort();
        // Once more does no harm.
        task.abort();
        let error = task.await.unwrap_err();
        assert!(error.is_cancelled(), "{error}");
        assert_eq!(seen.take(), [Some(1)]);
        assert!(abort.is_finished());
        assert!(error.try_into_panic().unwrap_err().is_cancelled());
    });
}

pub(crate) fn table_a_finished_task_is_not_aborted(on: On) {
    on.start().block_on(async {
        let task = on.spawn(async { 7 });
        until(|| task.is_finished()).await;
        task.abort();
        assert_eq!(task.await.unwrap(), 7);
        // An await that is given up loses nothing.
        let (go, going) = oneshot::channel::<()>();
        let mut task = on.spawn(async move {
            going.await.unwrap();
            8
        });
        assert!((&mut task).now_or_never().is_none());
        go.send(()).unwrap();
        assert_eq!((&mut task).await.unwrap(), 8);
    });
}

pub(crate) fn table_an_unread_output_is_dropped(on: On) {
    on.start().block_on(async {
        let drops = Drops::new();
        ID.set(1);
        let held = drops.value();
        let task = on.spawn(async move { held });
        until(|| task.is_finished()).await;
        assert_eq!(drops.count(), 0);
        drop(task);
        assert_eq!(drops.count(), 1);
        let held = drops.value();
        on.spawn(async move { held }).detach();
        until(|| drops.count() >= 2).await;
    });
}

/// Whoever drops it: the runtime, in the midst of what is not the task's, or who has the handle.
pub(crate) fn table_an_unread_output_is_dropped_in_an_empty_context(on: On) {
    /// Notes what it finds, and leaves something there.
    struct Meddles(Log<(Option<u64>, Option<u64>)>);
    impl Drop for Meddles {
        fn drop(&mut self) {
            let found = ID.get();
            ID.set(9);
            self.0.push((found, ID.get()));
        }
    }
    on.start().block_on(async {
        ID.set(1);
        let seen = Log::new();
        let next = || Meddles(seen.clone());
        let mut expected = 0;
        for has_ended in [false, true] {
            // The second finds what the first has left, if that is anywhere.
            for _ in 0..2 {
                let (one, two) = (next(), next());
                let three: Box<dyn Any + Send> = Box::new(next());
                let task = on.spawn(async move {
                    ID.set(2);
                    one
                });
                let job = shim::spawn_blocking(move || {
                    ID.set(3);
                    two
                });
                let failing = shim::spawn_blocking(|| panic::resume_unwind(three));
                if has_ended {
                    until(|| task.is_finished() && job.is_finished() && failing.is_finished())
                        .await;
                    ID.set(4);
                }
                task.detach();
                job.detach();
                failing.detach();
                expected += 3;
                until(|| seen.len() == expected).await;
            }
        }
        // Where several have the task, another way leads there.
        for has_ended in [false, true, true] {
            let (go, going) = oneshot::channel::<()>();
            let one = next();
            let task = on.spawn(async move {
                going.await.unwrap();
                ID.set(2);
                one
            });
            let (done, wait) = oneshot::channel();
            task.add_done_callback(|| done.send(()).unwrap());
            if has_ended {
                go.send(()).unwrap();
                wait.await.unwrap();
                task.detach();
            } else {
                task.detach();
                go.send(()).unwrap();
                wait.await.unwrap();
            }
            expected += 1;
            until(|| seen.len() == expected).await;
        }
        if on.has_local == Some(true) {
            let two = next();
            let task = shim::spawn_local(async move {
                ID.set(3);
                two
            });
            until(|| task.is_finished()).await;
            task.detach();
            until(|| seen.len() > expected).await;
        }
        let seen = seen.take();
        assert!(seen.iter().all(|seen| *seen == (None, Some(9))), "{seen:?}");
        assert_eq!(ID.get(), Some(4));
    });
    assert_eq!(ID.get(), None);
}

pub(crate) fn table_local_variables_stay_behind(on: On) {
    context_var! { #[local] static CONNECTION: u64 = 0; }
    on.start().block_on(async {
        ID.set(1);
        CONNECTION.set(5);
        let child = on.spawn(async { (ID.get(), CONNECTION.get()) });
        assert_eq!(child.await.unwrap(), (Some(1), 0));
        let job = shim::spawn_blocking(|| (ID.get(), CONNECTION.get()));
        assert_eq!(job.await.unwrap(), (Some(1), 0));
        let (sender, receiver) = oneshot::channel();
        on.call_soon(move || sender.send((ID.get(), CONNECTION.get())).unwrap());
        assert_eq!(receiver.await, Ok((Some(1), 0)));
        assert_eq!(async { CONNECTION.get() }.in_current_context().await, 0);
        assert_eq!(shim::bind(|| CONNECTION.get())(), 0);
        let thread = shim::thread::spawn(|| (ID.get(), CONNECTION.get()));
        assert_eq!(thread.join().unwrap(), (Some(1), 0));
        // Explicit contexts and scopes are taken as they are.
        let explicit = aiocontextvars::copy_context();
        let child = on.spawn_in(explicit, async { CONNECTION.get() });
        assert_eq!(child.await.unwrap(), 5);
        assert_eq!(ID.scope(2, async { CONNECTION.get() }).await, 5);
        assert_eq!(CONNECTION.get(), 5);
    });
}

pub(crate) fn table_ambient_spawn_local(on: On) {
    on.start().block_on(async {
        let local = on.spawn(async {
            let spawned = panic::catch_unwind(AssertUnwindSafe(|| {
                ID.set(1);
                let task = shim::spawn_local(async { std::rc::Rc::new(ID.get()) });
                ID.set(2);
                task.detach();
            }));
            spawned.map_err(|payload| message(&*payload).to_owned())
        });
        match local.await.unwrap() {
            Ok(()) => assert_ne!(on.has_local, Some(false)),
            Err(text) => {
                assert_ne!(on.has_local, Some(true), "{text}");
                assert!(text.contains("enter"), "{text}");
            }
        }
        if on.has_local == Some(true) {
            ID.set(3);
            let task = shim::spawn_local(async { std::rc::Rc::new(ID.get()) });
            assert_eq!(*task.await.unwrap(), Some(3));
        }
    });
}

pub(crate) fn table_fixed_executors(on: OnWrapped) {
    let harness = on.start();
    ID.set(1);
    let fixed = Context::new().with_value(&ID, 7);
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            harness.spawn_fixed(fixed.clone(), async {
                let seen = ID.get();
                ID.set(8);
                // Whoever submits: also the executor's own tasks.
                let child = on.spawn(async { ID.get() });
                (seen, child.await.unwrap())
            })
        })
        .collect();
    harness.block_on(async {
        for task in tasks {
            assert_eq!(task.await.unwrap(), (Some(7), Some(7)));
        }
    });
    assert_eq!(ID.get(), Some(1));
}

/// A value that sets a variable when it goes.
struct SetsOnDrop(Log<Result<Option<u64>, String>>);

context_var! { static SETS_ON_DROP: SetsOnDrop; }

impl Drop for SetsOnDrop {
    fn drop(&mut self) {
        let set = panic::catch_unwind(|| {
            let token = ID.set(100);
            token.old_value().copied()
        });
        self.0
            .push(set.map_err(|payload| message(&*payload).to_owned()));
    }
}

/// Also where the runtime's task, outside of the context, is none that may be written in.
pub(crate) fn r_05_a_value_that_goes_with_its_work_may_set_variables(on: On) {
    on.start().block_on(async {
        let seen = Log::new();
        let context = || {
            let value = SetsOnDrop(seen.clone());
            Context::new()
                .with_value(&ID, 1)
                .with_value(&SETS_ON_DROP, value)
        };
        let task = on.spawn_in(context(), async { ID.get() });
        assert_eq!(task.await.unwrap(), Some(1));
        let pending = on.spawn_in(context(), future::pending::<()>());
        shim::yield_now().await;
        pending.abort();
        assert!(pending.await.unwrap_err().is_cancelled());
        let job = shim::spawn_blocking_in(context(), || ID.get());
        assert_eq!(job.await.unwrap(), Some(1));
        let bound = context().bind(|| ID.get());
        let bound = on.spawn_in(Context::new(), async move { bound() });
        assert_eq!(bound.await.unwrap(), Some(1));
        // In none of the contexts around it, and nothing stays there.
        assert_eq!(seen.take(), [Ok(None), Ok(None), Ok(None), Ok(None)]);
        assert_eq!(ID.get(), None);
    });
}

/// In a context of its own, or in one that the callback queue has a hand on as well.
pub(crate) fn r_05_a_value_that_goes_with_a_callback_may_set_variables(on: On) {
    let harness = on.start();
    let (inside, seen) = (Log::new(), Log::new());
    ID.set(9);
    harness.block_on(async {
        for shared in [false, true, true] {
            let (inside, value) = (inside.clone(), SetsOnDrop(seen.clone()));
            let context = Context::new()
                .with_value(&ID, 1)
                .with_value(&SETS_ON_DROP, value);
            let f = move || inside.push(ID.get());
            match shared {
                false => on.call_soon_in(context, f),
                true => on.call_soon_in(context.share(), f),
            };
            on.callbacks_so_far().await;
        }
        // Cancelled while it waits for its context, which nobody else has in the end.
        let value = SetsOnDrop(seen.clone());
        let shared = Context::new().with_value(&SETS_ON_DROP, value).share();
        let held = HeldElsewhere::enter(&shared, || ());
        let callback = on.call_soon_in(shared, || ());
        on.callbacks_so_far().await;
        callback.cancel();
        assert!(callback.is_cancelled() && seen.len() == 3);
        held.release();
        for _ in 0..2 {
            on.callbacks_so_far().await;
        }
    });
    assert_eq!(inside.take(), [Some(1), Some(1), Some(1)]);
    // Neither that of the queue, which may be the thread's, nor what another value has set.
    assert_eq!(seen.take(), [Ok(None), Ok(None), Ok(None), Ok(None)]);
    assert_eq!(ID.get(), Some(9));
}

pub(crate) fn r_05_a_panic_of_a_value_that_goes_with_a_callback_is_reported(on: On) {
    struct Panics(String);
    impl Drop for Panics {
        fn drop(&mut self) {
            panic::resume_unwind(Box::new(self.0.clone()));
        }
    }
    context_var! { static PANICS: Panics; }
    let marker = format!("the value of a callback on {}", on.name());
    let reports = Log::new();
    let log = reports.clone();
    let _watch = reports::watch(&marker, move |_| log.push(ID.get()));
    on.start().block_on(async {
        for shared in [false, true] {
            let context = Context::new()
                .with_value(&ID, 1)
                .with_value(&PANICS, Panics(marker.clone()));
            match shared {
                false => on.call_soon_in(context, || ()),
                true => on.call_soon_in(context.share(), || ()),
            };
            on.callbacks_so_far().await;
        }
    });
    assert_eq!(reports.take(), [None, None]);
}
