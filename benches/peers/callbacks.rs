//! Callbacks and timers.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use aiocontextvars::event_loop::{EventLoop, LoopHandle};
use aiocontextvars::{ContextExt, shim};
use tokio::sync::oneshot::{self, Sender};

use crate::carriers::context;
use crate::sampling::{Contest, Row, nanoseconds};
use crate::spawning::{current_thread, tokio_runs};

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "call_soon_event_loop",
        "one callback schedules the next; self_native is EventLoop::call_soon",
        || {
            Contest::new(chained)
                .peer("self_native", chained_by_the_loop)
                .event_loops("call_soon", 10)
        },
    )
    .long(),
    Row::new(
        "call_soon_event_loop_burst",
        "a hundred callbacks at a time",
        || {
            let event_loop = EventLoop::new();
            Contest::new(move |n| {
                let bursts = in_batches(n, 100, || drop(shim::call_soon(|| ())));
                context(10).run(|| event_loop.run_until_complete(bursts))
            })
            .event_loops("call_soon_burst", 10)
        },
    )
    .long(),
    Row::new(
        "call_soon_tokio_current",
        "one callback schedules the next; bare is one task that spawns the next",
        on_tokio,
    )
    .long(),
    Row::new(
        "timer_add_cancel_event_loop",
        "timers added and cancelled, a hundred between turns",
        || {
            let event_loop = EventLoop::new();
            Contest::new(move |n| {
                let timers = in_batches(n, 100, || shim::call_later(HOUR, || ()).cancel());
                context(10).run(|| event_loop.run_until_complete(timers))
            })
            .event_loops("timer", 10)
        },
    )
    .long(),
    Row::new(
        "timer_add_cancel_tokio",
        "50 between turns, on tokio; bare is a task that sleeps, spawned and aborted",
        || {
            let runtime = current_thread();
            let bare = Rc::clone(&runtime);
            Contest::new(move |n| {
                let timers = in_batches(n, TURN, || shim::call_later(HOUR, || ()).cancel());
                tokio_runs(&runtime, timers.in_context(context(10)))
            })
            .peer("bare", move |n| {
                tokio_runs(
                    &bare,
                    in_batches(n, TURN, || tokio::spawn(tokio::time::sleep(HOUR)).abort()),
                )
            })
        },
    )
    .long(),
];

/// No more than tokio ends in a turn: it polls 61 tasks before it looks at what `block_on` waits
/// for.
const TURN: u32 = 50;
const HOUR: Duration = Duration::from_secs(3600);

/// Does it `n` times, and lets the loop turn after each batch.
async fn in_batches(n: u32, batch: u32, operation: impl Fn()) -> f64 {
    let times = (n / batch).max(1);
    let start = Instant::now();
    for _ in 0..times {
        for _ in 0..batch {
            operation();
        }
        shim::yield_now().await;
    }
    nanoseconds(start) * f64::from(n) / f64::from(times * batch)
}

thread_local! {
    static HANDLE: RefCell<Option<LoopHandle>> = const { RefCell::new(None) };
    static LOOP: OnceCell<EventLoop> = const { OnceCell::new() };
}

fn chained(n: u32) -> f64 {
    fn call(left: u32) {
        match left {
            0 => HANDLE.with_borrow(|handle| handle.as_ref().expect("the loop is set").stop()),
            left => drop(shim::call_soon(move || call(left - 1))),
        }
    }
    let event_loop = EventLoop::new();
    HANDLE.set(Some(event_loop.handle()));
    context(10).run(|| event_loop.call_soon(move || call(n)));
    let start = Instant::now();
    event_loop.run_forever();
    nanoseconds(start)
}

fn chained_by_the_loop(n: u32) -> f64 {
    fn call(event_loop: &EventLoop, left: u32) {
        match left {
            0 => event_loop.stop(),
            left => drop(event_loop.call_soon(move || {
                LOOP.with(|cell| call(cell.get().expect("it is set"), left - 1))
            })),
        }
    }
    LOOP.with(|cell| {
        let event_loop = cell.get_or_init(EventLoop::new);
        context(10).run(|| call(event_loop, n));
        let start = Instant::now();
        event_loop.run_forever();
        nanoseconds(start)
    })
}

fn on_tokio() -> Contest {
    fn ours(left: u32, done: Sender<()>) {
        match left {
            0 => done.send(()).expect("it is awaited"),
            left => drop(shim::call_soon(move || ours(left - 1, done))),
        }
    }
    fn theirs(left: u32, done: Sender<()>) {
        match left {
            0 => done.send(()).expect("it is awaited"),
            left => drop(tokio::spawn(async move { theirs(left - 1, done) })),
        }
    }
    async fn measure(n: u32, call: fn(u32, Sender<()>)) -> f64 {
        let (done, wait) = oneshot::channel();
        let start = Instant::now();
        call(n, done);
        wait.await.expect("the last one sends");
        nanoseconds(start)
    }
    let runtime = current_thread();
    let bare = Rc::clone(&runtime);
    Contest::new(move |n| tokio_runs(&runtime, measure(n, ours).in_context(context(10))))
        .peer("bare", move |n| tokio_runs(&bare, measure(n, theirs)))
}
