//! A soak: all runtimes at once, for some time, and then nothing may be left.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::ambient;
use crate::args::Options;
use crate::drive::{drive, workers_have_ended};
use crate::ledger::{self, Count, LEDGER};
use crate::memory::live_bytes;
use crate::report::{self, complain, mebibytes};
use crate::runtime::Runtime;
use crate::threads;
use crate::units;

/// Work that takes longer than this after the end hangs.
const GRACE: Duration = Duration::from_secs(20);

/// What the pools of the process may keep for themselves: threads that come and go, and room in
/// their queues.
const SLACK: usize = 256 << 10;

/// How many of the units that hang are named.
const TOLD: usize = 12;

/// Whether all went well.
pub(crate) fn run(options: &Options) -> io::Result<bool> {
    ledger::watch_panics();
    ambient::follow();
    if !options.json {
        report::print(format_args!("seed {}", options.seed))?;
    }
    let bar = progress(options.time);
    let start = Instant::now();
    let end = start + options.time;
    // The first part fills the pools, queues and caches that stay.
    let first = start + (options.time / 4).min(Duration::from_secs(5));
    if !work(options.seed, first, start, &bar) {
        tell(options.seed);
        return Ok(false);
    }
    let before = settled(usize::MAX);
    if !work(options.seed.wrapping_add(1), end, start, &bar) {
        tell(options.seed);
        return Ok(false);
    }
    let after = settled(before);
    bar.finish_and_clear();

    check_sums();
    if ambient::seen() == 0 {
        LEDGER.fault(|| "the companion has followed no work".to_owned());
    }
    if after > before + SLACK {
        LEDGER.fault(|| {
            format!(
                "{} are allocated, and were {}",
                mebibytes(after),
                mebibytes(before)
            )
        });
    }
    if options.json {
        report::json()?;
    } else {
        report::table()?;
        report::print(format_args!(
            "memory: {} before, {} after; values alive: {}",
            mebibytes(before),
            mebibytes(after),
            LEDGER.values()
        ))?;
    }
    let clean = tell(options.seed);
    if clean && !options.json {
        report::print(format_args!(
            "Each unit of work saw its own context, and nothing is left of any."
        ))?;
    }
    Ok(clean)
}

/// Tells the faults. Whether there are none.
fn tell(seed: u64) -> bool {
    let (count, faults) = LEDGER.faults();
    if count > 0 {
        faults.iter().for_each(|fault| complain(fault));
        complain(&format!(
            "{count} faults with --seed {seed}; the first {} are above",
            faults.len()
        ));
    }
    count == 0
}

/// Works on all runtimes until `end`, and waits until nothing is left of it. Otherwise says what
/// hangs.
fn work(seed: u64, end: Instant, start: Instant, bar: &ProgressBar) -> bool {
    let (done, wait) = mpsc::channel();
    let drivers: Vec<_> = Runtime::ALL
        .iter()
        .map(|runtime| {
            let done = done.clone();
            let drive = move || {
                // Also if it panics.
                let _done = done;
                drive(*runtime, seed, end);
            };
            (runtime, thread::spawn(drive))
        })
        .collect();
    drop::<mpsc::Sender<()>>(done);
    let limit = end + GRACE;
    let mut have_ended = false;
    while !have_ended && Instant::now() < limit {
        bar.set_position(start.elapsed().as_millis() as u64);
        let news = wait.recv_timeout(Duration::from_millis(100));
        have_ended = news == Err(RecvTimeoutError::Disconnected);
    }
    while !is_over() && Instant::now() < limit {
        thread::sleep(Duration::from_millis(5));
    }
    let mut ended = is_over();
    for (runtime, driver) in drivers {
        // A thread may take a moment to end.
        if have_ended || driver.is_finished() {
            if driver.join().is_err() {
                LEDGER.fault(|| format!("{}: driving it panicked", runtime.name()));
            }
        } else {
            ended = false;
            complain(&format!(
                "{}: a round has not come to its end (it {})",
                runtime.name(),
                LEDGER.step(*runtime)
            ));
        }
    }
    if !ended {
        bar.finish_and_clear();
        tell_what_hangs();
    }
    ended
}

fn is_over() -> bool {
    units::are_gone()
        && LEDGER.values() == 0
        && ambient::are_gone()
        && workers_have_ended()
        && threads::have_ended()
}

fn tell_what_hangs() {
    let alive = units::alive();
    for unit in alive.iter().take(TOLD) {
        complain(&format!("this hangs: {}", unit.describe()));
    }
    complain(&format!(
        "{} s after the end, {} units of work and {} values are alive",
        GRACE.as_secs(),
        alive.len(),
        LEDGER.values()
    ));
    if !ambient::are_gone() {
        complain("what the companion has captured is kept");
    }
    if !workers_have_ended() {
        complain("the threads of an executor that was dropped are still running");
    }
}

/// The memory in use, when threads have had the time to end, or as soon as it is back to what it
/// was.
fn settled(before: usize) -> usize {
    let limit = Instant::now() + Duration::from_secs(2);
    let mut least = live_bytes();
    while Instant::now() < limit && (before == usize::MAX || least > before + SLACK / 4) {
        thread::sleep(Duration::from_millis(20));
        least = least.min(live_bytes());
    }
    least
}

/// Each task has come to one end.
fn check_sums() {
    for runtime in Runtime::ALL {
        let counted = |count| LEDGER.counted(*runtime, count);
        let ended = counted(Count::Finished) + counted(Count::Aborted);
        // Others than tasks may panic.
        if ended > counted(Count::Spawned)
            || ended + counted(Count::Panicked) < counted(Count::Spawned)
        {
            LEDGER.fault(|| {
                format!(
                    "{}: of the tasks that were spawned, not all have ended",
                    runtime.name()
                )
            });
        }
    }
}

/// A bar on standard error, if that is a terminal.
fn progress(time: Duration) -> ProgressBar {
    let bar = ProgressBar::new(time.as_millis() as u64);
    if let Ok(style) = ProgressStyle::with_template("{msg:<20} {bar:40} {elapsed}") {
        bar.set_style(style);
    }
    bar.with_message("soak")
}
