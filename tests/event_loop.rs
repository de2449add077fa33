//! What is the event loop's own: turns, stopping, its clocks, and its end.

use std::cell::{Cell, RefCell};
use std::future;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{self, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use aiocontextvars::event_loop::{EventLoop, LoopHandle};
use aiocontextvars::shim::{self, ContextAwareExecutor, Executor};
use aiocontextvars::{Context, SharedContext, context_var};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::LocalBoxFuture;

context_var! {
    static ID: u64;
}

#[test]
fn run_forever_runs_until_stopped() {
    let event_loop = Rc::new(EventLoop::new());
    let turns = Rc::new(Cell::new(0));
    fn turn(event_loop: &Rc<EventLoop>, turns: &Rc<Cell<u32>>) {
        let (event_loop, turns) = (Rc::clone(event_loop), Rc::clone(turns));
        event_loop.clone().call_soon(move || {
            turns.set(turns.get() + 1);
            if turns.get() == 5 {
                event_loop.stop();
            }
            turn(&event_loop, &turns);
        });
    }
    turn(&event_loop, &turns);
    event_loop.run_forever();
    assert_eq!(turns.get(), 5);
    // What was left runs in the next run; a stop beforehand ends that after one turn.
    event_loop.stop();
    event_loop.run_forever();
    assert_eq!(turns.get(), 6);
}

#[test]
fn a_parked_loop_is_woken_from_other_threads() {
    let event_loop = EventLoop::new();
    let handle = event_loop.handle();
    let helper = thread::spawn(move || {
        ID.set(7);
        let (sender, receiver) = mpsc::channel();
        for n in 0..100 {
            let sender = sender.clone();
            handle.call_soon_threadsafe(move || sender.send((n, ID.get())).unwrap());
            // One at a time, so that the loop parks in between.
            assert_eq!(receiver.recv(), Ok((n, Some(7))));
        }
        let task = handle.spawn(async { ID.get() });
        assert_eq!(futures::executor::block_on(task).unwrap(), Some(7));
        handle.stop();
    });
    event_loop.run_forever();
    helper.join().unwrap();
}

#[test]
fn an_idle_loop_uses_no_processor_time() {
    fn ticks() -> u64 {
        // User and system time of this thread.
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields = stat.rsplit(')').next().unwrap();
        let times = fields.split_whitespace().skip(11).take(2);
        times.map(|time| time.parse::<u64>().unwrap()).sum()
    }
    if !std::path::Path::new("/proc/thread-self/stat").exists() {
        return;
    }
    let event_loop = EventLoop::new();
    let shared = SharedContext::new();
    let (used, waited) = event_loop.run_until_complete(async {
        let before = (ticks(), Instant::now());
        // A task that waits for a taken context, a timer, and the main future: none of them may
        // spin.
        let (release, wait) = mpsc::channel::<()>();
        let (entered, is_entered) = mpsc::channel::<()>();
        let holder = shared.clone();
        let holder = thread::spawn(move || {
            holder.run(|| {
                entered.send(()).unwrap();
                wait.recv().unwrap();
            })
        });
        is_entered.recv().unwrap();
        let parked = shim::spawn_in(&shared, async {});
        shim::call_soon_in(&shared, || ());
        // One that comes before the sleep's, so that the loop wakes and finds nothing to do.
        let timer = shim::call_later(Duration::from_millis(200), || unreachable!());
        let cancels = thread::spawn(move || timer.cancel());
        shim::sleep(Duration::from_millis(300)).await;
        let after = (ticks(), Instant::now());
        cancels.join().unwrap();
        release.send(()).unwrap();
        parked.await.unwrap();
        holder.join().unwrap().unwrap();
        (after.0 - before.0, after.1 - before.1)
    });
    // A tick is ten milliseconds; spinning would take thirty of them.
    assert!(used <= 2, "{used} ticks in {waited:?}");
}

#[test]
fn virtual_time_jumps_from_timer_to_timer() {
    let event_loop = EventLoop::with_virtual_clock();
    let (real, start) = (Instant::now(), event_loop.time());
    let order = Rc::new(RefCell::new(Vec::new()));
    ID.set(1);
    for (seconds, name) in [(3, "c"), (1, "a"), (1, "b"), (86_400, "d")] {
        let order = Rc::clone(&order);
        event_loop.call_later(Duration::from_secs(seconds), move || {
            let elapsed = (shim::now() - start).as_secs();
            order.borrow_mut().push((name, elapsed, ID.get()));
        });
    }
    let past = Rc::clone(&order);
    event_loop.call_at(start - Duration::from_secs(1), move || {
        past.borrow_mut().push(("past", 0, ID.get()));
    });
    ID.set(2);
    event_loop.run_until_complete(shim::sleep(Duration::from_secs(100_000)));
    let seen = order.borrow();
    let expected = [("past", 0), ("a", 1), ("b", 1), ("c", 3), ("d", 86_400)];
    assert!(
        seen.iter().map(|seen| (seen.0, seen.1)).eq(expected),
        "{seen:?}"
    );
    assert!(seen.iter().all(|seen| seen.2 == Some(1)));
    assert_eq!(event_loop.time() - start, Duration::from_secs(100_000));
    assert!(real.elapsed() < Duration::from_secs(100));
}

#[test]
fn moments_of_the_virtual_clock() {
    let event_loop = EventLoop::with_virtual_clock();
    let (handle, start) = (event_loop.handle(), event_loop.time());
    assert_eq!(handle.time(), start);
    let at = |seconds| start + Duration::from_secs(seconds);
    let seen = Rc::new(RefCell::new(Vec::new()));
    ID.set(1);
    let call = |seconds, id| {
        let seen = Rc::clone(&seen);
        let context = Context::new().with_value(&ID, id);
        let timer = event_loop.call_at_in(context, at(seconds), move || {
            seen.borrow_mut().push((shim::now(), ID.get()));
        });
        assert_eq!(timer.when(), at(seconds));
        timer
    };
    call(20, 3);
    call(10, 2);
    call(15, 4).cancel();
    event_loop.run_until_complete(async {
        shim::sleep_until(at(12)).await;
        assert_eq!(shim::now(), at(12));
        assert_eq!(*seen.borrow(), [(at(10), Some(2))]);
        // A moment that has passed is no wait.
        assert!(shim::sleep_until(start).now_or_never().is_some());
        shim::sleep_until(start).await;
        assert_eq!(shim::now(), at(12));
        shim::sleep_until(at(30)).await;
    });
    assert_eq!(*seen.borrow(), [(at(10), Some(2)), (at(20), Some(3))]);
    assert_eq!((handle.time(), ID.get()), (at(30), Some(1)));
}

#[test]
fn a_delay_that_no_moment_can_hold_is_as_good_as_endless() {
    let event_loop = EventLoop::with_virtual_clock();
    let (start, year) = (event_loop.time(), Duration::from_secs(86_400 * 365));
    let timer = event_loop.call_later(Duration::MAX, || unreachable!("it is cancelled"));
    assert!(timer.when() - start >= year * 20);
    event_loop.run_until_complete(shim::sleep(year));
    timer.cancel();
    assert_eq!(event_loop.time() - start, year);
}

/// Stops the loop when a thread is done with it, also if that fails.
struct StopsOnDrop(LoopHandle);

impl Drop for StopsOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[test]
fn a_handle_submits_in_a_context_of_ones_own() {
    let event_loop = EventLoop::new();
    let stops = StopsOnDrop(event_loop.handle());
    let other = thread::spawn(move || {
        let handle = &stops.0;
        ID.set(1);
        let (sender, receiver) = mpsc::channel();
        let shared = Context::new().with_value(&ID, 30).share();
        let task = handle.spawn_in(Context::new().with_value(&ID, 20), async {
            let before = ID.get();
            ID.set(21);
            shim::yield_now().await;
            (before, ID.get(), thread::current().id())
        });
        handle.call_soon_threadsafe_in(&shared, || drop(ID.set(31)));
        let context = Context::new().with_value(&ID, 40);
        handle.call_soon_threadsafe_in(context, move || sender.send(ID.get()).unwrap());
        handle
            .call_soon_threadsafe_in(Context::new(), || unreachable!("it is cancelled"))
            .cancel();
        assert_eq!((receiver.recv(), shared.get(&ID)), (Ok(Some(40)), Some(31)));
        let seen = futures::executor::block_on(task).unwrap();
        (seen, ID.get())
    });
    event_loop.run_forever();
    let here = thread::current().id();
    assert_eq!(other.join().unwrap(), ((Some(20), Some(21), here), Some(1)));
}

/// A task that has ended leaves its place on the loop's list to the next one.
#[test]
fn an_abort_of_a_task_that_has_ended_is_not_the_next_ones() {
    let event_loop = EventLoop::new();
    let seen = event_loop.run_until_complete(async {
        let first = event_loop.spawn(async { 1 });
        let abort = first.abort_handle();
        while !first.is_finished() {
            shim::yield_now().await;
        }
        let second = event_loop.spawn(async {
            shim::yield_now().await;
            2
        });
        assert!(abort.is_finished() && !second.is_finished());
        abort.abort();
        first.abort();
        first.abort_handle().abort();
        assert!(!first.remove_done_callback(first.add_done_callback(|| ())));
        (first.await.unwrap(), second.await.unwrap())
    });
    assert_eq!(seen, (1, 2));
}

/// Of many that are aborted at once, each is dropped, and tells of it.
#[test]
fn tasks_that_are_aborted_together_are_all_dropped() {
    let event_loop = EventLoop::new();
    let drops = Rc::new(Cell::new(0));
    let told = Arc::new(Mutex::new(0));
    event_loop.run_until_complete(async {
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let drops = Drops(Rc::clone(&drops));
                let task = event_loop.spawn(async move {
                    let _drops = drops;
                    future::pending::<()>().await;
                });
                let told = Arc::clone(&told);
                task.add_done_callback(move || *told.lock().unwrap() += 1);
                task
            })
            .collect();
        shim::yield_now().await;
        tasks.iter().for_each(|task| task.abort());
        for task in tasks {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        shim::yield_now().await;
    });
    assert_eq!((drops.get(), *told.lock().unwrap()), (100, 100));
}

