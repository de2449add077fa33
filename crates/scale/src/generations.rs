//! Over generations: each task sets a variable and spawns the next, whose context is a copy of its
//! own. Nothing of those that have ended may be left: there is no chain of parents.

use std::time::{Duration, Instant};

use aiocontextvars::{Context, ContextVar, context_var, shim};
use futures::channel::oneshot::{self, Sender};

use crate::args::Options;
use crate::chart::{Chart, Curve, Page};
use crate::measure::Progress;
use crate::memory::live_bytes;
use crate::runtime::Runtime;

context_var! {
    static FIRST: u64;
    static LEFT: usize;
}

/// Beside `FIRST` and `LEFT`, a task inherits so many variables.
const OTHERS: usize = 8;

/// At least so many generations are seen for each figure.
const ENOUGH: usize = 300_000;

/// The time is that of the last so many, which is short enough for some rounds to be undisturbed.
const TIMED: usize = 1_000;

/// The room that a runtime's queue may have taken.
const SLACK: usize = 4096;

pub(crate) fn curves() -> usize {
    Runtime::ALL.len()
}

/// The error is a message.
pub(crate) fn measure(options: &Options, progress: &Progress) -> Result<Page, String> {
    let context = (0..OTHERS).fold(Context::new().with_value(&FIRST, 7), |context, n| {
        context.with_value(&ContextVar::named(""), n)
    });
    let mut times = Vec::new();
    let mut bytes = Vec::new();
    let mut left: Vec<(usize, f64)> = options
        .generations()
        .into_iter()
        .map(|size| (size, 0.0))
        .collect();
    for runtime in Runtime::ALL {
        let name = runtime.name();
        let mut time = Curve::new(name);
        let mut in_last = Curve::new(format!("in the last, {name}"));
        for (generations, left) in &mut left {
            let lineage = progress.step(name, || follow(context.clone(), *runtime, *generations));
            if lineage.left > SLACK {
                let bytes = lineage.left;
                return Err(format!(
                    "{name}: {bytes} bytes are left of {generations} generations"
                ));
            }
            time.points.push((*generations, lineage.nanoseconds));
            in_last.points.push((*generations, lineage.in_last as f64));
            *left = left.max(lineage.left as f64);
        }
        times.push(time);
        bytes.push(in_last);
    }
    bytes.push(Curve {
        points: left,
        ..Curve::new("after the last, the most")
    });
    let chart = |y, curves| Chart {
        x: "generations",
        y,
        is_log: false,
        curves,
    };
    Ok(Page {
        file: "scale-generations.svg",
        title: "Each task sets a variable and spawns the next",
        charts: vec![
            chart("nanoseconds for each of the last", times),
            chart("bytes more than before the first", bytes),
        ],
    })
}

struct Lineage {
    /// For each of the last generations.
    nanoseconds: f64,
    /// The bytes in use in the last generation, and when it has ended, without those before the
    /// first.
    in_last: usize,
    left: usize,
}

fn follow(mut context: Context, runtime: Runtime, generations: usize) -> Lineage {
    let rounds = (ENOUGH / generations).clamp(5, 300);
    context.run(|| {
        let started = runtime.start();
        started.block_on(async {
            LEFT.set(generations);
            // The runtime takes the room that it needs.
            let mut lineage = round(generations).await;
            for _ in 0..rounds {
                let time = lineage.nanoseconds;
                lineage = round(generations).await;
                lineage.nanoseconds = time.min(lineage.nanoseconds);
            }
            lineage
        })
    })
}

async fn round(generations: usize) -> Lineage {
    let (done, ended) = oneshot::channel();
    let before = live_bytes();
    let timed = generations.min(TIMED);
    let start = Instant::now();
    spawn(generations, Watch { timed, start, done });
    let end = ended.await.expect("the last generation tells");
    // The last task is freed after it has told.
    shim::yield_now().await;
    shim::yield_now().await;
    let left = live_bytes();
    Lineage {
        nanoseconds: end.time.as_nanos() as f64 / timed as f64,
        in_last: end.bytes.saturating_sub(before),
        left: left.saturating_sub(before),
    }
}

/// Goes from task to task.
struct Watch {
    /// How many generations the time is of.
    timed: usize,
    start: Instant,
    done: Sender<End>,
}

/// What the last generation tells.
struct End {
    time: Duration,
    bytes: usize,
}

fn spawn(left: usize, mut watch: Watch) {
    if left == watch.timed {
        watch.start = Instant::now();
    }
    let task = shim::spawn(async move {
        assert_eq!((FIRST.get(), LEFT.get()), (Some(7), Some(left)));
        LEFT.set(left - 1);
        if left > 1 {
            return spawn(left - 1, watch);
        }
        let end = End {
            time: watch.start.elapsed(),
            bytes: live_bytes(),
        };
        // Who does not wait any more has no use for it.
        let _ = watch.done.send(end);
    });
    task.detach();
}
