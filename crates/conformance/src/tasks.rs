//! Rows TA: tasks.

use std::future;
use std::panic;
use std::pin::pin;
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use aiocontextvars::shim::{self, JoinHandle};
use aiocontextvars::{Context, ContextExt, context_var, copy_context};
use futures::channel::{mpsc, oneshot};
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{FutureExt, SinkExt, stream};

use crate::executor::{On, OnWrapped, Task};
use crate::fixtures::{HeldElsewhere, ID, Log, SeesOnDrop};
use crate::harness::{Harness, message};

pub(crate) fn ta_01_a_child_copies_the_context_at_the_call(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let child = on.spawn(async {
            let first = ID.get();
            shim::yield_now().await;
            (first, ID.get())
        });
        ID.set(2);
        let later = on.spawn(async { ID.get() });
        assert_eq!(child.await.unwrap(), (Some(1), Some(1)));
        assert_eq!(later.await.unwrap(), Some(2));
        assert_eq!(ID.get(), Some(2));
    });
    assert_eq!(ID.get(), None);
}

pub(crate) fn ta_01_grandchildren_inherit(on: On) {
    fn descend(on: On, depth: u64) -> Task<u64> {
        on.spawn(async move {
            assert_eq!(ID.get(), Some(7));
            shim::yield_now().await;
            match depth {
                0 => 1,
                _ => descend(on, depth - 1).await.unwrap() + 1,
            }
        })
    }
    on.start().block_on(async {
        ID.set(7);
        assert_eq!(descend(on, 5).await.unwrap(), 6);
    });
}

/// The future and its output as they are, and not in boxes as in other rows.
pub(crate) fn ta_01_a_future_of_its_own_type<H: Harness>() {
    async fn own() -> (Option<u64>, [u8; 100]) {
        let inherited = ID.get();
        ID.set(2);
        shim::yield_now().await;
        let grandchild = shim::spawn(async { ID.get() });
        assert_eq!(grandchild.await.unwrap(), Some(2));
        (inherited, [7; 100])
    }
    let harness = H::start();
    ID.set(9);
    harness.block_on(async {
        ID.set(1);
        let child: JoinHandle<(Option<u64>, [u8; 100])> = H::spawn(own());
        let given = H::spawn_in(Context::new().with_value(&ID, 5), own());
        ID.set(4);
        assert_eq!(child.await.unwrap(), (Some(1), [7; 100]));
        assert_eq!(given.await.unwrap(), (Some(5), [7; 100]));
        let panics = H::spawn(async {
            ID.set(6);
            panic::resume_unwind(Box::new("on purpose"));
        });
        let panics: JoinHandle<()> = panics;
        assert!(panics.await.unwrap_err().is_panic());
        let (called, wait) = oneshot::channel();
        H::call_soon(move || called.send(ID.get()).unwrap());
        assert_eq!(wait.await, Ok(Some(4)));
        assert_eq!(ID.get(), Some(4));
    });
    assert_eq!(ID.get(), Some(9));
}

pub(crate) fn ta_02_isolation_both_ways(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let (parent_has_set, wait) = oneshot::channel::<()>();
        let child = on.spawn(async move {
            ID.set(2);
            wait.await.unwrap();
            assert_eq!(ID.get(), Some(2));
            // Siblings too: this one is spawned later, by the parent.
        });
        let sibling = on.spawn(async { ID.get() });
        ID.set(3);
        parent_has_set.send(()).unwrap();
        child.await.unwrap();
        assert_eq!(sibling.await.unwrap(), Some(1));
        assert_eq!(ID.get(), Some(3));
    });
}