struct Drops(Rc<Cell<u32>>);

impl Drop for Drops {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// The loop and its handles have one line.
#[test]
fn callbacks_of_the_loop_and_of_its_handles_keep_their_order() {
    let event_loop = EventLoop::new();
    let handle = event_loop.handle();
    let order = Arc::new(Mutex::new(Vec::new()));
    let push = |n| {
        let order = Arc::clone(&order);
        move || order.lock().unwrap().push(n)
    };
    for n in 0..3 {
        event_loop.call_soon(push(3 * n));
        handle.call_soon_threadsafe(push(3 * n + 1));
        event_loop.call_soon_in(Context::new(), push(3 * n + 2));
    }
    event_loop.run_until_complete(shim::yield_now());
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
}

/// A job is on another thread, and knows the executor of who submits it.
#[test]
fn a_job_of_the_main_future_spawns_on_the_loop() {
    let event_loop = EventLoop::new();
    let here = thread::current().id();
    let ran_on = event_loop.run_until_complete(async {
        ID.set(7);
        let job =
            shim::spawn_blocking(|| shim::try_spawn(async { (ID.get(), thread::current().id()) }));
        job.await.unwrap().unwrap().await.unwrap()
    });
    assert_eq!(ran_on, (Some(7), here));
}

#[test]
fn a_task_of_a_handle_spawns_on_the_loops_thread() {
    let event_loop = EventLoop::new();
    let task = event_loop.handle().spawn(async {
        ID.set(1);
        let child = shim::spawn_local(async { *Rc::new(ID.get()) });
        ID.set(2);
        child.await.unwrap()
    });
    assert_eq!(event_loop.run_until_complete(task).unwrap(), Some(1));
}

#[test]
fn another_thread_blocks_on_the_loop_and_its_own_does_not() {
    let event_loop = EventLoop::new();
    let executor = ContextAwareExecutor::new(event_loop.handle());
    let polled = Cell::new(false);
    let refused = executor.try_block_on(async { polled.set(true) });
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("run_until_complete")
    );
    event_loop.run_until_complete(async {
        let refused = executor.try_block_on(async { polled.set(true) });
        assert!(refused.unwrap_err().to_string().contains("await"));
    });
    assert!(!polled.get());
    let stops = StopsOnDrop(event_loop.handle());
    let other = thread::spawn(move || {
        let _stops = stops;
        ID.set(1);
        let seen = executor.block_on(async {
            let inherited = ID.get();
            ID.set(2);
            // Tasks go to the loop, whose thread it is not.
            let task = shim::spawn(async { (ID.get(), thread::current().id()) });
            (inherited, task.await.unwrap())
        });
        (seen, ID.get())
    });
    event_loop.run_forever();
    let here = thread::current().id();
    assert_eq!(other.join().unwrap(), ((Some(1), (Some(2), here)), Some(1)));
}

