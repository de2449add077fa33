//! Rows CS and HD: callbacks and timers.

use std::future;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use aiocontextvars::shim::{self, CallHandle};
use aiocontextvars::{Context, SharedContext, copy_context};
use futures::channel::oneshot;

use crate::executor::{CALL_SITES, On, OnRemote};
use crate::fixtures::{Drops, HELD, ID, Log, SeesOnDrop};
use crate::reports;

pub(crate) fn cs_01_captured_at_the_call(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let soon = call(|f| drop(on.call_soon(f)));
        let later = call(|f| drop(on.call_later(Duration::from_millis(2), f)));
        let past = call(|f| drop(on.call_later(Duration::ZERO, f)));
        ID.set(2);
        assert_eq!(soon.await.unwrap(), Some(1));
        assert_eq!(past.await.unwrap(), Some(1));
        assert_eq!(later.await.unwrap(), Some(1));
        assert_eq!(ID.get(), Some(2));
    });
}

/// Schedules a callback that tells what it sees.
fn call(schedule: impl FnOnce(Box<dyn FnOnce() + Send>)) -> oneshot::Receiver<Option<u64>> {
    let (sender, receiver) = oneshot::channel();
    schedule(Box::new(move || sender.send(ID.get()).unwrap()));
    receiver
}

pub(crate) fn cs_02_captures_the_calling_thread(on: OnRemote) {
    let harness = on.start();
    let wrapper = harness.wrapper();
    let sent = thread::spawn(move || {
        ID.set(7);
        let soon = call(|f| drop(wrapper.call_soon(f)));
        let later = call(|f| drop(wrapper.call_later(Duration::from_millis(1), f)));
        let at = call(|f| drop(wrapper.call_at(wrapper.now(), f)));
        ID.set(8);
        (soon, later, at)
    });
    harness.block_on(async {
        ID.set(1);
        let (soon, later, at) = sent.join().unwrap();
        assert_eq!(soon.await.unwrap(), Some(7));
        assert_eq!(later.await.unwrap(), Some(7));
        assert_eq!(at.await.unwrap(), Some(7));
        assert_eq!(ID.get(), Some(1));
    });
}

pub(crate) fn cs_09_spawned_from_another_thread(on: OnRemote) {
    let harness = on.start();
    let wrapper = harness.wrapper();
    let spawned = thread::spawn(move || {
        ID.set(7);
        let task = wrapper.spawn(async {
            let before = ID.get();
            ID.set(9);
            let child = shim::spawn(async { ID.get() });
            (before, child.await.unwrap())
        });
        assert_eq!(ID.get(), Some(7));
        ID.set(8);
        task
    });
    harness.block_on(async {
        ID.set(1);
        let task = spawned.join().unwrap();
        assert_eq!(task.await.unwrap(), (Some(7), Some(9)));
        assert_eq!(ID.get(), Some(1));
    });
}

pub(crate) fn cs_03_each_in_its_own_copy(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let seen = Log::new();
        for n in 2..5 {
            let seen = seen.clone();
            on.call_soon(move || {
                seen.push(ID.get());
                ID.set(n);
            });
        }
        on.callbacks_so_far().await;
        assert_eq!(seen.take(), [Some(1); 3]);
        assert_eq!(ID.get(), Some(1));
    });
}

pub(crate) fn cs_05_a_callback_inherits_from_a_callback(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let (sender, receiver) = oneshot::channel();
        on.call_soon(move || {
            ID.set(2);
            on.call_soon(move || {
                on.call_later(Duration::from_micros(1), move || {
                    sender.send(ID.get()).unwrap()
                });
                ID.set(4);
            });
            let task = on.spawn(async { assert_eq!(ID.get(), Some(2)) });
            ID.set(3);
            task.detach();
        });
        assert_eq!(receiver.await.unwrap(), Some(2));
        assert_eq!(ID.get(), Some(1));
    });
}

