//! [`Report`]: what became of the rows.

use std::fmt;

/// What became of the rows on an executor.
///
/// # Examples
///
/// ```
/// use aiocontextvars_conformance::Suite;
/// use aiocontextvars::shim::{Executor, Runnable};
///
/// // It loses every task.
/// struct Loses;
///
/// impl Executor for Loses {
///     fn schedule(&self, task: Runnable) {
///         drop(task);
///     }
/// }
///
/// let report = Suite::new(|| Loses).only("ta_01").report();
/// assert!(!report.is_ok());
/// assert_eq!(report.failures()[0].row(), "ta_01");
/// println!("{report}");
/// ```
#[derive(Clone, Debug)]
pub struct Report {
    executor: &'static str,
    passed: usize,
    failures: Vec<Failure>,
    left_out: Vec<LeftOut>,
}

/// Rows that were not run.
#[derive(Clone, Debug)]
pub(crate) struct LeftOut {
    rows: usize,
    why: String,
}

impl Report {
    pub(crate) fn new(executor: &'static str) -> Report {
        Report {
            executor,
            passed: 0,
            failures: Vec::new(),
            left_out: Vec::new(),
        }
    }

    pub(crate) fn pass(&mut self) {
        self.passed += 1;
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failures.push(failure);
    }

    pub(crate) fn leave_out(&mut self, rows: usize, why: String) {
        self.left_out.push(LeftOut { rows, why });
    }

    /// Whether no row has failed.
    pub fn is_ok(&self) -> bool {
        self.failures.is_empty()
    }

    /// How many rows have passed.
    pub fn passed(&self) -> usize {
        self.passed
    }

    /// The rows that have failed, in the order in which they ran.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failures.len();
        let ran = self.passed + failed;
        if failed == 0 {
            writeln!(f, "{} conforms: {ran} rows have passed", self.executor)?;
        } else {
            writeln!(f, "{} fails {failed} of {ran} rows", self.executor)?;
        }
        for failure in &self.failures {
            write!(f, "\n{failure}")?;
        }
        for LeftOut { rows, why } in &self.left_out {
            let are = if *rows == 1 { "row is" } else { "rows are" };
            write!(f, "\n{rows} {are} left out: {why}")?;
        }
        Ok(())
    }
}

/// A row that has failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    name: &'static str,
    message: String,
    place: Option<String>,
}

impl Failure {
    pub(crate) fn new(name: &'static str, message: String, place: Option<String>) -> Failure {
        Failure {
            name,
            message,
            place,
        }
    }

    /// The id of the behaviour, which several rows may be about: `"ta_05"`. A row of one of the
    /// tables has its name for an id.
    pub fn row(&self) -> &'static str {
        self.split().0
    }

    /// The row's own name, for [`Suite::only`](crate::Suite::only):
    /// `"ta_05_the_capture_point_is_spawn"`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The message of the panic, or that the row did not end.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The id, and the rest of the name.
    fn split(&self) -> (&'static str, &'static str) {
        let number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let mut parts = self.name.splitn(3, '_');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(family), Some(part), Some(rest)) if number(part) => {
                (&self.name[..family.len() + 1 + part.len()], rest)
            }
            (Some(family), Some(_), _) => (self.name, &self.name[family.len() + 1..]),
            _ => (self.name, self.name),
        }
    }

    /// What rows of this kind are about.
    fn subject(&self) -> &'static str {
        let family = self.name.split('_').next().unwrap_or_default();
        match family {
            "cv" => "variables",
            "tk" => "tokens and guards",
            "cx" | "cc" | "hm" => "contexts",
            "rn" => "running in a context",
            "ta" => "tasks",
            "co" => "companions",
            "cs" => "callbacks",
            "hd" => "handles of callbacks and timers",
            "fu" => "callbacks at the end of a task",
            "tg" => "task groups",
            "th" => "threads and blocking jobs",
            "ru" => "blocking on a future",
            "exit" => "the ways in which work ends",
            "table" => "what every executor has to look like",
            _ => "robustness",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, rest) = self.split();
        writeln!(f, "{}: {}", self.subject(), rest.replace('_', " "))?;
        write!(f, "    row {}", self.name)?;
        if let Some(place) = &self.place {
            write!(f, ", at {place}")?;
        }
        writeln!(f)?;
        let message = match self.message.as_str() {
            "" => "a panic without a message",
            message => message,
        };
        for line in message.lines() {
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}
