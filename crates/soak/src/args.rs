//! The command line.

use std::ffi::OsString;
use std::time::Duration;

use lexopt::prelude::*;

use crate::options::{message, number};

pub(crate) const HELP: &str = "\
Every runtime at once in one process, with random work on each, and a check of every context that is seen.

Usage: soak [--seconds N] [--seed N] [--json]
       soak --parked N

Exit status: 0 if each unit of work saw its own request and everything is gone at the end, 1 if not, 2 for a wrong
command line.

Options:
  --seconds N  how long to work, from 1 to 604800 (default 60)
  --seed N     the seed of the random programs (default: random; it is printed). How they interleave is up to the
               machine
  --json       one JSON object a line instead of the table
  --parked N   instead, park N tasks with ten variables each on tokio and on the event loop, beside as many bare
               tasks, and report the memory that each takes
  -h, --help   print this";

const SECONDS: u64 = 60;
const SECONDS_LIMIT: u64 = 7 * 24 * 60 * 60;
const PARKED_LIMIT: u64 = 10_000_000;

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Soak(Options),
    Parked(usize),
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    pub(crate) json: bool,
}

/// Reads the command line; the error is a message.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut seconds = None;
    let mut seed = None;
    let mut json = false;
    let mut parked = None;
    while let Some(arg) = parser.next().map_err(message)? {
        match arg {
            Long("seconds") => seconds = Some(number(&mut parser, "--seconds", 1..=SECONDS_LIMIT)?),
            Long("seed") => seed = Some(number(&mut parser, "--seed", 0..=u64::MAX)?),
            Long("json") => json = true,
            Long("parked") => parked = Some(number(&mut parser, "--parked", 1..=PARKED_LIMIT)?),
            Long("help") | Short('h') => return Ok(Command::Help),
            _ => return Err(message(arg.unexpected())),
        }
    }
    let Some(parked) = parked else {
        return Ok(Command::Soak(Options {
            time: Duration::from_secs(seconds.unwrap_or(SECONDS)),
            seed: seed.unwrap_or_else(|| fastrand::u64(..)),
            json,
        }));
    };
    let of_the_soak = [
        ("--seconds", seconds.is_some()),
        ("--seed", seed.is_some()),
        ("--json", json),
    ];
    match of_the_soak.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(format!(
            "{name} is about the random work, and with --parked there is none"
        )),
        None => Ok(Command::Parked(parked as usize)),
    }
}
