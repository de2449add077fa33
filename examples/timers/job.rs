//! The jobs and their timers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aiocontextvars::shim::{self, TimerHandle};
use aiocontextvars::{SharedContext, copy_context};

use crate::args::JobSpec;
use crate::{NAME, NUMBER, RUN, log};

/// How long a report takes. With shorter intervals, runs overlap.
const REPORT_TIME: Duration = Duration::from_millis(700);

pub(crate) struct Job {
    pub(crate) name: String,
    every: Duration,
    /// One context for all runs: what a run sets, the next one sees.
    context: SharedContext,
    /// Of the next run. `None` until the loop runs.
    timer: Mutex<Option<TimerHandle>>,
}

/// What a run does. Put your own work here.
fn work(name: &str) {
    match name {
        "report" => {
            log("starts");
            // The task has a copy of the context, so that it stays in this run when the job is in
            // the next.
            shim::spawn(async {
                shim::sleep(REPORT_TIME).await;
                log("is sent");
            })
            .detach();
        }
        _ => log("runs"),
    }
}

impl Job {
    pub(crate) fn new(number: usize, spec: JobSpec) -> Arc<Job> {
        let JobSpec { name, every } = spec;
        let context = copy_context()
            .with_value(&NUMBER, number)
            .with_value(&NAME, name.clone());
        Arc::new(Job {
            name,
            every,
            context: context.share(),
            timer: Mutex::new(None),
        })
    }

    /// Sets the timer for the run that follows the moment `last` by one interval.
    pub(crate) fn arm(self: &Arc<Self>, last: Instant) {
        // Counted from when the last run was due, not from when it came, so that delays do not add
        // up. A program that was suspended does not make up for the runs that it missed.
        let now = shim::now();
        let mut when = last + self.every;
        while when < now {
            when += self.every;
        }
        let job = Arc::clone(self);
        let timer = shim::call_at_in(&self.context, when, move || {
            // Armed first: a run that panics is reported, and is not the last.
            job.arm(when);
            RUN.set(RUN.get() + 1);
            work(&job.name);
        });
        *self.timer() = Some(timer);
    }

    fn timer(&self) -> MutexGuard<'_, Option<TimerHandle>> {
        self.timer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether there was something to cancel.
    pub(crate) fn cancel(&self) -> bool {
        let timer = self.timer();
        match &*timer {
            Some(timer) if !timer.is_cancelled() => {
                timer.cancel();
                true
            }
            _ => false,
        }
    }

    /// How often it ran. Its context can be read from outside.
    fn runs(&self) -> u64 {
        self.context.get(&RUN).unwrap_or(0)
    }

    pub(crate) fn status(&self) -> String {
        let next = match &*self.timer() {
            Some(timer) if !timer.is_cancelled() => {
                let left = timer.when().saturating_duration_since(shim::now());
                format!("next run in {:.3} s", left.as_secs_f64())
            }
            _ => "cancelled".to_owned(),
        };
        format!("{}, {next}", self.summary())
    }

    pub(crate) fn summary(&self) -> String {
        let Job { name, every, .. } = self;
        let runs = self.runs();
        let s = if runs == 1 { "" } else { "s" };
        format!("{name}, every {every:?}: {runs} run{s}")
    }
}