#[test]
fn a_timer_for_a_loop_that_has_ended_is_dropped() {
    let event_loop = EventLoop::new();
    let executor = ContextAwareExecutor::new(event_loop.handle());
    event_loop.close();
    assert!(executor.get_ref().is_closed());
    let held = Arc::new(());
    let kept = Arc::clone(&held);
    let timer = executor.call_later(Duration::ZERO, move || drop(kept));
    assert_eq!(Arc::strong_count(&held), 1);
    assert!(!timer.is_cancelled());
}

#[test]
fn running_within_a_run_is_refused() {
    let (outer, inner) = (EventLoop::new(), EventLoop::new());
    outer.run_until_complete(async {
        let polled = Cell::new(false);
        for nested in [&outer, &inner] {
            let error = nested.try_run_until_complete(async { polled.set(true) });
            assert!(error.unwrap_err().to_string().contains("await"));
        }
        assert!(!polled.get());
    });
    assert_eq!(inner.run_until_complete(async { 1 }), 1);
}

#[test]
fn the_forms_that_panic_are_refused_within_a_run_as_well() {
    let (outer, inner) = (EventLoop::new(), EventLoop::default());
    ID.set(1);
    outer.run_until_complete(async {
        ID.set(2);
        let runs: [&dyn Fn(); 2] = [
            &|| inner.run_until_complete(async { unreachable!("it has been polled") }),
            &|| inner.run_forever(),
        ];
        for run in runs {
            let payload = panic::catch_unwind(AssertUnwindSafe(run)).unwrap_err();
            let text = payload.downcast_ref::<String>().unwrap();
            assert!(
                text.starts_with("cannot block on a future here: "),
                "{text}"
            );
        }
        assert_eq!(ID.get(), Some(2));
    });
    assert_eq!(ID.get(), Some(1));
}

