//! Rows CO: companions, which are what else is current on a thread.

use std::cell::RefCell;
use std::future::poll_fn;
use std::panic;
use std::sync::{Arc, Once, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use aiocontextvars::companion::{self, Companion};
use aiocontextvars::shim::{self, Runner};
use aiocontextvars::{
    Carried, Context, ContextExt, ResetErrorKind, channel, copy_context, in_own_context,
    inherit_context,
};
use futures::channel::{mpsc as async_mpsc, oneshot};
use futures::stream::{self, StreamExt};

use crate::executor::On;
use crate::exits::probes::{elsewhere, leak, poll_once};
use crate::fixtures::{ID, Log, until};

/// What is current on a thread, as another crate may have it.
#[derive(Clone)]
struct Ambient {
    number: u64,
    /// Counts who keeps it, and has what those found who let it go.
    kept: Arc<Log<Option<u64>>>,
}

/// One that a context keeps.
struct Kept(Ambient);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.kept.push(ID.get());
    }
}

std::thread_local! {
    static AMBIENT: RefCell<Option<Ambient>> = const { RefCell::new(None) };
}

struct CurrentAmbient;

impl Companion for CurrentAmbient {
    type Value = Kept;

    fn capture(&self) -> Option<Kept> {
        AMBIENT.with_borrow(Clone::clone).map(Kept)
    }

    fn is_current(&self, value: &Kept) -> bool {
        AMBIENT.with_borrow(|current| {
            let current = current.as_ref();
            current.is_some_and(|current| Arc::ptr_eq(&current.kept, &value.0.kept))
        })
    }

    fn enter<R>(&self, value: &Kept, f: impl FnOnce() -> R) -> R {
        replaced_by(Some(value.0.clone()), f)
    }

    fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
        replaced_by(None, f)
    }
}

fn replaced_by<R>(ambient: Option<Ambient>, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Ambient>);
    impl Drop for Restore {
        fn drop(&mut self) {
            AMBIENT.set(self.0.take());
        }
    }
    let _restore = Restore(AMBIENT.replace(ambient));
    f()
}

/// The number of what is current on this thread.
fn ambient() -> Option<u64> {
    AMBIENT.with_borrow(|current| Some(current.as_ref()?.number))
}

impl Ambient {
    fn new(number: u64) -> Ambient {
        static REGISTER: Once = Once::new();
        REGISTER.call_once(|| companion::register(CurrentAmbient).unwrap());
        Ambient {
            number,
            kept: Arc::new(Log::new()),
        }
    }

    /// Calls `f` while it is current, and [`ID`] has the same number.
    fn around<R>(&self, f: impl FnOnce() -> R) -> R {
        ID.set(self.number);
        let result = replaced_by(Some(self.clone()), f);
        ID.set(0);
        result
    }

    /// How many others keep it.
    fn keepers(&self) -> usize {
        Arc::strong_count(&self.kept) - 1
    }

    /// Lets others go on until nobody else keeps it.
    async fn is_released(&self) {
        until(|| self.keepers() == 0).await;
    }
}

/// The variable and what is current beside it.
type Both = (Option<u64>, Option<u64>);

fn both() -> Both {
    (ID.get(), ambient())
}

const fn number(number: u64) -> Both {
    (Some(number), Some(number))
}

const OUTSIDE: Both = (Some(0), None);

/// Notes both when it is dropped.
struct SeesBothOnDrop(Log<Both>);

impl Drop for SeesBothOnDrop {
    fn drop(&mut self) {
        self.0.push(both());
    }
}

