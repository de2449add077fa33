//! What the ratios of the rows have to be.
//!
//! A target is wider than what is measured on a quiet machine by the rows' noise. A ratio of a peer
//! that is itself one of ours, as `self_native`, is to another peer: what is asked is how that one
//! of ours compares.

use std::fmt;

use crate::sampling::{Outcome, Row};

/// The most that a row may give.
pub(crate) struct Target {
    row: &'static str,
    subject: Subject,
    most: f64,
}

enum Subject {
    /// Ours over this peer's.
    Over(&'static str),
    /// The peer `self_native`, which is ours, over this one's.
    NativeOver(&'static str),
    /// Ours alone.
    Ours,
}

use Subject::{NativeOver, Ours, Over};

const fn target(row: &'static str, subject: Subject, most: f64) -> Target {
    Target { row, subject, most }
}

const TARGETS: &[Target] = &[
    target("get_u64_1", Over("tokio_task_local"), 0.95),
    target("get_u64_1", Over("thread_local"), 1.35),
    target("get_u64_100000", Over("self_1"), 1.1),
    target("get_u64_cycle_256", Over("self_1"), 6.0),
    target("get_default", Over("self_1"), 1.1),
    target("get_unset", Over("self_1"), 1.1),
    target("get_after_switch", Over("tokio_task_local"), 1.0),
    target("set_reset_1", Over("opentelemetry"), 0.7),
    target("scoped_1", Over("opentelemetry"), 0.9),
    target("snapshot_100000", Over("self_1"), 1.1),
    target("poll_1", Over("tokio_task_local"), 0.5),
    target("poll_100", Over("self_1"), 1.1),
    target("spawn_tokio_current", Over("bare"), 1.12),
    target("spawn_tokio_current", NativeOver("bare"), 1.10),
    target("spawn_tokio_multi", Over("bare"), 1.10),
    target("spawn_smol", Over("bare"), 1.17),
    target("spawn_smol", NativeOver("bare"), 1.13),
    target("spawn_event_loop", Over("smol_local"), 0.80),
    target("spawn_event_loop", NativeOver("smol_local"), 0.80),
    target("rayon_join", Over("bare"), 2.5),
    target("rayon_par_iter", Over("bare"), 2.0),
    target("spawn_in_span", Over("tracing"), 1.0),
    target("poll_in_span", Over("tracing"), 1.0),
    // Nanoseconds.
    target("event_text", Ours, 80.0),
    target("event_json", Ours, 80.0),
    // Bytes.
    target("task_bytes_event_loop", Ours, 300.0),
];

impl Target {
    pub(crate) fn is_of(&self, row: &Row) -> bool {
        self.row == row.name
    }

    /// What was measured of it, if its row was.
    fn measured(&self, rows: &[(&Row, Vec<Outcome>)]) -> Option<f64> {
        let (_, outcomes) = rows.iter().find(|(row, _)| self.is_of(row))?;
        let over = |peer: &str| outcomes.iter().find(|outcome| outcome.peer == peer);
        match self.subject {
            Over(peer) => Some(over(peer)?.ratio),
            NativeOver(peer) => Some(over(peer)?.ratio / over("self_native")?.ratio),
            Ours => Some(outcomes.first()?.ours),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject {
            Over(peer) => write!(f, "{} over {peer}", self.row),
            NativeOver(peer) => write!(f, "{}, self_native over {peer}", self.row),
            Ours => f.write_str(self.row),
        }
    }
}

/// Whether a row has a target.
pub(crate) fn has_any(row: &Row) -> bool {
    TARGETS.iter().any(|target| target.is_of(row))
}

/// Prints what has become of the targets whose rows were measured. Returns whether all are met; one
/// whose peer the row does not have is not.
pub(crate) fn check(rows: &[(&Row, Vec<Outcome>)]) -> bool {
    let mut all_met = true;
    println!("\n{:50} {:>10} {:>10}", "target", "at most", "measured");
    for target in TARGETS {
        if !rows.iter().any(|(row, _)| target.is_of(row)) {
            continue;
        }
        let measured = target.measured(rows);
        let is_met = measured.is_some_and(|measured| measured <= target.most);
        all_met &= is_met;
        println!(
            "{:50} {:>10.2} {:>10}{}",
            target.to_string(),
            target.most,
            measured.map_or("nothing".to_owned(), |measured| format!("{measured:.2}")),
            if is_met { "" } else { "   missed" }
        );
    }
    all_met
}
