//! What has become of the jobs.

use std::collections::BTreeMap;

use crate::plan::{Expected, Planned};
use crate::report::{Outcome, Report};

pub(crate) struct Ledger {
    jobs: BTreeMap<u64, Entry>,
    /// What was wrong with the first few.
    complaints: Vec<String>,
    wrong: u64,
}

struct Entry {
    expected: Expected,
    deliveries: u64,
    done: bool,
    problems: usize,
}

/// The line of the table.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) jobs: u64,
    pub(crate) deliveries: u64,
    /// Jobs that were delivered more than once.
    pub(crate) redelivered: u64,
    /// Deliveries that saw something else than they should, or came too early.
    pub(crate) wrong: u64,
    /// Jobs whose headers had a problem that was reported.
    pub(crate) problems: u64,
    /// Jobs whose problems were not reported, or that have none and reported one.
    pub(crate) unexpected: u64,
    pub(crate) lost: u64,
}

const COMPLAINTS: usize = 5;

impl Ledger {
    pub(crate) fn new(plan: &[Planned]) -> Ledger {
        let jobs = plan.iter().flat_map(|planned| &planned.jobs);
        let entry = |expected: &Expected| Entry {
            expected: expected.clone(),
            deliveries: 0,
            done: false,
            problems: 0,
        };
        Ledger {
            jobs: jobs
                .map(|(number, expected)| (*number, entry(expected)))
                .collect(),
            complaints: Vec::new(),
            wrong: 0,
        }
    }

    pub(crate) fn enter(&mut self, report: &Report) {
        let Some(entry) = self.jobs.get_mut(&report.job) else {
            self.complain(format!("nobody has enqueued job {}", report.job));
            return;
        };
        entry.deliveries += 1;
        entry.done |= report.outcome == Outcome::Done;
        entry.problems = report.problems.len();
        let expected = &entry.expected;
        let all = (&expected.tenant, expected.request_id);
        let hops = match report.outcome {
            Outcome::Stuck => 1,
            Outcome::Done | Outcome::Panicked => 4,
        };
        let wrong = report
            .looks
            .iter()
            .any(|look| (&look.tenant, look.request_id) != all);
        if wrong || report.looks.len() != hops || report.left_over.is_some() || report.early {
            let complaint = format!("expected {expected:?}, found {report:?}");
            self.complain(complaint);
        }
    }

    fn complain(&mut self, complaint: String) {
        self.wrong += 1;
        if self.complaints.len() < COMPLAINTS {
            self.complaints.push(complaint);
        }
    }

    /// How many jobs are done.
    pub(crate) fn done(&self) -> u64 {
        self.jobs.values().filter(|entry| entry.done).count() as u64
    }

    pub(crate) fn jobs(&self) -> u64 {
        self.jobs.len() as u64
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.jobs.values().all(|entry| entry.done)
    }

    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    pub(crate) fn tally(&self) -> Tally {
        let count =
            |is: fn(&Entry) -> bool| self.jobs.values().filter(|entry| is(entry)).count() as u64;
        Tally {
            jobs: self.jobs(),
            deliveries: self.jobs.values().map(|entry| entry.deliveries).sum(),
            redelivered: count(|entry| entry.deliveries > 1),
            wrong: self.wrong,
            problems: count(|entry| entry.problems > 0),
            unexpected: count(|entry| entry.done && entry.problems != entry.expected.problems),
            lost: count(|entry| !entry.done),
        }
    }
}

impl Tally {
    pub(crate) fn is_clean(&self) -> bool {
        self.wrong == 0 && self.unexpected == 0 && self.lost == 0
    }
}
