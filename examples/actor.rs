//! Actors whose log lines carry the request id of who sent the message.
//!
//! Senders, half of them tasks and half of them threads, make requests. Each request sets its id,
//! orders something of an actor, and awaits the answer. The actor, a task that was spawned before
//! there was any request, logs what it does with the order, before and after it awaits a blocking
//! job that logs, too. None of that is told the request's id: it came with the message.
//!
//! ```sh
//! cargo run --example actor
//! cargo run --release --all-features --example actor -- --runtime all --requests 10000 --quiet
//! ```
//!
//! The program reads its own log lines and the ids that the actors saw. What goes wrong without the
//! context:
//!
//! ```sh
//! cargo run --example actor -- --bare
//! ```
//!
//! Where to look: `actor/shop.rs` has the actor and the requests, `actor/logging.rs` puts the id
//! into each line.

#[path = "actor/args.rs"]
mod args;
#[path = "actor/logging.rs"]
mod logging;
#[path = "common/options.rs"]
mod options;
#[path = "gateway/runtime.rs"]
#[allow(dead_code, reason = "the gateway asks more of it")]
mod runtime;
#[path = "actor/shop.rs"]
mod shop;

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::{Command, Options};
use crate::logging::Lines;

const USAGE: u8 = 2;

fn main() -> ExitCode {
    let outcome = match args::parse(env::args_os().skip(1)) {
        Err(message) => {
            complain(&message);
            return ExitCode::from(USAGE);
        }
        Ok(Command::Help) => print(&args::HELP).map(|()| true),
        Ok(Command::Run(options)) => run_all(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

/// Runs on each runtime in turn, and returns whether all was right.
fn run_all(options: &Options) -> Result<bool, String> {
    let lines = Lines::log(!options.quiet)?;
    let mut right = true;
    for runtime in &options.runtimes {
        let tally = runtime
            .block_on(shop::run(options))
            .map_err(|error| format!("cannot start {}: {error}", runtime.name()))??;
        let lines = lines.take();
        right &= tally.is_right(options.requests) && lines.is_right(shop::LINES * options.requests);
        print(&format_args!(
            "{}: {} requests of {} senders to {} actors; orders: {tally}; log lines: {lines}",
            runtime.name(),
            options.requests,
            options.senders,
            options.actors,
        ))?;
    }
    Ok(right)
}

/// How many were in their sender's context, and how many were not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) right: u64,
    pub(crate) wrong: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, right: bool) {
        if right {
            self.right += 1;
        } else {
            self.wrong += 1;
        }
    }

    /// Whether there are so many, and all are right.
    fn is_right(self, expected: u64) -> bool {
        (self.right, self.wrong) == (expected, 0)
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} right, {} wrong", self.right, self.wrong)
    }
}

fn print(text: &dyn Display) -> Result<(), String> {
    match writeln!(io::stdout(), "{text}") {
        // A reader that has seen enough, `head` for example, is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

fn complain(message: &str) {
    // Where standard error is closed, the status has to do.
    let _ = writeln!(io::stderr(), "actor: {message}");
}
