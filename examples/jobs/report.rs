//! What a worker reports of each delivery.

use std::io::Write;
use std::sync::mpsc::Sender;

use serde::{Deserialize, Serialize};

/// Where workers report to.
#[derive(Clone)]
pub(crate) struct Reporter {
    /// The number of the worker.
    pub(crate) worker: usize,
    to: To,
}

#[derive(Clone)]
enum To {
    /// The service, in the same process.
    Here(Sender<Report>),
    /// The service, whose child this process is: a line of standard output each.
    Parent,
}

/// One delivery of a job.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) worker: usize,
    pub(crate) job: u64,
    pub(crate) looks: Vec<Look>,
    /// What an earlier attempt has set, and should have taken with it.
    pub(crate) left_over: Option<u64>,
    /// Whether it was run before it was due.
    pub(crate) early: bool,
    /// What was wrong with the headers.
    pub(crate) problems: Vec<String>,
    pub(crate) outcome: Outcome,
}

/// What a part of a job sees.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Look {
    pub(crate) hop: String,
    pub(crate) tenant: Option<String>,
    pub(crate) request_id: Option<u64>,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Outcome {
    Done,
    Panicked,
    /// It goes on until its worker is killed.
    Stuck,
}

impl Reporter {
    pub(crate) fn here(worker: usize, to: Sender<Report>) -> Reporter {
        Reporter {
            worker,
            to: To::Here(to),
        }
    }

    pub(crate) fn to_parent(worker: usize) -> Reporter {
        Reporter {
            worker,
            to: To::Parent,
        }
    }

    /// Sends a report. If nobody listens any more, the service has ended, and so will the worker.
    pub(crate) fn send(&self, report: Report) {
        match &self.to {
            To::Here(sender) => drop(sender.send(report)),
            To::Parent => {
                let Ok(mut line) = serde_json::to_string(&report) else {
                    return;
                };
                line.push('\n');
                // One write a line, so that lines of a worker that is killed are whole.
                let mut out = std::io::stdout().lock();
                let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
            }
        }
    }
}