/// Tells what `ID` is when it is dropped.
struct SeesOnDrop(mpsc::Sender<Option<u64>>);

impl Drop for SeesOnDrop {
    fn drop(&mut self) {
        self.0.send(ID.get()).unwrap();
    }
}

#[test]
fn a_stopped_run_is_an_error_and_the_loop_goes_on() {
    let event_loop = EventLoop::new();
    event_loop.call_soon({
        let handle = event_loop.handle();
        move || handle.stop()
    });
    let (sender, dropped) = mpsc::channel();
    let sees = SeesOnDrop(sender);
    ID.set(1);
    let error = event_loop.try_run_until_complete(async {
        let _sees = sees;
        ID.set(2);
        future::pending::<()>().await;
    });
    assert!(error.unwrap_err().to_string().contains("stopped"));
    // The future was dropped in the context in which it ran.
    assert_eq!((dropped.try_recv(), ID.get()), (Ok(Some(2)), Some(1)));
    assert_eq!(event_loop.run_until_complete(async { 1 }), 1);
}

#[test]
fn its_end_drops_tasks_and_callbacks_in_their_contexts() {
    struct SeesOnDrop(Arc<Mutex<Vec<Option<u64>>>>);
    impl Drop for SeesOnDrop {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(ID.get());
        }
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let probe = || SeesOnDrop(Arc::clone(&seen));
    let event_loop = EventLoop::new();
    let (keep, kept) = oneshot::channel::<()>();
    let handles = event_loop.run_until_complete(async {
        ID.set(1);
        let (pending, waker) = (probe(), probe());
        let pending = shim::spawn(async move {
            ID.set(2);
            let _pending = pending;
            future::pending::<()>().await;
        });
        // A task whose waker is held elsewhere.
        let woken = shim::spawn_local(async move {
            ID.set(3);
            let _waker = waker;
            let _ = kept.await;
        });
        shim::yield_now().await;
        (pending, woken)
    });
    ID.set(4);
    let (never_polled, soon, later) = (probe(), probe(), probe());
    let unpolled = event_loop.spawn(async move { drop(never_polled) });
    let soon = event_loop.call_soon(move || drop(soon));
    let later = event_loop.call_later(Duration::from_secs(3600), move || drop(later));
    ID.set(5);
    let handle = event_loop.handle();
    drop(event_loop);
    let mut dropped = std::mem::take(&mut *seen.lock().unwrap());
    dropped.sort();
    assert_eq!(dropped, [Some(2), Some(3), Some(4), Some(4), Some(4)]);
    // Everything outlives the loop without harm.
    assert!(keep.send(()).is_err());
    soon.cancel();
    later.cancel();
    handle.stop();
    handle.call_soon_threadsafe(move || unreachable!("the loop is gone"));
    let late = handle.spawn(async {});
    for task in [handles.0, handles.1, unpolled, late] {
        let error = futures::executor::block_on(task).unwrap_err();
        assert!(error.is_cancelled());
    }
    assert_eq!(ID.get(), Some(5));
}

