//! Over the tasks that are parked at once: the time to spawn one and poll it once, and the memory
//! that it takes.

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Instant;

use aiocontextvars::{Context, ContextVar, context_var, shim};

use crate::args::Options;
use crate::chart::{Chart, Curve, Page};
use crate::measure::Progress;
use crate::memory::live_bytes;
use crate::runtime::{Runtime, Started};

context_var! { static REQUEST: u64; }

/// Beside `REQUEST`, a task inherits so many variables.
const OTHERS: usize = 9;

/// At least so many tasks are spawned for each figure.
const ENOUGH: usize = 300_000;

/// The runtimes, through the shim and bare.
fn kinds() -> Vec<(Runtime, bool)> {
    let local = Runtime::ALL.iter();
    let both = local.flat_map(|&runtime| [(runtime, false), (runtime, true)]);
    both.filter(|&(runtime, is_bare)| !is_bare || runtime.can_be_bare())
        .collect()
}

pub(crate) fn curves() -> usize {
    kinds().len()
}

pub(crate) fn measure(options: &Options, progress: &Progress) -> Page {
    let context = (0..OTHERS).fold(Context::new().with_value(&REQUEST, 7), |context, n| {
        context.with_value(&ContextVar::named(""), n)
    });
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
            let parked = progress.step(&name, || park(context.clone(), runtime, is_bare, tasks));
            time.points.push((tasks, parked.nanoseconds));
            memory.points.push((tasks, parked.bytes));
        }
        times.push(time);
        bytes.push(memory);
    }
    let chart = |y, curves| Chart {
        x: "tasks parked at once",
        y,
        is_log: false,
        curves,
    };
    Page {
        file: "scale-tasks.svg",
        title: "A parked task that has inherited 10 variables",
        charts: vec![
            chart("nanoseconds to spawn one", times),
            chart("bytes for each", bytes),
        ],
    }
}

/// For one task.
struct Parked {
    nanoseconds: f64,
    bytes: f64,
}

/// Some rounds, each on a fresh runtime: the least time, which is the one with least of what else
/// the machine does, and the mean of the memory.
fn park(mut context: Context, runtime: Runtime, is_bare: bool, tasks: usize) -> Parked {
    let rounds = (ENOUGH / tasks).clamp(3, 300);
    let mut parked = Parked {
        nanoseconds: f64::INFINITY,
        bytes: 0.0,
    };
    for number in 0..rounds {
        let (time, bytes) = context.run(|| round(runtime, is_bare, tasks, number));
        parked.nanoseconds = parked.nanoseconds.min(time);
        parked.bytes += bytes / rounds as f64;
    }
    parked
}

fn round(runtime: Runtime, is_bare: bool, tasks: usize, number: usize) -> (f64, f64) {
    let started = runtime.start();
    let bare = is_bare.then_some(&started);
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
        for task in 0..tasks {
            spawn_sized(bare, &polled, number + task);
        }
        wait_for(tasks).await;
        let time = start.elapsed().as_nanos() as f64;
        let bytes = live_bytes().saturating_sub(before) as f64;
        (time / tasks as f64, bytes / tasks as f64)
    })
}

/// A task with 16, 32 and so on up to 128 bytes of state, in turn: runtimes round up, tokio to
/// multiples of 128.
fn spawn_sized(bare: Option<&Started>, polled: &Arc<AtomicUsize>, turn: usize) {
    match turn % 8 {
        0 => spawn(bare, parked::<16>(polled)),
        1 => spawn(bare, parked::<32>(polled)),
        2 => spawn(bare, parked::<48>(polled)),
        3 => spawn(bare, parked::<64>(polled)),
        4 => spawn(bare, parked::<80>(polled)),
        5 => spawn(bare, parked::<96>(polled)),
        6 => spawn(bare, parked::<112>(polled)),
        _ => spawn(bare, parked::<128>(polled)),
    }
}

fn spawn(bare: Option<&Started>, future: impl Future<Output = ()> + Send + 'static) {
    match bare {
        Some(started) => started.spawn_bare(future),
        None => shim::spawn(future).detach(),
    }
}

/// Never ends, once it has been polled.
fn parked<const STATE: usize>(
    polled: &Arc<AtomicUsize>,
) -> impl Future<Output = ()> + Send + use<STATE> {
    let polled = Arc::clone(polled);
    let state = [7_u8; STATE];
    poll_fn(move |_| {
        black_box((&state, REQUEST.get()));
        polled.fetch_add(1, Ordering::Relaxed);
        Poll::Pending
    })
}