/// Whatever an executor does to get the work run, where somebody spawns, schedules, wakes and
/// aborts.
pub(crate) fn ta_02_submitting_leaves_the_context_alone(on: On) {
    #[track_caller]
    fn check(step: &str, id: u64) {
        assert_eq!((ID.get(), copy_context().len()), (Some(id), 1), "{step}");
    }
    on.start().block_on(async {
        ID.set(1);
        let (go, going) = oneshot::channel::<()>();
        let (wake, woken) = oneshot::channel::<()>();
        let task = on.spawn(async move {
            going.await.unwrap();
            wake.send(()).unwrap();
            future::pending::<()>().await;
        });
        check("a task is spawned", 1);
        let (call, called) = oneshot::channel();
        on.call_soon(move || call.send(()).unwrap());
        check("a callback is scheduled", 1);
        let (fire, fired) = oneshot::channel();
        on.call_later(Duration::from_millis(1), move || fire.send(()).unwrap());
        check("a timer is scheduled", 1);
        let job = shim::spawn_blocking(|| ());
        check("a job is submitted", 1);
        called.await.unwrap();
        fired.await.unwrap();
        job.await.unwrap();
        check("all of them have ended", 1);
        // Whose waker schedules it.
        let wakes = thread::spawn(move || {
            ID.set(2);
            go.send(()).unwrap();
            check("the task is woken", 2);
        });
        woken.await.unwrap();
        wakes.join().unwrap();
        task.abort();
        check("the task is aborted", 1);
        assert!(task.await.unwrap_err().is_cancelled());
        check("the task has ended", 1);
    });
}

pub(crate) fn ta_03_values_survive_interleaving(on: On) {
    context_var! { static NUMBER: i64 = -1; }
    on.start().block_on(async {
        NUMBER.set(-2);
        let parallel: Vec<_> = (0..16)
            .map(|n| {
                on.spawn(async move {
                    assert_eq!(NUMBER.get(), -2);
                    NUMBER.set(n);
                    shim::sleep(Duration::from_millis(5)).await;
                    NUMBER.get()
                })
            })
            .collect();
        for (n, task) in parallel.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), n as i64);
        }
        let interleaved: Vec<_> = (0..100)
            .map(|n| {
                on.spawn(async move {
                    for step in 0..10 {
                        NUMBER.set(n * 10 + step);
                        if (n + step) % 7 == 0 {
                            shim::sleep(Duration::from_micros(((n * step) % 50) as u64)).await;
                        } else {
                            shim::yield_now().await;
                        }
                        assert_eq!(NUMBER.get(), n * 10 + step);
                    }
                })
            })
            .collect();
        for task in interleaved {
            task.await.unwrap();
        }
        assert_eq!(NUMBER.get(), -2);
    });
    assert_eq!(NUMBER.get(), -1);
}

pub(crate) fn ta_04_awaiting_shares_the_context(on: On) {
    async fn callee() {
        assert_eq!(ID.get(), Some(1));
        shim::yield_now().await;
        ID.set(2);
    }
    on.start().block_on(async {
        on.spawn(async {
            ID.set(1);
            callee().await;
            assert_eq!(ID.get(), Some(2));
        })
        .await
        .unwrap();
    });
}

pub(crate) fn ta_05_the_capture_point_is_spawn(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let future = async { ID.get() };
        let captured = async { ID.get() }.in_current_context();
        ID.set(2);
        let (future, captured) = (on.spawn(future), on.spawn(captured));
        ID.set(3);
        assert_eq!(future.await.unwrap(), Some(2));
        assert_eq!(captured.await.unwrap(), Some(1));
    });
}

pub(crate) fn ta_06_wakers_carry_no_context(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let (sender, receiver) = oneshot::channel();
        let (by_thread, from_thread) = oneshot::channel();
        let sleeper = on.spawn(async move {
            let sent: u64 = receiver.await.unwrap();
            let first = ID.get();
            from_thread.await.unwrap();
            (sent, first, ID.get())
        });
        ID.set(2);
        // Completed in another context, and from another thread.
        on.call_soon(move || {
            ID.set(3);
            sender.send(4).unwrap();
        });
        thread::spawn(move || {
            ID.set(5);
            by_thread.send(()).unwrap();
            assert_eq!(ID.get(), Some(5));
        })
        .join()
        .unwrap();
        assert_eq!(sleeper.await.unwrap(), (4, Some(1), Some(1)));
        assert_eq!(ID.get(), Some(2));
    });
    assert_eq!(ID.get(), None);
}