#[test]
fn destructors_at_its_end_may_use_the_loop() {
    struct SpawnsOnDrop(mpsc::Sender<bool>);
    impl Drop for SpawnsOnDrop {
        fn drop(&mut self) {
            let spawned = shim::try_spawn(async {});
            let _ = shim::call_soon(|| ());
            let _ = self.0.send(spawned.is_ok());
        }
    }
    let (sender, receiver) = mpsc::channel();
    let event_loop = EventLoop::new();
    for _ in 0..3 {
        let probe = SpawnsOnDrop(sender.clone());
        let task = event_loop.spawn(async move {
            let _probe = probe;
            future::pending::<()>().await;
        });
        task.detach();
    }
    event_loop.run_until_complete(shim::yield_now());
    drop(event_loop);
    drop(sender);
    assert_eq!(receiver.iter().count(), 3);
}

#[test]
fn a_task_of_one_loop_awaits_one_of_another() {
    let (sender, receiver) = mpsc::channel();
    let other = thread::spawn(move || {
        let event_loop = EventLoop::new();
        sender.send(event_loop.handle()).unwrap();
        event_loop.run_forever();
    });
    let there = receiver.recv().unwrap();
    let executor = ContextAwareExecutor::new(there.clone());
    let seen = EventLoop::new().run_until_complete(async {
        ID.set(1);
        let task = executor.spawn(async {
            ID.set(2);
            thread::current().id()
        });
        (task.await.unwrap(), ID.get())
    });
    assert_ne!(seen.0, thread::current().id());
    assert_eq!(seen.1, Some(1));
    there.stop();
    other.join().unwrap();
}

#[test]
fn a_burst_from_many_threads_keeps_each_threads_order() {
    const THREADS: usize = 8;
    const CALLS: usize = 2_000;
    let event_loop = EventLoop::new();
    let order = Arc::new(Mutex::new(vec![Vec::new(); THREADS]));
    let callers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (handle, order) = (event_loop.handle(), Arc::clone(&order));
            thread::spawn(move || {
                for n in 0..CALLS {
                    let order = Arc::clone(&order);
                    handle.call_soon_threadsafe(move || order.lock().unwrap()[thread].push(n));
                }
            })
        })
        .collect();
    let handle = event_loop.handle();
    let last = thread::spawn(move || {
        for caller in callers {
            caller.join().unwrap();
        }
        handle.call_soon_threadsafe({
            let handle = handle.clone();
            move || handle.stop()
        });
    });
    event_loop.run_forever();
    last.join().unwrap();
    for calls in &*order.lock().unwrap() {
        assert!(calls.iter().copied().eq(0..CALLS));
    }
}

#[test]
fn what_other_threads_submit_after_its_end_is_dropped() {
    let event_loop = EventLoop::new();
    let handle = event_loop.handle();
    let mut sleep = Box::pin(shim::sleep(Duration::from_millis(20)));
    event_loop.run_until_complete(async {
        assert!(futures::poll!(sleep.as_mut()).is_pending());
    });
    drop(event_loop);
    let held = Arc::new(());
    let (called, spawned) = (Arc::clone(&held), Arc::clone(&held));
    let submits = thread::spawn(move || {
        handle.call_soon_threadsafe(move || drop(called));
        let task = handle.spawn(async move { drop(spawned) });
        futures::executor::block_on(task)
            .unwrap_err()
            .is_cancelled()
    });
    assert!(submits.join().unwrap());
    assert_eq!(Arc::strong_count(&held), 1);
    // A sleep that began on the loop ends by another clock.
    futures::executor::block_on(sleep);
}

#[test]
fn a_local_callback_cancelled_from_another_thread_is_released() {
    let event_loop = EventLoop::new();
    let held = Rc::new(());
    let inside = Rc::clone(&held);
    let timer = event_loop.call_later(Duration::from_secs(3600), move || drop(inside));
    thread::spawn(move || timer.cancel()).join().unwrap();
    assert_eq!(Rc::strong_count(&held), 2);
    event_loop.run_until_complete(shim::yield_now());
    assert_eq!(Rc::strong_count(&held), 1);
}

#[test]
fn all_that_is_ready_runs_in_the_turn_that_stops() {
    let event_loop = EventLoop::new();
    let count = Rc::new(Cell::new(0));
    event_loop.stop();
    for _ in 0..200 {
        let count = Rc::clone(&count);
        event_loop.call_soon(move || count.set(count.get() + 1));
    }
    event_loop.run_forever();
    assert_eq!(count.get(), 200);
}

