//! [`Suite`]: the rows for an executor, and running them.

use std::any::type_name;
use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use aiocontextvars::shim::{Executor, LocalExecutor};

use crate::adapters::{Anywhere, Driven, Made, Make, OneThread, Registered};
use crate::fixtures;
use crate::harness::{FromOtherThreads, Harness, Wrapped, message};
use crate::hook;
use crate::report::{Failure, Report};
use crate::reports;
use crate::table::{self, Row};

/// The rows for one executor, and how to run them.
///
/// [`check`](crate::check) is the short form for an executor with threads of its own.
///
/// # Examples
///
/// ```
/// use std::thread;
/// use std::time::Duration;
/// use aiocontextvars::shim::{Executor, Runnable};
/// use aiocontextvars_conformance::Suite;
///
/// struct Threads;
///
/// impl Executor for Threads {
///     fn schedule(&self, task: Runnable) {
///         thread::spawn(|| task.run());
///     }
/// }
///
/// let suite = Suite::new(|| Threads);
/// let report = suite.limit(Duration::from_secs(30)).only("ta_").report();
/// assert!(report.is_ok(), "{report}");
/// ```
pub struct Suite {
    executor: &'static str,
    rows: Vec<Row>,
    /// Those that run only if asked for.
    ending: Vec<Row>,
    limit: Duration,
    /// Has the rows find the executor.
    prepare: Box<dyn Fn() -> Option<Registered>>,
}

/// After so many rows that do not end the others are left out.
const PATIENCE: usize = 3;

impl Suite {
    /// For an executor with threads of its own: `make` makes one for each row.
    ///
    /// What is made is kept in an `Arc` until the row has ended, so it need not be `Clone`; it may
    /// be a handle of an executor that lives longer.
    pub fn new<E: Executor>(make: impl Fn() -> E + Send + Sync + 'static) -> Suite {
        Suite::made_by(type_name::<E>(), Arc::new(move || Arc::new(make())))
    }

    /// Compiled once, whatever makes the executors.
    fn made_by(executor: &'static str, make: Make) -> Suite {
        Suite {
            executor,
            prepare: Box::new(move || Some(Made::register(Arc::clone(&make)))),
            ..Suite::from_other_threads::<Anywhere<Made>>()
        }
    }

    /// For an executor that somebody has to drive, and that other threads can submit work to.
    pub fn driven<D: Driven>() -> Suite
    where
        D::Executor: Executor,
    {
        Suite {
            executor: type_name::<D>(),
            ..Suite::from_other_threads::<Anywhere<D>>()
        }
    }

    /// For an executor that somebody has to drive, and whose tasks stay on the thread.
    pub fn local<D: Driven>() -> Suite
    where
        D::Executor: LocalExecutor,
    {
        Suite {
            executor: type_name::<D>(),
            ..Suite::wrapped::<OneThread<D>>()
        }
    }

    /// For a runtime with functions of its own that spawn and schedule.
    pub fn of<H: Harness>() -> Suite {
        let mut rows = table::generic::<H>();
        rows.extend(table::typed::<H>());
        rows.extend(table::in_a_task::<H>());
        Suite {
            executor: type_name::<H>(),
            rows,
            ending: table::ending::<H>(),
            limit: Duration::from_secs(10),
            prepare: Box::new(|| None),
        }
    }

    fn wrapped<H: Wrapped>() -> Suite {
        let mut suite = Suite::of::<H>();
        suite.rows.extend(table::wrapped::<H>());
        suite
    }

    fn from_other_threads<H: FromOtherThreads + Wrapped>() -> Suite {
        let mut suite = Suite::wrapped::<H>();
        suite.rows.extend(table::remote::<H>());
        suite
    }

    /// Has the rows about the executor's end run as well: those are for an executor that drops all
    /// tasks that are left before its own drop returns.
    pub fn ending(mut self) -> Suite {
        self.rows.append(&mut self.ending);
        self
    }

    /// How long a row may take: ten seconds, if nothing else is said. Nearly all take milliseconds.
    pub fn limit(mut self, limit: Duration) -> Suite {
        self.limit = limit;
        self
    }

    /// Keeps only the rows whose names begin with `start`, for the search for an error.
    pub fn only(mut self, start: &str) -> Suite {
        for rows in [&mut self.rows, &mut self.ending] {
            rows.retain(|row| row.name.starts_with(start));
        }
        self
    }

    /// Runs the rows, one after the other. If one has failed, panics with the report.
    ///
    /// # Panics
    ///
    /// Also if no row is left.
    #[track_caller]
    pub fn check(&self) -> Report {
        let report = self.report();
        assert!(report.is_ok(), "{report}");
        report
    }

    /// Runs the rows, one after the other.
    ///
    /// Each has a thread of its own. One that takes longer than the [limit](Suite::limit) has
    /// failed, and its thread is left behind; after three of these the others are left out.
    ///
    /// While this runs, the process's exception handler of callbacks is the suite's, and nothing is
    /// printed for panics whose place is in the suite: they are in the report. Calls wait for each
    /// other.
    ///
    /// # Panics
    ///
    /// If no row is left.
    #[must_use = "the report may list failures"]
    #[track_caller]
    pub fn report(&self) -> Report {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

        assert!(!self.rows.is_empty(), "no row has such a name");
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let _silence = hook::silence();
        let _handler = reports::instead();
        let _made = (self.prepare)();
        let mut report = Report::new(self.executor);
        if !self.ending.is_empty() {
            report.leave_out(
                self.ending.len(),
                "those about the executor's end, which `Suite::ending` adds".to_owned(),
            );
        }
        let mut hung = 0;
        for (n, row) in self.rows.iter().enumerate() {
            if hung == PATIENCE {
                let why = format!("after {PATIENCE} that did not end");
                report.leave_out(self.rows.len() - n, why);
                break;
            }
            hook::forget();
            match run(row, self.limit) {
                Outcome::Passed => report.pass(),
                Outcome::Failed(failure) => report.fail(failure),
                Outcome::Hung => {
                    hung += 1;
                    let message =
                        format!("did not end within {:?}, the `Suite::limit`", self.limit);
                    report.fail(Failure::new(row.name, message, None));
                }
            }
        }
        report
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("executor", &self.executor)
            .field("rows", &self.rows.len())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

enum Outcome {
    Passed,
    Failed(Failure),
    Hung,
}

/// Runs a row on a thread of its own, whose context nobody has written to.
fn run(row: &Row, limit: Duration) -> Outcome {
    let (done, wait) = mpsc::channel::<()>();
    // A row that waits in vain should say for what.
    fixtures::be_patient(limit / 3);
    let row = *row;
    let thread = thread::Builder::new().name(row.name.to_owned());
    let thread = thread.spawn(move || {
        // Dropped also by a panic.
        let _done = done;
        row.run();
    });
    let thread = thread.expect("threads can be started");
    if wait.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
        return Outcome::Hung;
    }
    match thread.join() {
        Ok(()) => Outcome::Passed,
        Err(payload) => {
            let message = message(&*payload).to_owned();
            let place = hook::place_of(&message);
            Outcome::Failed(Failure::new(row.name, message, place))
        }
    }
}

/// Runs the row of that name as a test of its own, whose panics are printed.
pub fn run_alone(name: &str, rows: &[Row]) {
    const LIMIT: Duration = Duration::from_secs(120);

    let row = rows.iter().find(|row| row.name == name);
    match run(row.expect("there is such a row"), LIMIT) {
        Outcome::Passed => {}
        Outcome::Failed(failure) => panic!("{failure}"),
        Outcome::Hung => panic!("{name} did not end within {LIMIT:?}"),
    }
}