pub(crate) fn ta_09_spawn_in_an_empty_context(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let empty = on.spawn_in(Context::new(), async {
            let before = ID.get();
            ID.set(2);
            before
        });
        let given = on.spawn_in(Context::new().with_value(&ID, 3), async { ID.get() });
        assert_eq!(empty.await.unwrap(), None);
        assert_eq!(given.await.unwrap(), Some(3));
        assert_eq!(ID.get(), Some(1));
    });
}

pub(crate) fn ta_11_spawned_inside_run(on: On) {
    on.start().block_on(async {
        let mut context = Context::new().with_value(&ID, 1);
        let child = context.run(|| {
            on.spawn(async {
                let before = ID.get();
                ID.set(2);
                before
            })
        });
        assert_eq!(child.await.unwrap(), Some(1));
        assert_eq!((context.get(&ID), ID.get()), (Some(&1), None));
    });
}

pub(crate) fn ta_12_abort_drops_in_the_context(on: On) {
    let seen = Log::new();
    let probe = SeesOnDrop(seen.clone());
    on.start().block_on(async {
        ID.set(1);
        let (started, wait) = oneshot::channel::<()>();
        let task = on.spawn(async move {
            let _probe = probe;
            ID.set(2);
            started.send(()).unwrap();
            future::pending::<()>().await;
        });
        wait.await.unwrap();
        ID.set(3);
        task.abort();
        let error = task.await.unwrap_err();
        assert!(error.is_cancelled() && !error.is_panic());
        assert_eq!(
            seen.take(),
            [Some(2)],
            "the task's value, not the canceller's"
        );
        assert_eq!(ID.get(), Some(3));
    });
}

pub(crate) fn ta_12_a_future_of_its_own_type<H: Harness>() {
    let seen = Log::new();
    let probe = || SeesOnDrop(seen.clone());
    H::start().block_on(async {
        ID.set(1);
        let (held, also, other) = (probe(), probe(), probe());
        let ends = H::spawn(async move {
            let _held = held;
            ID.set(2);
        });
        ends.await.unwrap();
        assert_eq!(seen.take(), [Some(2)]);
        let (started, wait) = oneshot::channel::<()>();
        let pending = H::spawn(async move {
            let _held = also;
            ID.set(3);
            started.send(()).unwrap();
            future::pending::<()>().await;
        });
        wait.await.unwrap();
        pending.abort();
        assert!(pending.await.unwrap_err().is_cancelled());
        assert_eq!(seen.take(), [Some(3)]);
        let shared = Context::new().with_value(&ID, 4).share();
        let held = HeldElsewhere::enter(&shared, || ());
        let waits = H::spawn_in(&shared, async move { drop(other) });
        waits.abort();
        assert!(waits.await.unwrap_err().is_cancelled());
        assert_eq!((seen.take(), ID.get()), (vec![Some(4)], Some(1)));
        held.release();
    });
}

pub(crate) fn ta_12_aborted_before_the_first_poll(on: On) {
    let (seen, polled) = (Log::new(), Log::new());
    let future = || {
        let (probe, polled) = (SeesOnDrop(seen.clone()), polled.clone());
        async move {
            let _probe = probe;
            polled.push(());
        }
    };
    let (taken, own) = (future(), future());
    on.start().block_on(async {
        // A context that is held elsewhere until the task is gone keeps it from ever starting.
        let shared = Context::new().with_value(&ID, 1).share();
        let held = HeldElsewhere::enter(&shared, || ());
        ID.set(2);
        let task = on.spawn_in(&shared, taken);
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!((seen.take(), polled.take()), (vec![Some(1)], vec![]));
        held.release();
        // In a context of its own it may be under way already, on another thread.
        let task = on.spawn(own);
        ID.set(3);
        task.abort();
        let _either = task.await;
        assert_eq!((seen.take(), ID.get()), (vec![Some(2)], Some(3)));
        assert!(on.has_local != Some(true) || polled.take().is_empty());
    });
}

