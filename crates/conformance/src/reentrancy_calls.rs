//! Rows R-5: wakers, handlers and callbacks that act on what they belong to.

use std::future;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, Weak};
use std::task;
use std::time::Duration;

use aiocontextvars::shim::{AbortHandle, CallHandle, TimerHandle};
use futures::FutureExt;
use futures::channel::oneshot;

use crate::executor::{On, Task};
use crate::fixtures::{ID, Log, SeesOnDrop, until};
use crate::harness::message;
use crate::meddler::OPERATIONS;
use crate::reports;
use crate::waker::{WakerHook, waker};

const SHORT: Duration = Duration::from_millis(1);

pub(crate) fn r_05_a_waker_that_aborts_its_task(on: On) {
    on.start().block_on(async {
        ID.set(1);
        // That of whoever awaits the task: it is woken when there is nothing to abort.
        for heard_by_others in [false, true] {
            let (go, going) = oneshot::channel();
            let mut task = on.spawn(async move {
                going.await.unwrap();
                7
            });
            if heard_by_others {
                task.add_done_callback(|| ());
            }
            let abort = task.abort_handle();
            let mut go = Some(go);
            let output = future::poll_fn(|cx| {
                let (abort, inner) = (abort.clone(), cx.waker().clone());
                let waker = waker(move |hook| {
                    if hook == WakerHook::Wake {
                        abort.abort();
                        inner.wake_by_ref();
                    }
                });
                let polled = task.poll_unpin(&mut task::Context::from_waker(&waker));
                go.take().into_iter().for_each(|go| go.send(()).unwrap());
                polled
            });
            assert_eq!(output.await.unwrap(), 7);
        }
        // That of something which the task awaits.
        let seen = Log::new();
        let probe = SeesOnDrop(seen.clone());
        let (go, mut going) = oneshot::channel::<()>();
        let (give, take) = oneshot::channel::<AbortHandle>();
        let (waiting, waits) = oneshot::channel();
        let task = on.spawn(async move {
            let _probe = probe;
            ID.set(2);
            let abort = take.await.unwrap();
            let mut waiting = Some(waiting);
            future::poll_fn(|cx| {
                let (abort, inner) = (abort.clone(), cx.waker().clone());
                let waker = waker(move |hook| {
                    if hook == WakerHook::Wake {
                        abort.abort();
                        inner.wake_by_ref();
                    }
                });
                let polled = going.poll_unpin(&mut task::Context::from_waker(&waker));
                waiting
                    .take()
                    .into_iter()
                    .for_each(|waiting| waiting.send(()).unwrap());
                polled.map(drop)
            })
            .await;
            future::pending::<()>().await;
        });
        assert!(give.send(task.abort_handle()).is_ok());
        waits.await.unwrap();
        go.send(()).unwrap();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!((seen.take(), ID.get()), (vec![Some(2)], Some(1)));
    });
}

/// Panics in its destructor, as what a panic throws.
struct BadPayload;

impl Drop for BadPayload {
    fn drop(&mut self) {
        panic::resume_unwind(Box::new("a payload"));
    }
}

pub(crate) fn r_05_an_exception_handler_may_use_the_crate(on: On) {
    let marker = format!("meddles {}", on.name());
    let (order, failures) = (Log::new(), Log::new());
    let (log, failed) = (order.clone(), failures.clone());
    let _watch = reports::watch(&marker, move |error| {
        for (name, operation) in OPERATIONS {
            let outcome = panic::catch_unwind(AssertUnwindSafe(operation));
            if let Err(payload) = outcome {
                failed.push(format!("{name}: {}", message(&*payload)));
            }
        }
        // Replaced by its like, while it runs.
        reports::install();
        log.push(("handler", ID.get()));
        let nested = log.clone();
        on.call_soon(move || nested.push(("nested", ID.get())));
        ID.set(5);
        if error.message().ends_with("badly") {
            panic::resume_unwind(Box::new(BadPayload));
        }
    });
    on.start().block_on(async {
        ID.set(1);
        let queue = on.hold_the_queue();
        for end in ["", " badly"] {
            let text = format!("{marker}{end}");
            ID.sync_scope(2, || on.call_soon(|| panic::resume_unwind(Box::new(text))));
            let next = order.clone();
            on.call_soon(move || next.push(("next", ID.get())));
        }
        drop(queue);
        on.callbacks_so_far().await;
        on.callbacks_so_far().await;
        assert_eq!(ID.get(), Some(1));
    });
    let (handled, next) = (("handler", Some(2)), ("next", Some(1)));
    let mut seen = order.take();
    // An operation that blocks in between may let the queue go on.
    let nested = seen.extract(|entry| *entry == ("nested", Some(2)));
    assert_eq!((seen, nested), (vec![handled, next, handled, next], 2));
    assert_eq!(failures.take(), Vec::<String>::new());
}

trait Extract<T> {
    /// Takes out what `f` tells, and counts it.
    fn extract(&mut self, f: impl Fn(&T) -> bool) -> usize;
}

impl<T> Extract<T> for Vec<T> {
    fn extract(&mut self, f: impl Fn(&T) -> bool) -> usize {
        let before = self.len();
        self.retain(|entry| !f(entry));
        before - self.len()
    }
}

/// A handle that a callback finds when it runs.
type Later<T> = Arc<Mutex<Option<T>>>;

fn take<T>(later: &Later<T>) -> T {
    let taken = later.lock().unwrap().take();
    taken.expect("there since before the callbacks ran")
}