/// The callbacks and tasks that have run: which one, and what it has read.
type Ran = Rc<RefCell<Vec<(&'static str, Option<u64>)>>>;

/// Schedules, and has what is run schedule more.
async fn schedules_last(ran: Ran) {
    let note = move |what| {
        let ran = Rc::clone(&ran);
        move || ran.borrow_mut().push((what, ID.get()))
    };
    ID.set(1);
    let (first, second) = (note("callback"), note("callback's callback"));
    shim::call_soon_local(move || {
        first();
        ID.set(3);
        shim::call_soon_local(second);
    });
    let (first, second) = (note("step"), note("second step"));
    shim::spawn_local(async move {
        first();
        shim::yield_now().await;
        second();
    })
    .detach();
    ID.set(2);
}

#[test]
fn ru_07_what_the_future_schedules_last_is_run_in_one_more_turn() {
    for panics in [false, true] {
        let event_loop = EventLoop::new();
        let ran = Ran::default();
        let main = schedules_last(Rc::clone(&ran)).map(|()| {
            if panics {
                panic::resume_unwind(Box::new("main"));
            }
        });
        let run = panic::catch_unwind(AssertUnwindSafe(|| event_loop.run_until_complete(main)));
        assert_eq!(run.is_err(), panics);
        assert_eq!(ID.get(), None);
        assert_eq!(
            ran.take(),
            [("callback", Some(1)), ("step", Some(1))],
            "{panics}"
        );
        event_loop.run_until_complete(async {});
        let left = [("callback's callback", Some(3)), ("second step", Some(1))];
        assert_eq!(ran.take(), left, "{panics}");
        drop(event_loop);
        assert_eq!(Rc::strong_count(&ran), 1);
    }
}

#[test]
fn ru_07_a_stop_leaves_what_is_scheduled_in_its_turn() {
    let event_loop = EventLoop::new();
    let ran = Ran::default();
    let handle = event_loop.handle();
    let main = schedules_last(Rc::clone(&ran)).inspect(move |()| handle.stop());
    event_loop.run_until_complete(main);
    assert_eq!(*ran.borrow(), []);
    event_loop.run_until_complete(async {});
    assert_eq!(ran.borrow().len(), 4);
}

#[test]
fn a_blocking_job_may_block() {
    let seen = EventLoop::new().run_until_complete(async {
        ID.set(1);
        shim::spawn_blocking(|| shim::try_block_on(async { shim::spawn(async { ID.get() }).await }))
            .await
            .unwrap()
    });
    assert_eq!(seen.unwrap().unwrap(), Some(1));
}

#[test]
fn a_stop_is_over_with_its_run() {
    let event_loop = EventLoop::new();
    let handle = event_loop.handle();
    // In the turn in which the future completes.
    event_loop.run_until_complete(async move { handle.stop() });
    event_loop.run_until_complete(shim::sleep(Duration::from_millis(1)));
}

#[test]
fn its_end_and_another_threads_call() {
    struct OnDrop<F: FnMut()>(F);
    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let event_loop = EventLoop::new();
    let handle = event_loop.handle();
    let (go, start) = mpsc::channel::<()>();
    let (done, wait) = mpsc::channel();
    let other = thread::spawn(move || {
        start.recv().unwrap();
        handle.call_soon_threadsafe(|| unreachable!("the loop is being dropped"));
        done.send(()).unwrap();
    });
    let guard = OnDrop(move || {
        go.send(()).unwrap();
        wait.recv().unwrap();
    });
    let task = event_loop.spawn(async move {
        let _guard = guard;
        future::pending::<()>().await;
    });
    task.detach();
    event_loop.run_until_complete(shim::yield_now());
    drop(event_loop);
    other.join().unwrap();
}

#[test]
fn what_another_thread_wakes_at_its_end_is_dropped_on_its_own() {
    struct Wakes(Option<oneshot::Sender<()>>);
    impl Drop for Wakes {
        fn drop(&mut self) {
            let sender = self.0.take().unwrap();
            // Not if the other task is gone already.
            let _ = thread::spawn(move || sender.send(())).join().unwrap();
        }
    }
    struct SeesThread(Rc<Cell<Option<thread::ThreadId>>>);
    impl Drop for SeesThread {
        fn drop(&mut self) {
            self.0.set(Some(thread::current().id()));
        }
    }
    for wakes_first in [true, false] {
        let event_loop = EventLoop::new();
        let (sender, receiver) = oneshot::channel();
        let (wakes, dropped) = (Wakes(Some(sender)), Rc::default());
        let sees = SeesThread(Rc::clone(&dropped));
        let wakes = async move {
            let _wakes = wakes;
            future::pending().await
        };
        let woken = async move {
            let _sees = sees;
            receiver.await.unwrap();
        };
        let mut tasks: [LocalBoxFuture<'static, ()>; 2] = [Box::pin(wakes), Box::pin(woken)];
        if !wakes_first {
            tasks.reverse();
        }
        for task in tasks {
            event_loop.spawn(task).detach();
        }
        event_loop.run_until_complete(shim::yield_now());
        drop(event_loop);
        assert_eq!(dropped.get(), Some(thread::current().id()));
    }
}

#[test]
fn slow_steps_and_callbacks_are_reported_in_debug_mode() {
    let event_loop = EventLoop::new();
    let reports = Rc::new(RefCell::new(Vec::new()));
    let held = Rc::clone(&reports);
    event_loop.set_slow_callback_duration(Duration::from_millis(20));
    event_loop.set_slow_callback_handler(move |slow| {
        assert!(slow.duration() >= Duration::from_millis(20));
        let line = slow.location().map(|location| location.line());
        held.borrow_mut().push((line, slow.to_string()));
        // It may fail itself.
        assert!(line.is_some());
    });
    let slow = || thread::sleep(Duration::from_millis(25));
    event_loop.call_soon(slow);
    event_loop.run_until_complete(shim::yield_now());
    assert!(reports.borrow().is_empty(), "only in debug mode");
    event_loop.set_debug(true);
    let first = line!() + 1;
    event_loop.call_soon(slow);
    event_loop.spawn(async move { slow() }).detach();
    event_loop.handle().spawn(async move { slow() }).detach();
    event_loop.call_soon(|| ());
    event_loop.run_until_complete(async {
        slow();
        shim::yield_now().await;
    });
    let reports = reports.take();
    let lines: Vec<_> = reports.iter().map(|(line, _)| *line).collect();
    let expected = [Some(first), Some(first + 1), Some(first + 2), None];
    assert_eq!(lines, expected, "{reports:?}");
    assert!(reports[0].1.contains("callback scheduled at tests"));
    assert!(reports[1].1.contains("task spawned at tests"));
    assert!(reports[3].1.contains("run_until_complete"));
}

#[test]
fn a_slow_task_of_a_free_function_is_reported_where_it_was_spawned() {
    let event_loop = EventLoop::new();
    let lines = Rc::new(RefCell::new(Vec::new()));
    let held = Rc::clone(&lines);
    event_loop.set_slow_callback_duration(Duration::from_millis(20));
    event_loop.set_slow_callback_handler(move |slow| {
        held.borrow_mut().push(slow.location().unwrap().line());
    });
    event_loop.set_debug(true);
    let slow = || thread::sleep(Duration::from_millis(25));
    let first = line!() + 2;
    event_loop.run_until_complete(async {
        let spawned = shim::spawn(async move { slow() });
        let tried = shim::try_spawn(async move { slow() }).unwrap();
        let given = shim::spawn_in(Context::new(), async move { slow() });
        for task in [spawned, tried, given] {
            task.await.unwrap();
        }
    });
    assert_eq!(lines.take(), [first, first + 1, first + 2]);
}

#[test]
fn a_slow_step_that_was_handed_to_the_loop_is_reported_without_a_place() {
    let event_loop = EventLoop::new();
    let reports = Rc::new(RefCell::new(Vec::new()));
    let held = Rc::clone(&reports);
    event_loop.set_slow_callback_duration(Duration::from_millis(20));
    event_loop.set_slow_callback_handler(move |slow| {
        held.borrow_mut().push((slow.location(), slow.to_string()));
    });
    event_loop.set_debug(true);
    let handle = event_loop.handle();
    let executor = ContextAwareExecutor::from_schedule(move |step| handle.schedule(step));
    let task = executor.spawn(async { thread::sleep(Duration::from_millis(25)) });
    event_loop.run_until_complete(task).unwrap();
    let reports = reports.take();
    // The future of the run may be slow, too.
    let start = "a step of a task that was handed to the loop held the event loop up for ";
    let is_told = |(place, text): &(Option<_>, String)| place.is_none() && text.starts_with(start);
    assert!(reports.iter().any(is_told), "{reports:?}");
}

#[test]
fn closing_drops_what_is_left() {
    let event_loop = EventLoop::new();
    let handle = event_loop.handle();
    let held = Arc::new(());
    let (in_call, in_task) = (Arc::clone(&held), Arc::clone(&held));
    event_loop.call_soon(move || drop(in_call));
    let task = event_loop.spawn(async move { drop(in_task) });
    assert!(!handle.is_closed());
    event_loop.close();
    assert!(handle.is_closed() && task.is_finished());
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_local_callback_cancelled_from_another_thread_goes_with_its_loop() {
    let event_loop = EventLoop::new();
    let held = Rc::new(());
    let inside = Rc::clone(&held);
    let call = event_loop.call_soon(move || drop(inside));
    thread::spawn(move || call.cancel()).join().unwrap();
    drop(event_loop);
    assert_eq!(Rc::strong_count(&held), 1);
}

/// In a process of its own: Ctrl-C is the process's.
#[cfg(all(unix, feature = "ctrl-c"))]
#[test]
fn a_loop_stops_on_ctrl_c_if_asked() {
    use std::process::{Command, exit};

    const CHILD: &str = "EVENT_LOOP_CTRL_C";
    const IGNORED: i32 = 77;
    const STOPPED: &str = "the loop was stopped";
    /// A command that undoes that a background job of a shell ignores Ctrl-C, or a hang-up.
    fn heeding_ctrl_c() -> Option<Command> {
        let heeding = || {
            let mut env = Command::new("env");
            env.arg("--default-signal");
            env
        };
        let status = heeding().arg("true").status();
        status.is_ok_and(|status| status.success()).then(heeding)
    }
    if std::env::var_os(CHILD).is_none() {
        let own = std::env::current_exe().unwrap();
        let mut child = match heeding_ctrl_c() {
            Some(mut env) => {
                env.arg(own);
                env
            }
            None => Command::new(own),
        };
        child.args(["--exact", "a_loop_stops_on_ctrl_c_if_asked", "--nocapture"]);
        let output = child.env(CHILD, "1").output().unwrap();
        match output.status.code() {
            // The second Ctrl-C comes when no loop is running that has asked.
            Some(130) => {
                let printed = String::from_utf8_lossy(&output.stdout);
                assert!(printed.contains(STOPPED), "the first one: {printed}");
            }
            Some(IGNORED) => {
                println!("skipped: this process ignores Ctrl-C, and so do its children")
            }
            _ => panic!("{output:?}"),
        }
        return;
    }
    let interrupt = || {
        let mut kill = Command::new("kill");
        let own = std::process::id().to_string();
        assert!(kill.args(["-INT", &own]).status().unwrap().success());
    };
    let event_loop = EventLoop::new();
    if let Err(error) = event_loop.stop_on_ctrl_c() {
        assert!(error.to_string().contains("ignores it"), "{error}");
        exit(IGNORED);
    }
    let idle = EventLoop::new();
    idle.stop_on_ctrl_c().unwrap();
    event_loop.call_soon(interrupt);
    event_loop.run_forever();
    println!("{STOPPED}");
    // It was not running, so that its next run is not stopped.
    idle.run_until_complete(shim::yield_now());
    let (asked, other) = (event_loop, EventLoop::new());
    // One that has not asked is left alone, beside one that has and is not running.
    other.call_soon(interrupt);
    drop(asked);
    other.run_until_complete(future::pending::<()>());
}

#[test]
fn a_sleep_that_is_dropped_wakes_nobody() {
    struct Woken(AtomicUsize);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    EventLoop::new().run_until_complete(async {
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut sleep = Box::pin(shim::sleep(Duration::from_secs(3600)));
        let polled = sleep.poll_unpin(&mut task::Context::from_waker(&waker));
        assert!(polled.is_pending());
        drop((sleep, waker));
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        assert_eq!(Arc::strong_count(&woken), 1);
    });
}

#[test]
fn sleeps_of_a_virtual_clock_end_on_other_threads() {
    let event_loop = EventLoop::with_virtual_clock();
    let handle = event_loop.handle();
    let other = thread::spawn(move || {
        let executor = ContextAwareExecutor::new(handle.clone());
        for _ in 0..2_000 {
            // Asked again and again, so that the time comes in the middle of it.
            executor.block_on(async {
                let mut sleep = shim::sleep(Duration::from_secs(2));
                future::poll_fn(|cx| {
                    let asked = (0..50).any(|_| sleep.poll_unpin(cx).is_ready());
                    if asked {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                })
                .await;
            });
        }
        handle.stop();
    });
    event_loop.run_forever();
    other.join().unwrap();
}