pub(crate) fn ta_12_a_panic_in_a_destructor(on: On) {
    struct Panics(Log<Option<u64>>);
    impl Drop for Panics {
        fn drop(&mut self) {
            self.0.push(ID.get());
            panic::resume_unwind(Box::new("in a destructor"));
        }
    }
    let seen = Log::new();
    let probe = Panics(seen.clone());
    on.start().block_on(async {
        ID.set(1);
        let (started, wait) = oneshot::channel::<()>();
        let task = on.spawn(async move {
            let _probe = probe;
            started.send(()).unwrap();
            future::pending::<()>().await;
        });
        wait.await.unwrap();
        ID.set(2);
        task.abort();
        // Tokio reports the panic, the others the cancellation; the executor goes on in either
        // case.
        assert!(task.await.is_err());
        assert_eq!((seen.take(), ID.get()), (vec![Some(1)], Some(2)));
        let next = on.spawn(async { ID.get() });
        assert_eq!(next.await.unwrap(), Some(2));
    });
}

/// For executors that end with their harness.
pub(crate) fn ta_12_the_executors_end_drops_in_the_contexts(on: On) {
    let seen = Log::new();
    let (task, timer) = (SeesOnDrop(seen.clone()), SeesOnDrop(seen.clone()));
    let harness = on.start();
    let (task, timer) = harness.block_on(async move {
        ID.set(1);
        let (started, wait) = oneshot::channel();
        let task = on.spawn(async move {
            let _task = task;
            ID.set(2);
            started.send(()).unwrap();
            future::pending::<()>().await;
        });
        let timer = on.call_later(Duration::from_secs(3600), move || drop(timer));
        ID.set(3);
        wait.await.unwrap();
        (task, timer)
    });
    ID.set(4);
    assert_eq!(seen.take(), []);
    drop(harness);
    let mut dropped = seen.take();
    dropped.sort();
    assert_eq!((dropped, ID.get()), (vec![Some(1), Some(2)], Some(4)));
    let error = futures::executor::block_on(task).unwrap_err();
    assert!(error.is_cancelled());
    timer.cancel();
    assert!(!timer.is_cancelled(), "there is nothing left to cancel");
}

pub(crate) fn ta_13_a_wrapped_future_is_dropped_in_its_context(on: On) {
    on.start().block_on(async {
        let seen = Log::new();
        ID.set(1);
        let pending = |probe: SeesOnDrop| async move {
            let _probe = probe;
            future::pending::<()>().await;
        };
        let bare = pending(SeesOnDrop(seen.clone()));
        let mut wrapped = Box::pin(pending(SeesOnDrop(seen.clone())).in_current_context());
        assert!((&mut wrapped).now_or_never().is_none());
        ID.set(2);
        drop(bare);
        assert_eq!(seen.take(), [Some(2)], "as in Python: its dropper's");
        drop(wrapped);
        assert_eq!(seen.take(), [Some(1)]);
        // By a timeout in another task, too.
        let timed = pending(SeesOnDrop(seen.clone())).in_current_context();
        ID.set(3);
        let result = on
            .spawn(shim::timeout(Duration::from_millis(1), timed))
            .await;
        assert!(result.unwrap().is_err());
        assert_eq!((seen.take(), ID.get()), (vec![Some(2)], Some(3)));
    });
}

