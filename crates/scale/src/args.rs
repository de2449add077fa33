//! The command line.

use std::ffi::OsString;
use std::iter;
use std::path::PathBuf;

use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
How costs grow: over 1 to 1,000,000 variables in a context, 1 to 1,000,000 tasks parked at once, and 1 to 10,000
generations of tasks of which each spawns the next. On the event loop, tokio and smol.

Usage: scale [--out DIR] [--quick]

Writes scale-variables.svg, scale-tasks.svg and scale-generations.svg, and prints the figures. Exit status: 0 if all
went well, 1 if not, 2 for a wrong command line.

Options:
  --out DIR   where the plots go (default docs); it is made if it is not there
  --quick     up to 10,000 variables and tasks and 1,000 generations, measured less often
  -h, --help  print this";

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Run(Options),
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) out: PathBuf,
    quick: bool,
}

impl Options {
    pub(crate) fn variables(&self) -> Vec<usize> {
        up_to(if self.quick { 10_000 } else { 1_000_000 })
    }

    pub(crate) fn tasks(&self) -> Vec<usize> {
        up_to(if self.quick { 10_000 } else { 1_000_000 })
    }

    pub(crate) fn generations(&self) -> Vec<usize> {
        up_to(if self.quick { 1_000 } else { 10_000 })
    }

    /// How often each time is taken; the least is what counts.
    pub(crate) fn samples(&self) -> usize {
        if self.quick { 5 } else { 25 }
    }
}

/// 1, 3, 10, 30 and so on.
fn up_to(limit: usize) -> Vec<usize> {
    let tens = iter::successors(Some(1), |ten| Some(10 * ten));
    tens.flat_map(|ten| [ten, 3 * ten])
        .take_while(|&size| size <= limit)
        .collect()
}

/// Reads the command line; the error is a message.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut out = PathBuf::from("docs");
    let mut quick = false;
    while let Some(arg) = parser.next().map_err(message)? {
        match arg {
            Long("out") => out = parser.value().map_err(message)?.into(),
            Long("quick") => quick = true,
            Long("help") | Short('h') => return Ok(Command::Help),
            _ => return Err(message(arg.unexpected())),
        }
    }
    if out.as_os_str().is_empty() {
        return Err("--out takes a folder, not nothing".to_owned());
    }
    Ok(Command::Run(Options { out, quick }))
}

fn message(error: lexopt::Error) -> String {
    format!("{error}; see --help")
}
