//! Over the tasks that are parked at once: the time to spawn one and poll it once, and the memory that it takes.

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Instant;

use aiocontextvars::{Context, ContextVar, context_var, shim};

use crate::args::Options;
use crate::chart::{Chart, Curve, Page};
use crate::measure::{Progress, median};
use crate::memory::live_bytes;
use crate::runtime::Runtime;

context_var! { static REQUEST: u64; }

/// Beside `REQUEST`, a task inherits so many variables.
const OTHERS: usize = 9;

/// What a task keeps over its waiting.
const STATE: usize = 64;

/// At least so many tasks are spawned for each figure.
const ENOUGH: usize = 30_000;

/// The runtimes, through the shim and bare.
fn kinds() -> Vec<(Runtime, bool)> {
    let local = Runtime::LOCAL.iter();
    let both = local.flat_map(|&runtime| [(runtime, false), (runtime, true)]);
    both.filter(|&(runtime, is_bare)| !is_bare || runtime.can_be_bare())
        .collect()
}

pub(crate) fn curves() -> usize {
    kinds().len()
}

pub(crate) fn measure(options: &Options, progress: &Progress) -> Page {
    let mut times = Vec::new();
    let mut bytes = Vec::new();
    for (runtime, is_bare) in kinds() {
        let name = match is_bare {
            true => format!("{}, bare", runtime.name()),
            false => runtime.name().to_owned(),
        };
        let curve = || Curve {
            is_bare,
            ..Curve::new(name.clone())
        };
        let (mut time, mut memory) = (curve(), curve());
        for tasks in options.tasks() {
            let parked = progress.step(&name, || park(runtime, is_bare, tasks));
            time.points.push((tasks, parked.nanoseconds));
            memory.points.push((tasks, parked.bytes));
        }
        times.push(time);
        bytes.push(memory);
    }
    let chart = |y, is_log, curves| Chart {
        x: "tasks parked at once",
        y,
        is_log,
        curves,
    };
    Page {
        file: "scale-tasks.svg",
        title: "A parked task that has inherited 10 variables",
        charts: vec![
            chart("nanoseconds to spawn one", true, times),
            chart("bytes for each", false, bytes),
        ],
    }
}

/// For one task.
struct Parked {
    nanoseconds: f64,
    bytes: f64,
}

/// The medians of some rounds, each on a fresh runtime.
fn park(runtime: Runtime, is_bare: bool, tasks: usize) -> Parked {
    let rounds = (ENOUGH / tasks).clamp(1, 300);
    let mut context = (0..OTHERS).fold(Context::new().with_value(&REQUEST, 7), |context, n| {
        context.with_value(&ContextVar::named(""), n)
    });
    let round = |_| context.run(|| round(runtime, is_bare, tasks));
    let (times, bytes) = (0..rounds).map(round).unzip();
    Parked {
        nanoseconds: median(times),
        bytes: median(bytes),
    }
}

fn round(runtime: Runtime, is_bare: bool, tasks: usize) -> (f64, f64) {
    let started = runtime.start();
    let polled = Arc::new(AtomicUsize::new(0));
    let wait_for = async |all| {
        while polled.load(Ordering::Relaxed) < all {
            shim::yield_now().await;
        }
    };
    started.block_on(async {
        // What a runtime makes with its first task is not of that task.
        shim::spawn(async {}).await.expect("the task ends");
        let before = live_bytes();
        let start = Instant::now();
        for _ in 0..tasks {
            if is_bare {
                started.spawn_bare(parked(&polled));
            } else {
                shim::spawn(parked(&polled)).detach();
            }
        }
        wait_for(tasks).await;
        let time = start.elapsed().as_nanos() as f64;
        let bytes = live_bytes().saturating_sub(before) as f64;
        (time / tasks as f64, bytes / tasks as f64)
    })
}

/// Waits for ever, once it has been polled.
fn parked(polled: &Arc<AtomicUsize>) -> impl Future<Output = ()> + Send + 'static {
    let polled = Arc::clone(polled);
    let state = [7_u8; STATE];
    poll_fn(move |_| {
        black_box((&state, REQUEST.get()));
        polled.fetch_add(1, Ordering::Relaxed);
        Poll::Pending
    })
}