pub(crate) fn ta_14_channels_carry_no_context(on: On) {
    on.start().block_on(async {
        let (mut sender, mut receiver) = mpsc::channel(1);
        ID.set(1);
        let consumer = on.spawn(async move {
            let mut seen = Vec::new();
            while let Some((number, mut context)) = receiver.next().await {
                let context: &mut Context = &mut context;
                seen.push((number, ID.get(), context.run(|| ID.get())));
            }
            seen
        });
        let producer = on.spawn(async move {
            for number in 2..5 {
                ID.set(number);
                sender.send((number, copy_context())).await.unwrap();
            }
        });
        producer.await.unwrap();
        let expected: Vec<_> = (2..5).map(|n| (n, Some(1), Some(n))).collect();
        assert_eq!(consumer.await.unwrap(), expected);
    });
}

pub(crate) fn ta_17_spawn_traits_inherit(on: OnWrapped) {
    let harness = on.start();
    ID.set(1);
    let (sender, receiver) = oneshot::channel();
    harness.spawn_obj(Box::pin(async move {
        let before = ID.get();
        ID.set(2);
        sender.send(before).unwrap();
    }));
    ID.set(3);
    assert_eq!(harness.block_on(receiver), Ok(Some(1)));
    assert_eq!(ID.get(), Some(3));
}

pub(crate) fn ta_18_what_shares_and_what_isolates(on: On) {
    async fn bump() {
        shim::yield_now().await;
        ID.set(ID.get_or(0) + 1);
    }
    on.start().block_on(async {
        bump().await;
        assert_eq!(ID.get(), Some(1));
        shim::timeout(Duration::from_secs(60), bump())
            .await
            .unwrap();
        assert_eq!(ID.get(), Some(2));
        futures::join!(bump(), bump());
        assert_eq!(ID.get(), Some(4));
        futures::select! { () = bump().fuse() => (), () = future::pending().fuse() => () }
        assert_eq!(ID.get(), Some(5));
        let mut unordered: FuturesUnordered<_> = (0..3).map(|_| bump()).collect();
        while let Some(()) = unordered.next().await {}
        assert_eq!(ID.get(), Some(8));
        stream::iter(0..4).for_each_concurrent(2, |_| bump()).await;
        assert_eq!(ID.get(), Some(12));
        let buffered = stream::iter(0..4).map(|_| bump()).buffer_unordered(2);
        assert_eq!(buffered.count().await, 4);
        assert_eq!(ID.get(), Some(16));
        // These do not share.
        on.spawn(bump()).await.unwrap();
        bump().in_current_context().await;
        ID.scope(1, bump()).await;
        shim::spawn_blocking(|| ID.set(0)).await.map(drop).unwrap();
        assert_eq!(ID.get(), Some(16));
    });
}

pub(crate) fn ta_19_guards_across_await(on: On) {
    context_var! { static PRECISION: u32 = 28; }
    fn third() -> String {
        format!("{:.*}", PRECISION.get() as usize, 1.0 / 3.0)
    }
    on.start().block_on(async {
        let compute = |precision, expected: &'static str| async move {
            assert_eq!(third().len(), 30);
            for _ in 0..5 {
                let _guard = PRECISION.scoped(precision);
                assert_eq!(third(), expected);
                shim::yield_now().await;
                assert_eq!(third(), expected);
                shim::sleep(Duration::from_micros(10)).await;
                assert_eq!(third(), expected);
            }
            assert_eq!(third().len(), 30);
        };
        let (three, six) = (compute(3, "0.333"), compute(6, "0.333333"));
        let (three, six) = (on.spawn(three), on.spawn(six));
        three.await.unwrap();
        six.await.unwrap();
        assert_eq!(PRECISION.get(), 28);
    });
}