pub(crate) fn r_05_callbacks_may_cancel_each_other_and_themselves(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let (order, seen) = (Log::new(), Log::new());
        let (own, neighbour): (Later<CallHandle>, Later<CallHandle>) = Default::default();
        let (timer, own_timer): (Later<TimerHandle>, Later<TimerHandle>) = Default::default();
        let queue = on.hold_the_queue();
        let first = {
            let (order, own) = (order.clone(), Arc::clone(&own));
            let (neighbour, timer) = (Arc::clone(&neighbour), Arc::clone(&timer));
            on.call_soon(move || {
                order.push("first");
                let (own, neighbour, timer) = (take(&own), take(&neighbour), take(&timer));
                own.cancel();
                neighbour.cancel();
                timer.cancel();
                assert!(!own.is_cancelled(), "it is running");
                assert!(neighbour.is_cancelled() && timer.is_cancelled());
                order.push("cancelled");
            })
        };
        *own.lock().unwrap() = Some(first);
        let probe = SeesOnDrop(seen.clone());
        let cancelled = ID.sync_scope(2, || on.call_soon(move || unreachable!("{probe:?}")));
        *neighbour.lock().unwrap() = Some(cancelled);
        let probe = SeesOnDrop(seen.clone());
        let cancelled = ID.sync_scope(3, || {
            on.call_later(Duration::ZERO, move || unreachable!("{probe:?}"))
        });
        *timer.lock().unwrap() = Some(cancelled);
        let last = order.clone();
        on.call_soon(move || last.push("last"));
        // A timer that cancels itself, twice.
        let (done, wait) = oneshot::channel();
        let cancels = Arc::clone(&own_timer);
        let own = on.call_later(SHORT, move || {
            let own = take(&cancels);
            own.cancel();
            own.cancel();
            done.send(own.is_cancelled()).unwrap();
        });
        *own_timer.lock().unwrap() = Some(own);
        drop(queue);
        assert_eq!(wait.await, Ok(false));
        on.callbacks_so_far().await;
        assert_eq!(order.take(), ["first", "cancelled", "last"]);
        assert_eq!((seen.take(), ID.get()), (vec![Some(2), Some(3)], Some(1)));
    });
}

pub(crate) fn r_05_handles_may_go_with_what_they_are_of(on: On) {
    /// Aborts and detaches the task that it is in.
    struct OwnTask(Later<Task<()>>, Log<Option<u64>>);
    impl Drop for OwnTask {
        fn drop(&mut self) {
            let own = take(&self.0);
            own.abort();
            own.add_done_callback(|| ());
            let _either = own.is_finished();
            own.detach();
            self.1.push(ID.get());
        }
    }
    /// Cancels the callback that it is in.
    struct OwnCall(Later<TimerHandle>, Log<Option<u64>>);
    impl Drop for OwnCall {
        fn drop(&mut self) {
            let own = self.0.lock().unwrap().take();
            own.into_iter().for_each(|own| own.cancel());
            self.1.push(ID.get());
        }
    }
    on.start().block_on(async {
        ID.set(1);
        let seen = Log::new();
        for aborted in [false, true] {
            let own: Later<Task<()>> = Arc::default();
            let kept = OwnTask(Arc::clone(&own), seen.clone());
            let (go, going) = oneshot::channel::<()>();
            let task = ID.sync_scope(2, || {
                on.spawn(async move {
                    let _kept = kept;
                    let _ = going.await;
                })
            });
            let abort = task.abort_handle();
            *own.lock().unwrap() = Some(task);
            if aborted {
                abort.abort();
            } else {
                go.send(()).unwrap();
            }
            until(|| abort.is_finished()).await;
            assert_eq!(seen.take(), [Some(2)]);
        }
        for cancelled in [false, true] {
            let own: Later<TimerHandle> = Arc::default();
            let kept = OwnCall(Arc::clone(&own), seen.clone());
            let queue = on.hold_the_queue();
            let timer = ID.sync_scope(3, || on.call_later(Duration::ZERO, || drop(kept)));
            if cancelled {
                timer.cancel();
            } else {
                *own.lock().unwrap() = Some(timer);
            }
            drop(queue);
            until(|| !seen.is_empty()).await;
            assert_eq!(seen.take(), [Some(3)]);
        }
        on.callbacks_so_far().await;
        assert_eq!(ID.get(), Some(1));
    });
}

pub(crate) fn r_05_done_callbacks_may_use_their_task(on: On) {
    /// Uses the task that its done-callback is of.
    struct Uses(Weak<Task<()>>, Log<(&'static str, Option<u64>)>);
    impl Uses {
        fn use_it(&self, when: &'static str) {
            // First: the abort may let the next callback run, on another thread.
            self.1.push((when, ID.get()));
            if let Some(task) = self.0.upgrade() {
                let id = task.add_done_callback(|| ());
                task.remove_done_callback(id);
                assert!(!task.remove_done_callback(id));
                let _either = task.is_finished();
                task.abort_handle().abort();
            }
        }
    }
    impl Drop for Uses {
        fn drop(&mut self) {
            self.use_it("dropped");
        }
    }
    on.start().block_on(async {
        ID.set(1);
        let seen = Log::new();
        let task = Arc::new(on.spawn(future::pending::<()>()));
        let add = || {
            let uses = Uses(Arc::downgrade(&task), seen.clone());
            ID.sync_scope(2, || task.add_done_callback(move || uses.use_it("called")))
        };
        let removed = add();
        add();
        assert!(task.remove_done_callback(removed));
        until(|| task.is_finished()).await;
        add();
        until(|| seen.len() >= 5).await;
        let (called, dropped) = (("called", Some(2)), ("dropped", Some(2)));
        assert_eq!(seen.take(), [dropped, called, dropped, called, dropped]);
        assert_eq!(ID.get(), Some(1));
    });
}