pub(crate) fn cs_06_a_panic_is_reported_in_the_context(on: On) {
    let marker = format!("reported {}", on.name());
    let twice = format!("{marker} and again");
    let reports = Log::new();
    let log = reports.clone();
    let _watch = reports::watch(&marker, move |error| {
        log.push((error.message().to_owned(), error.to_string(), ID.get()));
        // A handler may use the crate, and fail itself.
        ID.set(0);
        assert!(!error.message().ends_with("and again"));
    });
    let (text, again) = (marker.clone(), twice.clone());
    on.start().block_on(async move {
        ID.set(1);
        on.call_soon(move || {
            ID.set(2);
            panic::resume_unwind(Box::new(text));
        });
        on.call_soon(move || panic::resume_unwind(Box::new(again)));
        let next = call(|f| drop(on.call_soon(f)));
        assert_eq!(
            next.await.unwrap(),
            Some(1),
            "the next one runs, and in its own context"
        );
        assert_eq!(ID.get(), Some(1));
    });
    assert_eq!(ID.get(), None);
    let seen = reports.take();
    let texts: Vec<_> = seen.iter().map(|(text, _, id)| (text, *id)).collect();
    assert_eq!(texts, [(&marker, Some(2)), (&twice, Some(1))]);
    // It names the call site, not a line of the crate.
    assert!(seen[0].1.contains(CALL_SITES), "{}", seen[0].1);
}

pub(crate) fn cs_08_bound_functions(on: On) {
    on.start().block_on(async {
        ID.set(1);
        let mut context = copy_context();
        let by_run = call(|f| drop(on.call_soon(move || context.run(f))));
        let by_bind = call(|f| drop(on.call_soon(shim::bind(f))));
        let plain = call(|f| drop(on.call_soon(f)));
        ID.set(2);
        for seen in [by_run, by_bind, plain] {
            assert_eq!(seen.await.unwrap(), Some(1));
        }
        let mut next = shim::bind_mut(|()| {
            ID.set(ID.get_or(0) + 1);
            ID.get()
        });
        let other = shim::bind_fn(|()| {
            ID.set(ID.get_or(0) + 1);
            ID.get()
        });
        ID.set(10);
        assert_eq!([next(()), next(())], [Some(3), Some(4)]);
        assert_eq!([other(()), other(())], [Some(3), Some(3)]);
        assert_eq!(ID.get(), Some(10));
    });
}

pub(crate) fn table_callbacks_first_in_first_out_one_at_a_time(on: On) {
    on.start().block_on(async {
        const CALLS: u32 = 300;
        let (order, running) = (Log::new(), Arc::new(AtomicBool::new(false)));
        for n in 0..CALLS {
            let (order, running) = (order.clone(), Arc::clone(&running));
            on.call_soon(move || {
                assert!(!running.swap(true, Ordering::SeqCst), "two at once");
                order.push(n);
                thread::yield_now();
                running.store(false, Ordering::SeqCst);
            });
        }
        on.callbacks_so_far().await;
        assert!(order.take().into_iter().eq(0..CALLS));
    });
}