pub(crate) fn ta_19_scope(on: On) {
    let seen = Log::new();
    on.start().block_on(async {
        ID.set(1);
        let probe = SeesOnDrop(seen.clone());
        let scoped = ID.scope(2, async move {
            let _probe = probe;
            let inside = ID.get();
            shim::yield_now().await;
            let child = on.spawn(async { ID.get() });
            assert_eq!(child.await.unwrap(), Some(2));
            ID.set(3);
            inside
        });
        ID.set(4);
        assert_eq!(scoped.await, Some(2));
        assert_eq!((seen.take(), ID.get()), (vec![Some(3)], Some(4)));
        // Never polled, it is still dropped with the value.
        let probe = SeesOnDrop(seen.clone());
        drop(ID.scope(6, async move { drop(probe) }));
        assert_eq!((seen.take(), ID.get()), (vec![Some(6)], Some(4)));
    });
}

pub(crate) fn ta_20_streams(on: On) {
    fn count(seen: SeesOnDrop) -> impl stream::Stream<Item = Option<u64>> + Send + 'static {
        stream::unfold((0, seen), |(n, seen)| async move {
            let before = ID.get();
            shim::yield_now().await;
            ID.set(100 + n);
            Some((before, (n + 1, seen)))
        })
    }
    let seen = Log::new();
    on.start().block_on(async {
        ID.set(1);
        // A stream that is not wrapped runs in the context of whoever polls it.
        let mut bare = pin!(count(SeesOnDrop(Log::new())));
        assert_eq!(bare.next().await, Some(Some(1)));
        assert_eq!(ID.get(), Some(100));
        ID.set(2);
        assert_eq!(bare.next().await, Some(Some(2)));
        // Wrapped, in its own, also when another task drives it.
        ID.set(3);
        let mut wrapped = Box::pin(count(SeesOnDrop(seen.clone())).in_current_context());
        ID.set(4);
        assert_eq!(wrapped.next().await, Some(Some(3)));
        assert_eq!(ID.get(), Some(4));
        let wrapped = on.spawn(async move {
            assert_eq!(wrapped.next().await, Some(Some(100)));
            wrapped
        });
        let wrapped = wrapped.await.unwrap();
        assert_eq!(seen.take(), []);
        drop(wrapped);
        assert_eq!((seen.take(), ID.get()), (vec![Some(101)], Some(4)));
    });
}

/// What the panic hook saw, by the panic's message.
static HOOKED: Mutex<Vec<(String, Option<u64>)>> = Mutex::new(Vec::new());

fn watch_panics() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = message(info.payload()).to_owned();
            if text.starts_with("watched") {
                HOOKED
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((text, ID.get()));
            } else {
                default(info);
            }
        }));
    });
}

pub(crate) fn ta_21_the_panic_hook_sees_the_context(on: On) {
    watch_panics();
    let marker = format!("watched {}", on.name());
    let text = marker.clone();
    on.start().block_on(async {
        ID.set(1);
        let task = on.spawn(async move {
            ID.set(2);
            shim::yield_now().await;
            panic!("{text}");
        });
        ID.set(3);
        let error = task.await.unwrap_err();
        assert_eq!(message(&*error.into_panic()), marker);
    });
    let mut hooked = HOOKED.lock().unwrap_or_else(PoisonError::into_inner);
    hooked.retain(|(text, id)| {
        let ours = *text == marker;
        assert!(!ours || *id == Some(2), "{id:?}");
        !ours
    });
}

pub(crate) fn r_09_branches_share_the_context(on: On) {
    on.start().block_on(async {
        let first = Log::new();
        let left = async {
            let _guard = ID.scoped(1);
            shim::yield_now().await;
            first.push(ID.get());
        };
        let right = async {
            let _guard = ID.scoped(2);
            shim::yield_now().await;
            shim::yield_now().await;
            ID.get()
        };
        let ((), right) = futures::join!(left, right);
        // The second guard was made last, so its value is on top as long as it lives.
        assert_eq!((first.take(), right), (vec![Some(2)], Some(2)));
        assert_eq!(ID.get(), None);
        assert!(copy_context().is_empty());
    });
}
