//! Rows CS and HD: callbacks and timers.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, mpsc};
use std::thread;
use std::time::Duration;

use aiocontextvars::shim::{self, JoinHandle};
use aiocontextvars::{Context, copy_context};
use futures::channel::oneshot;

use crate::fixtures::{Drops, ID, Log, SeesOnDrop};
use crate::harness::{Anywhere, Harness, Remote};

/// Waits until the callbacks that have been scheduled so far have run.
async fn callbacks_so_far<H: Harness>() {
    let (done, wait) = oneshot::channel();
    H::call_soon(move || done.send(()).unwrap());
    wait.await.unwrap();
}

/// Keeps callbacks from running, also on other threads, until what it returns is dropped; that has to be
/// before the next await, because the queue may be on this thread.
fn hold_the_queue<H: Harness>() -> mpsc::Sender<()> {
    let (held, released) = mpsc::channel::<()>();
    H::call_soon(move || assert!(released.recv().is_err()));
    held
}

pub(crate) fn cs_01_captured_at_the_call<H: Harness>() {
    H::start().block_on(async {
        ID.set(1);
        let soon = call(|f| drop(H::call_soon(f)));
        let later = call(|f| drop(H::call_later(Duration::from_millis(2), f)));
        let past = call(|f| drop(H::call_later(Duration::ZERO, f)));
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

pub(crate) fn cs_02_captures_the_calling_thread<H: FromOtherThreads>() {
    let harness = H::start();
    let wrapper = harness.remote().wrapper();
    let sent = thread::spawn(move || {
        ID.set(7);
        let soon = call(|f| drop(wrapper.call_soon(f)));
        let later = call(|f| drop(wrapper.call_later(Duration::from_millis(1), f)));
        let at = call(|f| drop(wrapper.call_at(std::time::Instant::now(), f)));
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

/// A harness that other threads can submit work to.
pub(crate) trait FromOtherThreads: Harness {
    type Remote: Remote;

    fn remote(&self) -> &Self::Remote;
}

impl<R: Remote> FromOtherThreads for Anywhere<R> {
    type Remote = R;

    fn remote(&self) -> &R {
        &self.0
    }
}

pub(crate) fn cs_09_spawned_from_another_thread<H: FromOtherThreads>() {
    let harness = H::start();
    let wrapper = harness.remote().wrapper();
    let spawned = thread::spawn(move || {
        ID.set(7);
        let task: JoinHandle<_> = wrapper.spawn(async {
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

pub(crate) fn cs_03_each_in_its_own_copy<H: Harness>() {
    H::start().block_on(async {
        ID.set(1);
        let seen = Log::new();
        for n in 2..5 {
            let seen = seen.clone();
            H::call_soon(move || {
                seen.push(ID.get());
                ID.set(n);
            });
        }
        callbacks_so_far::<H>().await;
        assert_eq!(seen.take(), [Some(1); 3]);
        assert_eq!(ID.get(), Some(1));
    });
}

pub(crate) fn cs_05_a_callback_inherits_from_a_callback<H: Harness>() {
    H::start().block_on(async {
        ID.set(1);
        let (sender, receiver) = oneshot::channel();
        H::call_soon(move || {
            ID.set(2);
            H::call_soon(move || {
                H::call_later(Duration::from_micros(1), move || {
                    sender.send(ID.get()).unwrap()
                });
                ID.set(4);
            });
            let task = H::spawn(async { assert_eq!(ID.get(), Some(2)) });
            ID.set(3);
            task.detach();
        });
        assert_eq!(receiver.await.unwrap(), Some(2));
        assert_eq!(ID.get(), Some(1));
    });
}

/// What the exception handler saw, by the panic's message.
static REPORTS: Mutex<Vec<(String, String, Option<u64>)>> = Mutex::new(Vec::new());

fn collect_reports() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        shim::set_exception_handler(|error| {
            let report = (error.message().to_owned(), error.to_string(), ID.get());
            REPORTS.lock().unwrap().push(report);
            // A handler may use the crate, and fail itself.
            ID.set(0);
            assert!(!error.message().ends_with("and again"));
        });
    });
}

pub(crate) fn cs_06_a_panic_is_reported_in_the_context<H: Harness>() {
    collect_reports();
    let marker = format!("reported {}", std::any::type_name::<H>());
    let twice = format!("{marker} and again");
    let (text, again) = (marker.clone(), twice.clone());
    H::start().block_on(async move {
        ID.set(1);
        H::call_soon(move || {
            ID.set(2);
            panic::resume_unwind(Box::new(text));
        });
        H::call_soon(move || panic::resume_unwind(Box::new(again)));
        let next = call(|f| drop(H::call_soon(f)));
        assert_eq!(
            next.await.unwrap(),
            Some(1),
            "the next one runs, and in its own context"
        );
        assert_eq!(ID.get(), Some(1));
    });
    assert_eq!(ID.get(), None);
    let mut reports = REPORTS.lock().unwrap();
    let ours = |text: &str| *text == marker || *text == twice;
    let seen: Vec<_> = reports
        .iter()
        .filter(|(text, ..)| ours(text))
        .cloned()
        .collect();
    reports.retain(|(text, ..)| !ours(text));
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!((seen[0].2, seen[1].2), (Some(2), Some(1)));
    // It names the call site, not a line of the crate.
    assert!(seen[0].1.contains(file!()), "{}", seen[0].1);
}

pub(crate) fn cs_08_bound_functions<H: Harness>() {
    H::start().block_on(async {
        ID.set(1);
        let mut context = copy_context();
        let by_run = call(|f| drop(H::call_soon(move || context.run(f))));
        let by_bind = call(|f| drop(H::call_soon(shim::bind(f))));
        let plain = call(|f| drop(H::call_soon(f)));
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

pub(crate) fn table_callbacks_first_in_first_out_one_at_a_time<H: Harness>() {
    H::start().block_on(async {
        const CALLS: u32 = 300;
        let (order, running) = (Log::new(), Arc::new(AtomicBool::new(false)));
        for n in 0..CALLS {
            let (order, running) = (order.clone(), Arc::clone(&running));
            H::call_soon(move || {
                assert!(!running.swap(true, Ordering::SeqCst), "two at once");
                order.push(n);
                thread::yield_now();
                running.store(false, Ordering::SeqCst);
            });
        }
        callbacks_so_far::<H>().await;
        assert!(order.take().into_iter().eq(0..CALLS));
    });
}

pub(crate) fn table_callbacks_not_within_the_call_and_on_a_later_turn<H: Harness>() {
    H::start().block_on(async {
        let order = Log::new();
        let (done, wait) = oneshot::channel();
        let held = hold_the_queue::<H>();
        let within = order.clone();
        H::call_soon(move || {
            let nested = within.clone();
            H::call_soon(move || {
                nested.push("nested");
                done.send(()).unwrap();
            });
            within.push("outer");
        });
        let second = order.clone();
        H::call_soon(move || second.push("second"));
        drop(held);
        wait.await.unwrap();
        assert_eq!(order.take(), ["outer", "second", "nested"]);
        // One that schedules itself again and again starves nobody.
        fn again<H: Harness>(stop: Arc<AtomicBool>) {
            if !stop.load(Ordering::SeqCst) {
                H::call_soon(move || again::<H>(stop));
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        again::<H>(Arc::clone(&stop));
        let progress = H::spawn(async {
            for _ in 0..20 {
                shim::yield_now().await;
            }
        });
        progress.await.unwrap();
        shim::sleep(Duration::from_millis(1)).await;
        stop.store(true, Ordering::SeqCst);
    });
}

pub(crate) fn table_timers_fire_in_order<H: Harness>() {
    H::start().block_on(async {
        let order = Log::new();
        let (done, wait) = oneshot::channel();
        let mut done = Some(done);
        let held = hold_the_queue::<H>();
        let now = shim::now();
        // Out of order, some of them at the same moment, and one past already. The last tells that it is over.
        for (after, name) in [(6, "e"), (2, "b"), (4, "d"), (0, "a"), (2, "c"), (8, "f")] {
            let order = order.clone();
            let done = if name == "f" { done.take() } else { None };
            let when = now + Duration::from_millis(after);
            let timer = H::call_at(when, move || {
                assert!(shim::now() >= when, "too early");
                order.push(name);
                if let Some(done) = done {
                    done.send(()).unwrap();
                }
            });
            assert_eq!(timer.when(), when);
        }
        drop(held);
        wait.await.unwrap();
        assert_eq!(order.take(), ["a", "b", "c", "d", "e", "f"]);
    });
}

pub(crate) fn hd_02_cancel_releases_at_once<H: Harness>() {
    H::start().block_on(async {
        let (seen, drops) = (Log::new(), Drops::new());
        let held = drops.value();
        let mut context = Context::new();
        context.run(|| HELD.set(held));
        ID.set(1);
        let probe = SeesOnDrop(seen.clone());
        let held = hold_the_queue::<H>();
        let handle = H::call_soon(move || {
            let _probe = probe;
            unreachable!("it was cancelled");
        });
        let pinned = H::call_soon_in(context, || unreachable!("it was cancelled"));
        let kept = seen.clone();
        // Dropping the handle cancels nothing.
        drop(H::call_soon(move || kept.push(Some(3))));
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
        let ran = H::call_soon(|| ());
        callbacks_so_far::<H>().await;
        ran.cancel();
        assert!(!ran.is_cancelled());
        assert_eq!(seen.take(), [Some(3)]);
    });
}

aiocontextvars::context_var! { static HELD: crate::fixtures::Counted; }

pub(crate) fn hd_03_a_cancelled_timer_releases_at_once<H: Harness>() {
    H::start().block_on(async {
        let drops = Drops::new();
        let timers: Vec<_> = (0..40)
            .map(|_| {
                HELD.set(drops.value());
                H::call_later(Duration::from_secs(3600), || {
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
        callbacks_so_far::<H>().await;
        timers[0].cancel();
    });
}
