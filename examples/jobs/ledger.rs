//! What has become of the jobs.

use std::collections::BTreeMap;

use crate::plan::{Expected, Planned};
use crate::report::{Outcome, Report};

pub(crate) struct Ledger {
    jobs: BTreeMap<u64, Entry>,
    /// How many of them are done. Asked for after each report, so it is not counted each time.
    done: u64,
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
            done: 0,
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
        if report.outcome == Outcome::Done && !entry.done {
            entry.done = true;
            self.done += 1;
        }
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
        self.done
    }

    pub(crate) fn jobs(&self) -> u64 {
        self.jobs.len() as u64
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.done == self.jobs()
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
            lost: self.jobs() - self.done,
        }
    }
}

impl Tally {
    pub(crate) fn is_clean(&self) -> bool {
        self.wrong == 0 && self.unexpected == 0 && self.lost == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;
    use crate::report::Look;

    #[test]
    fn a_job_that_is_done_twice_is_one_job() {
        let plan = plan(2, false);
        let mut ledger = Ledger::new(&plan);
        for (job, done) in [(0, 1), (0, 1), (1, 2)] {
            let (_, expected) = &plan[job].jobs[0];
            let look = || Look {
                hop: String::new(),
                tenant: expected.tenant.clone(),
                request_id: expected.request_id,
            };
            ledger.enter(&Report {
                worker: 0,
                job: job as u64,
                looks: (0..4).map(|_| look()).collect(),
                left_over: None,
                early: false,
                problems: Vec::new(),
                outcome: Outcome::Done,
            });
            assert_eq!((ledger.done(), ledger.is_complete()), (done, done == 2));
        }
        let tally = ledger.tally();
        assert!(tally.is_clean());
        assert_eq!((tally.deliveries, tally.redelivered, tally.lost), (3, 1, 0));
    }
}
