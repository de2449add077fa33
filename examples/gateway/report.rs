//! Counting hops, and telling what came out.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::ops::AddAssign;
use std::time::Duration;

use serde::Serialize;

use crate::carrier::{Carrier, Hop, Identity, Seen};
use crate::hops::{HOPS, part_of};
use crate::runtime::Runtime;
use crate::service::Answer;

/// What was checked, and what was wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) hops: u64,
    /// Hops that saw somebody else's id, tenant or part.
    pub(crate) misattributed: u64,
    /// Hops that saw none, or that were never heard of.
    pub(crate) lost: u64,
    /// The names of all these hops.
    wrong: BTreeSet<Cow<'static, str>>,
    /// Requests to the route outside of the carrier, which tries to set the tenant there.
    pub(crate) logins: u64,
    /// Those that could not set it.
    pub(crate) refused: u64,
    /// Those that were refused and should not have been, or the other way round.
    pub(crate) unexpected: u64,
    /// Requests that saw a value before one was set for them.
    pub(crate) left_behind: u64,
    /// Hops that were in another span than their request's, or in one outside of a request.
    pub(crate) strayed: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, truth: &Identity, span: Option<u64>, hop: &Hop) {
        let Identity { request_id, tenant } = truth;
        let part = part_of(&hop.name);
        let seen = &hop.seen;
        self.hops += 1;
        if span.is_none() || hop.span != span {
            self.strayed += 1;
            self.wrong.insert(hop.name.clone());
        }
        if seen.request_id.is_some_and(|seen| seen != *request_id)
            || seen.tenant.as_ref().is_some_and(|seen| seen != tenant)
            || seen.part.is_some_and(|seen| Some(seen) != part)
        {
            self.misattributed += 1;
        } else if seen.request_id.is_none() || seen.tenant.is_none() || seen.part != part {
            self.lost += 1;
        } else {
            return;
        }
        self.wrong.insert(hop.name.clone());
    }

    pub(crate) fn count_missing(&mut self, hops: u64) {
        self.hops += hops;
        self.lost += hops;
    }

    /// Counts the hops of a whole answer, and those that it should have.
    pub(crate) fn count_answer(&mut self, truth: &Identity, answer: &Answer) {
        self.count_found(&answer.found);
        for hop in &answer.hops {
            self.count(truth, answer.span, hop);
        }
        if let Some(upstream) = &answer.upstream {
            self.count_answer(truth, upstream);
        }
        for name in HOPS {
            if !answer.hops.iter().any(|hop| hop.name == *name) {
                self.count_missing(1);
                self.wrong.insert(Cow::Borrowed(name));
            }
        }
    }

    /// Counts what a request saw before a value was set for it.
    pub(crate) fn count_found(&mut self, found: &Seen) {
        self.left_behind += u64::from(*found != Seen::NOTHING);
    }

    /// Counts a hop that belongs to no request, and so is in no span.
    pub(crate) fn count_span_outside(&mut self, hop: &Hop) {
        self.strayed += u64::from(hop.span.is_some());
    }

    /// Counts a request that tried to set the tenant outside of the carrier.
    pub(crate) fn count_login(&mut self, refused: bool, expected: bool) {
        self.logins += 1;
        self.refused += u64::from(refused);
        self.unexpected += u64::from(refused != expected);
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.misattributed == 0
            && self.lost == 0
            && self.unexpected == 0
            && self.left_behind == 0
            && self.strayed == 0
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.hops += other.hops;
        self.misattributed += other.misattributed;
        self.lost += other.lost;
        self.wrong.extend(other.wrong);
        self.logins += other.logins;
        self.refused += other.refused;
        self.unexpected += other.unexpected;
        self.left_behind += other.left_behind;
        self.strayed += other.strayed;
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
struct Line<'a> {
    runtime: &'static str,
    requests: u64,
    hops: u64,
    misattributed: u64,
    lost: u64,
    logins: u64,
    refused: u64,
    left_behind: u64,
    wrong_hops: &'a BTreeSet<Cow<'static, str>>,
    wrong_spans: u64,
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
                "{:<20} {:>8} {:>8} {:>13} {:>7} {:>7} {:>7} {:>11} {:>10}",
                "runtime",
                "requests",
                "hops",
                "misattributed",
                "lost",
                "logins",
                "refused",
                "left behind",
                "requests/s"
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
                "{:<20} {requests:>8} {:>8} {:>13} {:>7} {:>7} {:>7} {:>11} {rate:>10.0}",
                runtime.name(),
                tally.hops,
                tally.misattributed,
                tally.lost,
                tally.logins,
                tally.refused,
                tally.left_behind
            )),
            Style::Json => {
                let line = Line {
                    runtime: runtime.name(),
                    requests: *requests,
                    hops: tally.hops,
                    misattributed: tally.misattributed,
                    lost: tally.lost,
                    logins: tally.logins,
                    refused: tally.refused,
                    left_behind: tally.left_behind,
                    wrong_hops: &tally.wrong,
                    wrong_spans: tally.strayed,
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
        return "Every hop saw the id and the tenant of its own request and was in its span, and no request found anything of \
                another."
            .to_owned();
    }
    let hops = total.hops;
    let mut wrong = format!("Wrong: {} of {hops} hops", total.misattributed + total.lost);
    if !total.wrong.is_empty() {
        let names = Vec::from_iter(total.wrong.iter().map(Cow::as_ref));
        wrong = format!("{wrong} ({})", names.join(", "));
    }
    if total.left_behind > 0 {
        wrong = format!(
            "{wrong}, and {} requests found something of another",
            total.left_behind
        );
    }
    if total.strayed > 0 {
        wrong = format!("{wrong}, and {} were in another span", total.strayed);
    }
    match carrier {
        Carrier::Context if total.unexpected > 0 => format!(
            "{wrong}, and {} of {} logins were not answered as they should be. There should be none.",
            total.unexpected, total.logins
        ),
        Carrier::Context => format!("{wrong}. There should be none."),
        _ => format!(
            "{wrong}. That is what this carrier does, and what this run is to show; with `--carrier context` there \
             is none."
        ),
    }
}

/// A line on standard output, or an error where `println!` would panic.
pub(crate) fn print(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
