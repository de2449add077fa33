//! Counting hops, and telling what came out.

use std::io::{self, Write};
use std::ops::AddAssign;
use std::time::Duration;

use serde::Serialize;

use crate::carrier::{Carrier, Hop, Identity};
use crate::hops::HOPS;
use crate::runtime::Runtime;

/// Hops that were checked, and what was wrong with them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) hops: u64,
    /// Hops that saw somebody else's id or tenant.
    pub(crate) misattributed: u64,
    /// Hops that saw none, or that were never heard of.
    pub(crate) lost: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, truth: &Identity, hop: &Hop) {
        self.hops += 1;
        let Identity { request_id, tenant } = truth;
        if hop.request_id.is_some_and(|seen| seen != *request_id)
            || hop.tenant.as_ref().is_some_and(|seen| seen != tenant)
        {
            self.misattributed += 1;
        } else if hop.request_id.is_none() || hop.tenant.is_none() {
            self.lost += 1;
        }
    }

    pub(crate) fn count_missing(&mut self, hops: u64) {
        self.hops += hops;
        self.lost += hops;
    }

    /// Counts the hops of a whole answer, and those that it should have.
    pub(crate) fn count_answer(&mut self, truth: &Identity, hops: &[Hop]) {
        for hop in hops {
            self.count(truth, hop);
        }
        let missing = HOPS
            .iter()
            .filter(|name| !hops.iter().any(|hop| hop.name == **name));
        self.count_missing(missing.count() as u64);
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.misattributed == 0 && self.lost == 0
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.hops += other.hops;
        self.misattributed += other.misattributed;
        self.lost += other.lost;
    }
}

/// What came out of a run on one runtime.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) runtime: Runtime,
    pub(crate) requests: u64,
    pub(crate) tally: Tally,
    pub(crate) elapsed: Duration,
}

impl Report {
    fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }
}

/// A report in JSON.
#[derive(Serialize)]
struct Line {
    runtime: &'static str,
    requests: u64,
    hops: u64,
    misattributed: u64,
    lost: u64,
    requests_per_second: u64,
}

/// How reports are written to standard output, each as soon as it is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Style {
    /// A table for people.
    Table,
    /// One JSON object a line.
    Json,
}

impl Style {
    pub(crate) fn head(self) -> io::Result<()> {
        match self {
            Style::Table => print(format_args!(
                "{:<20} {:>9} {:>12} {:>13} {:>8} {:>10}",
                "runtime", "requests", "hops checked", "misattributed", "lost", "requests/s"
            )),
            Style::Json => Ok(()),
        }
    }

    pub(crate) fn row(self, report: &Report) -> io::Result<()> {
        let Report {
            runtime,
            requests,
            tally,
            ..
        } = report;
        let rate = report.requests_per_second();
        match self {
            Style::Table => print(format_args!(
                "{:<20} {requests:>9} {:>12} {:>13} {:>8} {rate:>10.0}",
                runtime.name(),
                tally.hops,
                tally.misattributed,
                tally.lost
            )),
            Style::Json => {
                let line = Line {
                    runtime: runtime.name(),
                    requests: *requests,
                    hops: tally.hops,
                    misattributed: tally.misattributed,
                    lost: tally.lost,
                    requests_per_second: rate.round() as u64,
                };
                print(format_args!("{}", serde_json::to_string(&line)?))
            }
        }
    }

    pub(crate) fn verdict(self, carrier: Carrier, total: &Tally) -> io::Result<()> {
        match self {
            Style::Table => print(format_args!("{}", verdict(carrier, total))),
            Style::Json => Ok(()),
        }
    }
}

fn verdict(carrier: Carrier, total: &Tally) -> String {
    if total.is_clean() {
        return "Every hop saw the id and the tenant of its own request.".to_owned();
    }
    let wrong = total.misattributed + total.lost;
    let hops = total.hops;
    match carrier {
        Carrier::Context => format!("Wrong: {wrong} of {hops} hops. There should be none."),
        _ => format!(
            "Wrong: {wrong} of {hops} hops. That is what this carrier does, and what this run is to show; with \
             `--carrier context` there is none."
        ),
    }
}

/// A line on standard output, or an error where `println!` would panic.
pub(crate) fn print(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
