//! The suite of behaviours that every executor of [`aiocontextvars`] is tested with, for authors of
//! others.
//!
//! One line is a whole test: [`check`] runs all rows on executors that a closure makes, and panics
//! with a report if one fails. An executor that somebody has to drive, or whose tasks stay on one
//! thread, says how in a [`Driven`]; a runtime with functions of its own that spawn in a
//! [`Harness`]. A [`Suite`] has the options.
//!
//! A row is one promise, such as that a task starts in a copy of the context of whoever spawned it.
//! It says nothing of how an executor does its work. What is checked is that all of it is done,
//! once, by [`Runnable::run`] and [`Job::run`]; that timers follow the clock; that submitting
//! leaves the caller's context alone; that a worker keeps no one's values; and that nothing in
//! between takes work out of its context. (That a step is run twice is not among the rows: `run`
//! takes it by value.)
//!
//! The tests of `aiocontextvars` are the same rows on the executors that it knows.
//!
//! # Examples
//!
//! ```
//! use std::sync::mpsc;
//! use std::thread;
//! use aiocontextvars::shim::{Executor, Runnable};
//!
//! struct MyExecutor(mpsc::Sender<Runnable>);
//!
//! impl MyExecutor {
//!     fn new() -> MyExecutor {
//!         let (sender, receiver) = mpsc::channel::<Runnable>();
//!         thread::spawn(move || receiver.into_iter().for_each(Runnable::run));
//!         MyExecutor(sender)
//!     }
//! }
//!
//! impl Executor for MyExecutor {
//!     fn schedule(&self, task: Runnable) {
//!         let _ = self.0.send(task);
//!     }
//! }
//!
//! aiocontextvars_conformance::check(|| MyExecutor::new());
//! ```
//!
//! # Reports
//!
//! A row that fails is there with what it is about, its name, its place in the source and the
//! message of the panic. For an executor whose `schedule` sets a variable, the report begins like
//! this:
//!
//! ```text
//! my_crate::MyExecutor fails 8 of 283 rows
//!
//! tasks: submitting leaves the context alone
//!     row ta_02_submitting_leaves_the_context_alone, at crates/conformance/src/tasks.rs:122
//!     assertion `left == right` failed: a task is spawned
//!       left: (Some(1), 2)
//!      right: (Some(1), 1)
//! ```
//!
//! Rows build on each other, so one fault may fail several, and the first is the one to look at. A
//! row that does not end is reported as well, after ten seconds or the [limit](Suite::limit) of the
//! suite; its thread is left behind.
//!
//! [`Runnable::run`]: aiocontextvars::shim::Runnable::run
//! [`Job::run`]: aiocontextvars::shim::Job::run

mod adapters;
mod callbacks;
mod companions;
mod contexts;
mod done;
mod executor;
mod exits;
mod fixtures;
mod groups;
mod harness;
mod here;
mod hook;
mod isolating;
mod meddler;
mod outcomes;
mod reentrancy;
mod reentrancy_calls;
mod reentrancy_own;
mod reentrancy_panics;
mod reentrancy_work;
mod report;
mod reports;
mod returned;
mod rows;
mod runs;
mod scopes;
mod shared;
mod sharing;
mod suite;
mod table;
mod tasks;
mod threads;
mod tokens;
mod variables;
mod waker;

pub use self::adapters::Driven;
#[doc(hidden)]
pub use self::adapters::{Anywhere, OneThread};
#[doc(hidden)]
pub use self::harness::Wrapped;
pub use self::harness::{Harness, Nested};
pub use self::report::{Failure, Report};
pub use self::suite::Suite;
#[doc(hidden)]
pub use self::suite::run_alone;
#[doc(hidden)]
pub use self::table::{ending, generic, in_a_task, on_a_thread, remote, typed, wrapped};

use aiocontextvars::shim::Executor;

/// Runs all rows on executors made by `make`, one for each row, and panics with the report if one
/// fails.
///
/// It is [`Suite::new`] and [`Suite::check`]: see there.
///
/// # Panics
///
/// If a row fails.
///
/// # Examples
///
/// ```
/// use std::thread;
/// use aiocontextvars::shim::{Executor, Runnable};
///
/// struct Threads;
///
/// impl Executor for Threads {
///     fn schedule(&self, task: Runnable) {
///         thread::spawn(|| task.run());
///     }
/// }
///
/// aiocontextvars_conformance::check(|| Threads);
/// ```
#[track_caller]
pub fn check<E: Executor>(make: impl Fn() -> E + Send + Sync + 'static) -> Report {
    Suite::new(make).check()
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
