//! Over generations: each task sets a variable and spawns the next, whose context is a copy of its own. Nothing of those
//! that have ended may be left: there is no chain of parents.

use std::time::Instant;

use aiocontextvars::{Context, ContextVar, context_var, shim};
use futures::channel::oneshot::{self, Sender};

use crate::args::Options;
use crate::chart::{Chart, Curve, Page};
use crate::measure::{Progress, median};
use crate::memory::live_bytes;
use crate::runtime::Runtime;

context_var! {
    static FIRST: u64;
    static LEFT: usize;
}

/// Beside `FIRST` and `LEFT`, a task inherits so many variables.
const OTHERS: usize = 8;

/// At least so many generations are seen for each figure.
const ENOUGH: usize = 30_000;

/// The room that a runtime's queue may have taken.
const SLACK: usize = 4096;

pub(crate) fn curves() -> usize {
    Runtime::LOCAL.len()
}

/// The error is a message.
pub(crate) fn measure(options: &Options, progress: &Progress) -> Result<Page, String> {
    let mut times = Vec::new();
    let mut last = Vec::new();
    let mut left = Vec::new();
    for runtime in Runtime::LOCAL {
        let curve = || Curve::new(runtime.name());
        let (mut time, mut in_last, mut after) = (curve(), curve(), curve());
        for generations in options.generations() {
            let lineage = progress.step(runtime.name(), || follow(*runtime, generations));
            if lineage.left > SLACK {
                let (name, bytes) = (runtime.name(), lineage.left);
                return Err(format!(
                    "{name}: {bytes} bytes are left of {generations} generations"
                ));
            }
            time.points.push((generations, lineage.nanoseconds));
            in_last.points.push((generations, lineage.in_last as f64));
            after.points.push((generations, lineage.left as f64));
        }
        times.push(time);
        last.push(in_last);
        left.push(after);
    }
    let chart = |y, is_log, curves| Chart {
        x: "generations",
        y,
        is_log,
        curves,
    };
    Ok(Page {
        file: "scale-generations.svg",
        title: "Each task sets a variable and spawns the next",
        charts: vec![
            chart("nanoseconds for each generation", true, times),
            chart("bytes in use in the last one", false, last),
            chart("bytes in use after it", false, left),
        ],
    })
}

struct Lineage {
    /// For each generation.
    nanoseconds: f64,
    /// The bytes in use in the last generation, and when it has ended, without those before the first.
    in_last: usize,
    left: usize,
}

fn follow(runtime: Runtime, generations: usize) -> Lineage {
    let mut context = (0..OTHERS).fold(Context::new().with_value(&FIRST, 7), |context, n| {
        context.with_value(&ContextVar::named(""), n)
    });
    let rounds = (ENOUGH / generations).clamp(3, 300);
    context.run(|| {
        let started = runtime.start();
        started.block_on(async {
            LEFT.set(generations);
            // The runtime takes the room that it needs.
            let mut lineage = round(generations).await;
            let mut times = Vec::with_capacity(rounds);
            for _ in 0..rounds {
                lineage = round(generations).await;
                times.push(lineage.nanoseconds);
            }
            lineage.nanoseconds = median(times);
            lineage
        })
    })
}

async fn round(generations: usize) -> Lineage {
    let (done, ended) = oneshot::channel();
    let before = live_bytes();
    let start = Instant::now();
    spawn(generations, done);
    let in_last = ended.await.expect("the last generation tells");
    let time = start.elapsed().as_nanos() as f64;
    // The last task is freed after it has told.
    shim::yield_now().await;
    shim::yield_now().await;
    let left = live_bytes();
    Lineage {
        nanoseconds: time / generations as f64,
        in_last: in_last.saturating_sub(before),
        left: left.saturating_sub(before),
    }
}

fn spawn(left: usize, done: Sender<usize>) {
    let task = shim::spawn(async move {
        assert_eq!((FIRST.get(), LEFT.get()), (Some(7), Some(left)));
        LEFT.set(left - 1);
        if left > 1 {
            spawn(left - 1, done);
        } else {
            // Who does not wait any more has no use for it.
            let _ = done.send(live_bytes());
        }
    });
    task.detach();
}