pub(crate) fn table_callbacks_not_within_the_call_and_on_a_later_turn(on: On) {
    on.start().block_on(async {
        let order = Log::new();
        let (done, wait) = oneshot::channel();
        let held = on.hold_the_queue();
        let within = order.clone();
        on.call_soon(move || {
            let nested = within.clone();
            on.call_soon(move || {
                nested.push("nested");
                done.send(()).unwrap();
            });
            within.push("outer");
        });
        let second = order.clone();
        on.call_soon(move || second.push("second"));
        drop(held);
        wait.await.unwrap();
        assert_eq!(order.take(), ["outer", "second", "nested"]);
        // One that schedules itself again and again starves nobody.
        fn again(on: On, stop: Arc<AtomicBool>) {
            if !stop.load(Ordering::SeqCst) {
                on.call_soon(move || again(on, stop));
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        again(on, Arc::clone(&stop));
        let progress = on.spawn(async {
            for _ in 0..20 {
                shim::yield_now().await;
            }
        });
        progress.await.unwrap();
        shim::sleep(Duration::from_millis(1)).await;
        stop.store(true, Ordering::SeqCst);
    });
}

pub(crate) fn table_timers_fire_in_order(on: On) {
    on.start().block_on(async {
        let order = Log::new();
        let (done, wait) = oneshot::channel();
        let mut done = Some(done);
        let log = order.clone();
        let add = move || {
            let now = shim::now();
            // Out of order, some of them at the same moment, and one past already. The last tells
            // that it is over.
            for (after, name) in [(6, "e"), (2, "b"), (4, "d"), (0, "a"), (2, "c"), (8, "f")] {
                let order = log.clone();
                let done = if name == "f" { done.take() } else { None };
                let when = now + Duration::from_millis(after);
                let timer = on.call_at(when, move || {
                    assert!(shim::now() >= when, "too early");
                    order.push(name);
                    if let Some(done) = done {
                        done.send(()).unwrap();
                    }
                });
                assert_eq!(timer.when(), when);
            }
        };
        on.in_a_callback(add).await;
        wait.await.unwrap();
        assert_eq!(order.take(), ["a", "b", "c", "d", "e", "f"]);
    });
}

pub(crate) fn table_sleeps_follow_the_clock(on: On) {
    const LONG: Duration = Duration::from_millis(5);
    on.start().block_on(async {
        let sleeps = on.spawn(async {
            let start = shim::now();
            shim::sleep(LONG).await;
            shim::now() - start
        });
        let slept = sleeps.await.unwrap();
        assert!(slept >= LONG, "{slept:?} only");
        let timed = on.spawn(async {
            let start = shim::now();
            let ended = shim::timeout(LONG, future::pending::<()>()).await;
            (ended.is_err(), shim::now() - start)
        });
        let (timed_out, waited) = timed.await.unwrap();
        assert!(timed_out && waited >= LONG, "{waited:?} only");
    });
}

pub(crate) fn hd_02_cancel_releases_at_once(on: On) {
    on.start().block_on(async {
        let (seen, drops) = (Log::new(), Drops::new());
        let held = drops.value();
        let mut context = Context::new();
        context.run(|| HELD.set(held));
        ID.set(1);
        let probe = SeesOnDrop(seen.clone());
        let held = on.hold_the_queue();
        let handle = on.call_soon(move || {
            let _probe = probe;
            unreachable!("it was cancelled");
        });
        let pinned = on.call_soon_in(context, || unreachable!("it was cancelled"));
        let kept = seen.clone();
        // Dropping the handle cancels nothing.
        drop(on.call_soon(move || kept.push(Some(3))));
        ID.set(2);
        assert!(!handle.is_cancelled());
        handle.cancel();
        assert!(handle.is_cancelled());
        assert_eq!(
            (seen.take(), ID.get()),
            (vec![Some(1)], Some(2)),
            "dropped in its context"
        );
        assert_eq!(drops.count(), 0);
        pinned.cancel();
        assert_eq!(drops.count(), 1, "its context is gone too");
        handle.cancel();
        drop(held);
        // After it has run: no effect.
        let ran = on.call_soon(|| ());
        on.callbacks_so_far().await;
        ran.cancel();
        assert!(!ran.is_cancelled());
        assert_eq!(seen.take(), [Some(3)]);
    });
}

pub(crate) fn hd_03_a_cancelled_timer_releases_at_once(on: On) {
    on.start().block_on(async {
        let drops = Drops::new();
        let timers: Vec<_> = (0..40)
            .map(|_| {
                HELD.set(drops.value());
                on.call_later(Duration::from_secs(3600), || {
                    unreachable!("it was cancelled")
                })
            })
            .collect();
        HELD.unset();
        assert_eq!(drops.count(), 0, "the timers' contexts hold the values");
        let due = timers[0].when();
        assert!(
            timers
                .windows(2)
                .all(|pair| pair[0].when() <= pair[1].when())
        );
        for (n, timer) in timers.iter().enumerate() {
            timer.cancel();
            assert!(timer.is_cancelled());
            assert_eq!(drops.count(), n + 1);
        }
        assert_eq!(timers[0].when(), due);
        // The handles outlive the timers, and the executor.
        on.callbacks_so_far().await;
        timers[0].cancel();
    });
}

pub(crate) fn hd_01_the_given_context_is_the_one_it_runs_in(on: On) {
    on.start().block_on(async {
        let shared = SharedContext::new();
        ID.set(1);
        let soon = on.call_soon_in(&shared, || {
            assert_eq!(ID.get(), None);
            ID.set(2);
        });
        on.callbacks_so_far().await;
        assert_eq!(shared.get(&ID), Some(2));
        // The handle keeps nothing of it.
        assert!(!soon.is_cancelled());
        let pinned = SharedContext::new();
        let drops = Drops::new();
        let held = drops.value();
        pinned.run(|| HELD.set(held)).unwrap();
        let handle = on.call_soon_in(pinned, || ());
        on.callbacks_so_far().await;
        assert_eq!(drops.count(), 1);
        handle.cancel();
    });
}

pub(crate) fn hd_02_cancelled_by_the_callback_itself(on: On) {
    on.start().block_on(async {
        let handle = Arc::new(Mutex::new(None::<CallHandle>));
        let drops = Drops::new();
        let held = drops.value();
        let own = Arc::clone(&handle);
        let queue = on.hold_the_queue();
        *handle.lock().unwrap() = Some(on.call_soon(move || {
            let handle = own.lock().unwrap().take().unwrap();
            handle.cancel();
            assert!(!handle.is_cancelled(), "it is running");
            drop(held);
        }));
        drop(queue);
        on.callbacks_so_far().await;
        assert_eq!(drops.count(), 1);
    });
}

pub(crate) fn hd_02_cancelled_from_another_thread(on: On) {
    on.start().block_on(async {
        const CALLS: usize = 200;
        let (ran, drops) = (Arc::new(AtomicUsize::new(0)), Drops::new());
        let handles: Vec<_> = (0..CALLS)
            .map(|_| {
                let (ran, held) = (Arc::clone(&ran), drops.value());
                on.call_soon(move || {
                    ran.fetch_add(1, Ordering::SeqCst);
                    drop(held);
                })
            })
            .collect();
        // While the callbacks run, on executors with other threads.
        let cancels = thread::spawn(move || {
            handles.iter().rev().for_each(CallHandle::cancel);
            handles
                .iter()
                .filter(|handle| handle.is_cancelled())
                .count()
        });
        on.callbacks_so_far().await;
        let cancelled = cancels.join().unwrap();
        on.callbacks_so_far().await;
        // Each was either called or cancelled, and is gone.
        assert_eq!(ran.load(Ordering::SeqCst) + cancelled, CALLS);
        assert_eq!(drops.count(), CALLS);
    });
}

pub(crate) fn hd_02_handles_outlive_their_executor(on: On) {
    let harness = on.start();
    let (soon, later) = harness.block_on(async {
        let soon = on.call_soon(|| ());
        on.callbacks_so_far().await;
        (soon, on.call_later(Duration::from_secs(3600), || ()))
    });
    drop(harness);
    let due = later.when();
    let elsewhere = thread::spawn(move || {
        soon.cancel();
        later.cancel();
        assert!(!soon.is_cancelled());
        later.when()
    });
    assert_eq!(elsewhere.join().unwrap(), due);
}

pub(crate) fn hd_03_timers_are_added_and_cancelled_in_any_number(on: On) {
    on.start().block_on(async {
        const TIMERS: usize = 20_000;
        let drops = Drops::new();
        let fired = Log::new();
        let (log, dropped) = (fired.clone(), drops.clone());
        let add = move || {
            let start = shim::now();
            // Every tenth stays, among them the first.
            let mut kept = Vec::new();
            for n in 0..TIMERS {
                let (held, log) = (dropped.value(), log.clone());
                let due = start + Duration::from_micros((TIMERS - n) as u64 % 997);
                let timer = on.call_at(due, move || {
                    let _held = held;
                    log.push((due, n));
                });
                if n % 10 == 0 {
                    kept.push((due, n));
                } else {
                    timer.cancel();
                }
            }
            assert_eq!(dropped.count(), TIMERS - kept.len());
            kept
        };
        let mut kept = on.in_a_callback(add).await;
        while drops.count() < TIMERS {
            shim::sleep(Duration::from_millis(1)).await;
        }
        kept.sort();
        // Not `assert_eq`, which would print thousands of lines.
        assert!(fired.take() == kept, "not in the order of the deadlines");
    });
}

pub(crate) fn cs_02_a_burst_from_eight_threads(on: OnRemote) {
    const THREADS: usize = 8;
    const CALLS: usize = 100_000 / THREADS;
    let harness = on.start();
    let wrapper = harness.wrapper();
    harness.block_on(async {
        let order = Arc::new(Mutex::new(vec![Vec::new(); THREADS]));
        let running = Arc::new(AtomicBool::new(false));
        let start = Arc::new(Barrier::new(THREADS));
        let callers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (wrapper, start) = (wrapper.clone(), Arc::clone(&start));
                let (order, running) = (Arc::clone(&order), Arc::clone(&running));
                thread::spawn(move || {
                    ID.set(thread as u64);
                    start.wait();
                    for n in 0..CALLS {
                        let (order, running) = (Arc::clone(&order), Arc::clone(&running));
                        wrapper.call_soon(move || {
                            assert!(!running.swap(true, Ordering::SeqCst), "two at once");
                            order.lock().unwrap()[thread].push((n, ID.get()));
                            running.store(false, Ordering::SeqCst);
                        });
                    }
                })
            })
            .collect();
        // The executor's own threads run callbacks meanwhile.
        let all = shim::spawn_blocking(move || callers.into_iter().for_each(|t| t.join().unwrap()));
        all.await.unwrap();
        let (done, wait) = oneshot::channel();
        wrapper.call_soon(move || done.send(()).unwrap());
        wait.await.unwrap();
        for (thread, calls) in order.lock().unwrap().iter().enumerate() {
            let expected = (0..CALLS).map(|n| (n, Some(thread as u64)));
            assert!(calls.iter().copied().eq(expected), "of thread {thread}");
        }
    });
}
