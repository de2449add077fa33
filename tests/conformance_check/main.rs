//! The published suite: executors that nobody here has seen pass it, and faults are reported by the
//! id of the row.

mod faulty;
mod faulty_spawn;
mod pool;
mod printed;
mod sound;
#[path = "../common/threads.rs"]
mod threads;

use std::time::Duration;

use aiocontextvars_conformance::{Report, Suite};

/// The ids of the rows that have failed.
fn failed(report: &Report) -> Vec<&'static str> {
    let failures = report.failures().iter();
    failures.map(|failure| failure.row()).collect()
}

/// Runs the suite, and looks for rows that have to fail and for others that must not.
#[track_caller]
fn expect(suite: &Suite, fail: &[&str], pass: &[&str]) -> Report {
    let report = suite.report();
    let failed = failed(&report);
    assert!(
        fail.iter().all(|row| failed.contains(row)),
        "{fail:?} had to fail:\n{report}"
    );
    assert!(
        pass.iter().all(|row| !failed.contains(row)),
        "{pass:?} had to pass:\n{report}"
    );
    report
}

/// For rows that are known to hang.
const SHORT: Duration = Duration::from_millis(300);
