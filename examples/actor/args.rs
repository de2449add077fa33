//! The command line.

use std::ffi::OsString;

use lexopt::prelude::*;

use crate::options::{message, number, text};
use crate::runtime::Runtime;

pub(crate) const HELP: &str = "\
Actors whose log lines carry the request id of who sent the message.

Usage: actor [OPTIONS]

Logs to standard error, checks that each line and each answer has the id of its request, and prints how many have.
Exit status: 0 if all have, 1 if not or if something cannot be started, 2 for a wrong command line.

Options:
  --requests N    how many requests to make on each runtime (default 8)
  --senders N     how many tasks and threads make them (default 4)
  --actors N      how many actors answer them (default 2)
  --runtime NAME  event-loop (default), tokio, tokio-current-thread, async-std, smol, or all: those that are
                  compiled in
  --bare          handle messages without their contexts, which is wrong
  --quiet         check the log lines without showing them
  -h, --help      print this";

const REQUESTS_LIMIT: u64 = 1_000_000_000;
/// Half of the senders are threads of the operating system, and each has a channel to each actor.
const SENDERS_LIMIT: u64 = 500;
const ACTORS_LIMIT: u64 = 500;

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Run(Options),
}

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) requests: u64,
    pub(crate) senders: u64,
    pub(crate) actors: u64,
    pub(crate) runtimes: Vec<Runtime>,
    pub(crate) bare: bool,
    pub(crate) quiet: bool,
}

/// Reads the command line; the error is a message.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut options = Options {
        requests: 8,
        senders: 4,
        actors: 2,
        runtimes: vec![Runtime::EventLoop],
        bare: false,
        quiet: false,
    };
    while let Some(arg) = parser.next().map_err(message)? {
        match arg {
            Long("requests") => {
                options.requests = number(&mut parser, "--requests", 1..=REQUESTS_LIMIT)?
            }
            Long("senders") => {
                options.senders = number(&mut parser, "--senders", 1..=SENDERS_LIMIT)?
            }
            Long("actors") => options.actors = number(&mut parser, "--actors", 1..=ACTORS_LIMIT)?,
            Long("runtime") => options.runtimes = Runtime::named(&text(&mut parser)?)?,
            Long("bare") => options.bare = true,
            Long("quiet") => options.quiet = true,
            Long("help") | Short('h') => return Ok(Command::Help),
            _ => return Err(message(arg.unexpected())),
        }
    }
    Ok(Command::Run(options))
}
