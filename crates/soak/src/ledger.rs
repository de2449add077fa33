//! What is counted, and what went wrong.

use std::any::Any;
use std::panic::{self, Location};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use aiocontextvars::shim;

use crate::lock::lock;
use crate::runtime::Runtime;

pub(crate) static LEDGER: Ledger = Ledger {
    rows: [const { Row::new() }; Runtime::ALL.len()],
    values: AtomicI64::new(0),
    fault_count: AtomicU64::new(0),
    faults: Mutex::new(Vec::new()),
};

/// How many faults are told; all are counted.
const TOLD: usize = 12;

pub(crate) struct Ledger {
    rows: [Row; Runtime::ALL.len()],
    /// Values of variables that have not been dropped.
    values: AtomicI64,
    fault_count: AtomicU64,
    faults: Mutex<Vec<String>>,
}

/// One number of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Spawned,
    Finished,
    Aborted,
    Panicked,
    Callbacks,
    Timers,
    Cancelled,
    Blocking,
    Threads,
    Checks,
    Misattributed,
    Lost,
}

impl Count {
    pub(crate) const ALL: [(Count, &str); 12] = [
        (Count::Spawned, "spawned"),
        (Count::Finished, "finished"),
        (Count::Aborted, "aborted"),
        (Count::Panicked, "panicked"),
        (Count::Callbacks, "callbacks"),
        (Count::Timers, "timers"),
        (Count::Cancelled, "cancelled"),
        (Count::Blocking, "blocking"),
        (Count::Threads, "threads"),
        (Count::Checks, "checks"),
        (Count::Misattributed, "misattributed"),
        (Count::Lost, "lost"),
    ];
}

struct Row {
    counts: [AtomicU64; Count::ALL.len()],
    /// What the round is at.
    step: Mutex<&'static str>,
}

impl Row {
    const fn new() -> Row {
        Row {
            counts: [const { AtomicU64::new(0) }; Count::ALL.len()],
            step: Mutex::new("not started"),
        }
    }
}

impl Ledger {
    pub(crate) fn count(&self, runtime: Runtime, count: Count) {
        self.rows[runtime as usize].counts[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counted(&self, runtime: Runtime, count: Count) -> u64 {
        self.rows[runtime as usize].counts[count as usize].load(Ordering::Relaxed)
    }

    /// Notes what a round is about to do, for the report of those that hang.
    pub(crate) fn at(&self, runtime: Runtime, step: &'static str) {
        *lock(&self.rows[runtime as usize].step) = step;
    }

    pub(crate) fn step(&self, runtime: Runtime) -> &'static str {
        *lock(&self.rows[runtime as usize].step)
    }

    /// Notes a fault. The text is made for the first ones only.
    pub(crate) fn fault(&self, text: impl FnOnce() -> String) {
        self.fault_count.fetch_add(1, Ordering::Relaxed);
        let mut faults = lock(&self.faults);
        if faults.len() < TOLD {
            faults.push(text());
        }
    }

    /// How many faults there were, and the first of them.
    pub(crate) fn faults(&self) -> (u64, Vec<String>) {
        let count = self.fault_count.load(Ordering::Relaxed);
        (count, lock(&self.faults).clone())
    }

    pub(crate) fn values(&self) -> i64 {
        self.values.load(Ordering::SeqCst)
    }
}

/// A value that is counted as long as it lives. It knows whose it is.
#[derive(Debug)]
pub(crate) struct Counted(u64);

impl Counted {
    pub(crate) fn new(request: u64) -> Counted {
        LEDGER.values.fetch_add(1, Ordering::SeqCst);
        Counted(request)
    }

    pub(crate) fn of(&self) -> u64 {
        self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LEDGER.values.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What the work panics with on purpose: the number of the unit that does.
pub(crate) struct Provoked(pub(crate) u64);

pub(crate) fn is_provoked(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Provoked>()
}

/// Keeps provoked panics from standard error, and makes a fault of every other one.
pub(crate) fn watch_panics() {
    panic::set_hook(Box::new(|info| {
        if !info.payload().is::<Provoked>() {
            let location = info
                .location()
                .map_or_else(String::new, Location::to_string);
            let message = text_of(info.payload()).to_owned();
            // tokio's own: after `block_in_place` a task goes on while its runtime ends, and then
            // has no timers.
            if !message.contains("it is being shutdown") {
                LEDGER.fault(|| format!("a panic that nobody provoked, at {location}: {message}"));
            }
        }
    }));
    shim::set_exception_handler(|error| {
        if !is_provoked(error.payload()) {
            LEDGER.fault(|| format!("the exception handler was told: {error}"));
        }
    });
}

/// The text of a panic.
fn text_of(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<&'static str>() {
        Some(text) => text,
        None => payload
            .downcast_ref::<String>()
            .map_or("without a message", String::as_str),
    }
}