/// A future that pends twice, and tells what each of its polls finds.
fn three_polls() -> impl Future<Output = Vec<Both>> + Send {
    let mut seen = Vec::new();
    poll_fn(move |cx| {
        seen.push(both());
        if seen.len() == 3 {
            return Poll::Ready(std::mem::take(&mut seen));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// What tasks without companions of this executor find on its threads afterwards.
async fn nothing_is_left(on: On) {
    for _ in 0..8 {
        let bare = on.spawn_in(Context::new(), async { ambient() });
        assert_eq!(bare.await.unwrap(), None);
    }
    assert_eq!(both(), OUTSIDE);
}

pub(crate) fn co_01_each_poll_of_a_task_has_what_was_current_at_the_call(on: On) {
    on.start().block_on(async {
        let (one, two) = (Ambient::new(1), Ambient::new(2));
        let first = one.around(|| on.spawn(three_polls()));
        let second = two.around(|| on.spawn(three_polls()));
        let none = on.spawn(three_polls());
        assert_eq!(both(), OUTSIDE);
        assert_eq!(first.await.unwrap(), [number(1); 3]);
        assert_eq!(second.await.unwrap(), [number(2); 3]);
        assert_eq!(none.await.unwrap(), [OUTSIDE; 3]);
        one.is_released().await;
        two.is_released().await;
        nothing_is_left(on).await;
    });
}

pub(crate) fn co_01_grandchildren_inherit(on: On) {
    on.start().block_on(async {
        let one = Ambient::new(1);
        let task = one.around(|| {
            on.spawn(async move {
                let child = on.spawn(async move {
                    shim::yield_now().await;
                    on.spawn(three_polls()).await.unwrap()
                });
                child.await.unwrap()
            })
        });
        assert_eq!(task.await.unwrap(), [number(1); 3]);
        one.is_released().await;
        nothing_is_left(on).await;
    });
}

pub(crate) fn co_01_a_new_one_replaces_it_in_the_task(on: On) {
    on.start().block_on(async {
        let (one, two) = (Ambient::new(1), Ambient::new(2));
        let task = one.around(|| {
            let two = two.clone();
            on.spawn(async move {
                let child = two.around(|| on.spawn(three_polls()));
                (child.await.unwrap(), ambient())
            })
        });
        assert_eq!(task.await.unwrap(), (vec![number(2); 3], Some(1)));
        one.is_released().await;
        two.is_released().await;
    });
}

pub(crate) fn co_01_what_inherits_them_has_a_context_of_its_own(on: On) {
    on.start().block_on(async {
        let one = Ambient::new(1);
        let parent = one.around(|| {
            on.spawn(async move {
                // Written to in an earlier poll, and with a guard.
                let token = ID.set(2);
                shim::yield_now().await;
                let guard = ID.scoped(3);
                let child = on.spawn(async move {
                    shim::yield_now().await;
                    let error = ID.reset(token).map_err(|error| error.kind());
                    (both(), error)
                });
                drop(guard);
                (child.await.unwrap(), both())
            })
        });
        // Neither the guard nor the token was the child's.
        let refused = Err(ResetErrorKind::DifferentContext);
        let child = ((Some(3), Some(1)), refused);
        assert_eq!(parent.await.unwrap(), (child, (Some(2), Some(1))));
    });
}

pub(crate) fn co_02_callbacks_and_timers(on: On) {
    on.start().block_on(async {
        let one = Ambient::new(1);
        let seen = Log::new();
        let (sender, receiver) = oneshot::channel();
        one.around(|| {
            let log = seen.clone();
            on.call_soon(move || {
                log.push(both());
                on.call_later(Duration::from_micros(1), move || {
                    sender.send(both()).unwrap()
                });
            });
        });
        let log = seen.clone();
        on.call_soon(move || log.push(both()));
        assert_eq!(receiver.await.unwrap(), number(1));
        on.callbacks_so_far().await;
        assert_eq!(seen.take(), [number(1), OUTSIDE]);
        one.is_released().await;
        nothing_is_left(on).await;
    });
}

pub(crate) fn co_03_blocking_jobs_and_threads(on: On) {
    on.start().block_on(async {
        let one = Ambient::new(1);
        let job = one.around(|| shim::spawn_blocking(both));
        let thread = one.around(|| shim::thread::spawn(both));
        let scoped = one.around(|| shim::thread::scope(|scope| scope.spawn(both).join().unwrap()));
        assert_eq!(job.await.unwrap(), number(1));
        assert_eq!((thread.join().unwrap(), scoped), (number(1), number(1)));
        let bare = shim::spawn_blocking_in(Context::new(), ambient);
        assert_eq!(bare.await.unwrap(), None);
        one.is_released().await;
        assert_eq!(both(), OUTSIDE);
    });
}

pub(crate) fn co_04_wrapped_bound_and_carried(on: On) {
    on.start().block_on(async {
        let one = Ambient::new(1);
        let wrapped = one.around(|| three_polls().in_current_context());
        assert_eq!(wrapped.await, [number(1); 3]);
        let bound = one.around(|| shim::bind(both));
        let mut bound_mut = one.around(|| shim::bind_mut(|()| both()));
        let bound_fn = one.around(|| shim::bind_fn(|()| both()));
        let seen = (bound(), bound_mut(()), bound_mut(()), bound_fn(()));
        assert_eq!(seen, (number(1), number(1), number(1), number(1)));
        drop((bound_mut, bound_fn));
        let context = one.around(inherit_context);
        assert!(context.has_companions());
        assert_eq!(
            (context.call(both), context.clone().call(both)),
            (number(1), number(1))
        );
        drop(context);
        let message = one.around(|| Carried::new(()));
        assert_eq!(message.run(|()| both()), number(1));
        let (sender, receiver) = channel::carrying(async_mpsc::unbounded());
        one.around(|| sender.unbounded_send(()).unwrap());
        drop(sender);
        let seen = receiver.then(|message| message.scope(|()| three_polls()));
        assert_eq!(seen.collect::<Vec<_>>().await, [[number(1); 3]]);
        let branches = stream::iter([1, 2]).map(|n| {
            let ambient = Ambient::new(n);
            ambient.around(|| in_own_context(|()| three_polls())(()))
        });
        let seen: Vec<_> = branches.buffered(2).collect().await;
        assert_eq!(seen, [[number(1); 3], [number(2); 3]]);
        assert_eq!((both(), one.keepers()), (OUTSIDE, 0));
    });
}

pub(crate) fn co_05_nothing_is_current_where_nothing_was_captured(on: On) {
    on.start().block_on(async {
        let one = Ambient::new(1);
        ID.set(0);
        // Captured outside of it, called within.
        let (bound, message) = (shim::bind(both), Carried::new(()));
        let seen = one.around(|| (bound(), message.run(|()| both())));
        assert_eq!(seen, (OUTSIDE, OUTSIDE));
        // A context of one's own is no capture.
        let task = one.around(|| on.spawn_in(Context::new(), async { ambient() }));
        assert_eq!(task.await.unwrap(), None);
        let seen = one.around(|| {
            let copy = copy_context().run(both);
            (copy, Context::new().run(both), ID.sync_scope(3, both))
        });
        assert_eq!(seen, (number(1), (None, Some(1)), (Some(3), Some(1))));
        let wrapped = one.around(|| ID.scope(3, on.spawn(three_polls()))).await;
        assert_eq!(wrapped.unwrap(), [number(1); 3]);
        assert_eq!(both(), OUTSIDE);
        one.is_released().await;
    });
}

pub(crate) fn co_05_values_only_pin_nothing(on: On) {
    on.start().block_on(async {
        let one = Ambient::new(1);
        let task = one.around(|| {
            on.spawn(async {
                let inherited = inherit_context();
                assert!(inherited.has_companions());
                (copy_context(), inherited.without_companions())
            })
        });
        let (copy, alone) = task.await.unwrap();
        one.is_released().await;
        assert_eq!((copy.get(&ID), alone.get(&ID)), (Some(&1), Some(&1)));
        assert!(!copy.has_companions() && !alone.has_companions());
    });
}

pub(crate) fn co_06_a_panic_leaves_nothing(on: On) {
    on.start().block_on(async {
        let one = Ambient::new(1);
        let payload = || panic::resume_unwind(Box::new("on purpose"));
        let task = one.around(|| on.spawn(async move { payload() }));
        let after = one.around(|| {
            on.spawn(async move {
                shim::yield_now().await;
                payload()
            })
        });
        let job = one.around(|| shim::spawn_blocking(payload));
        assert!(task.await.unwrap_err().is_panic());
        assert!(after.await.unwrap_err().is_panic());
        assert!(job.await.unwrap_err().is_panic());
        let bound = one.around(|| shim::bind(payload));
        let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| -> () { bound() }));
        assert!(caught.is_err());
        one.is_released().await;
        nothing_is_left(on).await;
    });
}

pub(crate) fn co_07_dropped_with_what_is_current_in_it(on: On) {
    on.start().block_on(async {
        let one = Ambient::new(1);
        let dropped = Log::new();
        let held = SeesBothOnDrop(dropped.clone());
        let (started, starts) = oneshot::channel();
        let task = one.around(|| {
            on.spawn(async move {
                let _held = held;
                started.send(()).unwrap();
                std::future::pending::<()>().await;
            })
        });
        starts.await.unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(dropped.take(), [number(1)]);
        // Never polled, never called.
        let held = SeesBothOnDrop(dropped.clone());
        drop(one.around(|| async move { drop(held) }.in_current_context()));
        let held = SeesBothOnDrop(dropped.clone());
        let queue = on.hold_the_queue();
        one.around(|| on.call_soon(move || drop(held))).cancel();
        drop(queue);
        let held = SeesBothOnDrop(dropped.clone());
        drop(one.around(|| Carried::new(held)));
        let held = SeesBothOnDrop(dropped.clone());
        drop(one.around(|| shim::bind(move || drop(held))));
        assert_eq!(dropped.take(), [number(1); 4]);
        one.is_released().await;
        nothing_is_left(on).await;
    });
}

pub(crate) fn co_08_what_nobody_works_in_keeps_nothing(on: On) {
    on.start().block_on(async {
        let one = Ambient::new(1);
        let task = one.around(|| on.spawn(three_polls()));
        until(|| task.is_finished()).await;
        one.is_released().await;
        assert_eq!(task.await.unwrap(), [number(1); 3]);
        let shared = one.around(|| inherit_context().share());
        assert_eq!(one.keepers(), 0);
        let task = on.spawn_in(&shared, async { both() });
        assert_eq!(task.await.unwrap(), (Some(1), None));
        let seen = one.around(|| shared.run(both)).unwrap();
        assert_eq!((seen, one.keepers()), (number(1), 0));
    });
}

pub(crate) fn co_08_a_runner_between_its_runs(on: On) {
    let one = Ambient::new(1);
    let mut runner: Runner = on.start().runner();
    let first = one.around(|| runner.run(async { both() }));
    assert_eq!((first, one.keepers()), (number(1), 0));
    let second = runner.run(async { both() });
    assert_eq!(second, (Some(1), None));
    ID.unset();
}

pub(crate) fn co_09_work_from_a_thread_has_that_threads(on: On) {
    on.start().block_on(async {
        let one = Ambient::new(1);
        let (sender, receiver) = mpsc::channel();
        let bound = {
            let one = one.clone();
            let make = move || {
                let bound = one.around(|| shim::bind(both));
                sender.send(bound).unwrap();
            };
            thread::spawn(make).join().unwrap();
            receiver.recv().unwrap()
        };
        assert_eq!(bound(), number(1));
        assert_eq!((ambient(), one.keepers()), (None, 0));
    });
}

pub(crate) fn co_11_what_is_kept_goes_in_the_context_that_keeps_it(on: On) {
    on.start().block_on(async {
        let one = Ambient::new(1);
        // Work that ends, as the last.
        let task = one.around(|| on.spawn(async { drop(ID.set(2)) }));
        task.await.unwrap();
        one.is_released().await;
        assert_eq!(one.kept.take(), [Some(2)]);
        let job = one.around(|| shim::spawn_blocking(|| drop(ID.set(3))));
        job.await.unwrap();
        one.is_released().await;
        assert_eq!(one.kept.take(), [Some(3)]);
        one.around(|| drop(on.call_soon(|| ())));
        on.callbacks_so_far().await;
        one.is_released().await;
        assert_eq!(one.kept.take(), [Some(1)]);
        // Work that others end, in contexts of theirs.
        let task = one.around(|| on.spawn(std::future::pending::<()>()));
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        one.is_released().await;
        let later = Duration::from_secs(3600);
        one.around(|| on.call_later(later, || ())).cancel();
        drop(one.around(|| Carried::new(())));
        one.around(|| shim::bind(|| ()))();
        one.around(|| async {}.in_current_context()).await;
        one.is_released().await;
        assert_eq!(one.kept.take(), [Some(1); 5]);
        assert_eq!(both(), OUTSIDE);
    });
}

/// For executors that end with their harness.
pub(crate) fn co_10_the_executors_end_drops_with_what_is_current(on: On) {
    let one = Ambient::new(1);
    let (dropped, seen) = (Log::new(), Log::new());
    let harness = on.start();
    let (task, timer) = harness.block_on(async {
        let held = SeesBothOnDrop(dropped.clone());
        let (started, starts) = oneshot::channel();
        let task = one.around(|| {
            on.spawn(async move {
                let _held = held;
                started.send(()).unwrap();
                std::future::pending::<()>().await;
            })
        });
        let held = SeesBothOnDrop(seen.clone());
        let timer = one.around(|| on.call_later(Duration::from_secs(3600), move || drop(held)));
        starts.await.unwrap();
        (task, timer)
    });
    drop(harness);
    assert!(futures::executor::block_on(task).is_err());
    assert_eq!(dropped.take(), [number(1)]);
    // What has not been called is dropped with its queue, or here.
    timer.cancel();
    drop(timer);
    assert_eq!(seen.take(), [number(1)]);
    assert_eq!((ambient(), one.keepers()), (None, 0));
    ID.unset();
}

/// The cells of the exit matrix for a companion's value: it goes with its work, whatever becomes of
/// that.
pub(crate) fn exit_a_companions_value(on: On) {
    on.start().block_on(async {
        let payload = || panic::resume_unwind(Box::new("on purpose"));
        let returns = Ambient::new(1);
        let task = returns.around(|| on.spawn(async {}));
        until(|| task.is_finished()).await;
        returns.is_released().await;
        task.await.unwrap();
        let panics = Ambient::new(1);
        let task = panics.around(|| on.spawn(async move { payload() }));
        assert!(task.await.unwrap_err().is_panic());
        panics.is_released().await;
        let aborted = Ambient::new(1);
        let task = aborted.around(|| on.spawn(std::future::pending::<()>()));
        // A worker that polls it at this moment keeps it once more.
        assert!(aborted.keepers() >= 1);
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        aborted.is_released().await;
        let writes = Ambient::new(1);
        let task = writes.around(|| {
            on.spawn(async {
                ID.set(5);
                shim::yield_now().await;
                both()
            })
        });
        assert_eq!(task.await.unwrap(), (Some(5), Some(1)));
        writes.is_released().await;
        let never_polled = Ambient::new(1);
        drop(never_polled.around(|| three_polls().in_current_context()));
        assert_eq!(never_polled.keepers(), 0);
        let cancelled = Ambient::new(1);
        let queue = on.hold_the_queue();
        let soon = cancelled.around(|| on.call_soon(|| ()));
        let later = cancelled.around(|| on.call_later(Duration::from_secs(3600), || ()));
        assert!(cancelled.keepers() >= 1);
        soon.cancel();
        later.cancel();
        drop(queue);
        assert_eq!(cancelled.keepers(), 0);
        let forgotten = Ambient::new(1);
        leak(forgotten.around(|| on.spawn(three_polls())));
        forgotten.is_released().await;
    });
}

pub(crate) fn exit_a_companions_value_elsewhere(on: On) {
    fn payload() {
        panic::resume_unwind(Box::new("on purpose"));
    }
    on.start().block_on(async {
        // Blocking jobs.
        let returns = Ambient::new(1);
        returns
            .around(|| shim::spawn_blocking(|| ()))
            .await
            .unwrap();
        let panics = Ambient::new(1);
        let job = panics.around(|| shim::spawn_blocking(payload));
        assert!(job.await.unwrap_err().is_panic());
        let detached = Ambient::new(1);
        detached.around(|| shim::spawn_blocking(|| ())).detach();
        for ambient in [returns, panics, detached] {
            ambient.is_released().await;
        }
        // Threads.
        let (returns, panics) = (Ambient::new(1), Ambient::new(1));
        let thread = returns.around(|| shim::thread::spawn(|| ()));
        thread.join().unwrap();
        let thread = panics.around(|| shim::thread::spawn(payload));
        assert!(thread.join().is_err());
        assert_eq!((returns.keepers(), panics.keepers()), (0, 0));
        // Bound functions.
        let (panics, never_called) = (Ambient::new(1), Ambient::new(1));
        let bound = panics.around(|| shim::bind(payload));
        assert!(panic::catch_unwind(panic::AssertUnwindSafe(bound)).is_err());
        drop(never_called.around(|| shim::bind(payload)));
        assert_eq!((panics.keepers(), never_called.keepers()), (0, 0));
        // Callbacks and timers.
        let (soon, later) = (Ambient::new(1), Ambient::new(1));
        let (called, calls) = oneshot::channel();
        soon.around(|| on.call_soon(|| ()));
        let timer = later
            .around(|| on.call_later(Duration::from_micros(1), move || called.send(()).unwrap()));
        calls.await.unwrap();
        soon.is_released().await;
        later.is_released().await;
        // Its handle keeps none.
        drop(timer);
        // Aborted and dropped on other threads.
        let (aborted, wrapped) = (Ambient::new(1), Ambient::new(1));
        let task = aborted.around(|| on.spawn(std::future::pending::<()>()));
        let abort = task.abort_handle();
        elsewhere(move || abort.abort());
        assert!(task.await.unwrap_err().is_cancelled());
        aborted.is_released().await;
        let pending = std::future::pending::<()>;
        let mut future = wrapped.around(|| Box::pin(pending().in_current_context()));
        assert!(poll_once(future.as_mut()).unwrap().is_pending());
        assert_eq!(wrapped.keepers(), 1);
        elsewhere(move || drop(future));
        assert_eq!((wrapped.keepers(), both()), (0, OUTSIDE));
        nothing_is_left(on).await;
    });
}
