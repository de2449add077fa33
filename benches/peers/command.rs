//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::sampling::Row;
use crate::targets;

pub(crate) const HELP: &str = "\
Measures this crate and its peers side by side, in one process.

Usage: cargo bench -p peers -- [OPTIONS] [ROW]...

A ROW selects the row of that name, or else those whose names begin with it. Without, all are measured, which takes a
few minutes.
Ours and a peer's take samples in turns. A ratio is the median of what the pairs gave, ours divided by theirs, of at
least 101 pairs (counts of bytes and allocations do not vary, and take 3). The spread is half the distance between the
quartiles of these ratios. The ratio to the peer `floor` is how many times what the hardware needs at least.
Python's rows need `python3`, or what PYTHON names, and uvloop's need uvloop there.

Options:
      --json FILE  also write one JSON object a line: row, peer, ours_ns, peer_ns, ratio, spread, unit, pairs
      --targets    fail if a row is beyond its target; without a ROW, measure those that have one
      --list       print the rows and what they measure
      --test       do everything once and measure nothing, as without --bench, which `cargo bench` passes and
                   `cargo test` does not
  -h, --help       print this

Exit status: 0, or 2 for a wrong command line, or 1 if something cannot be started or written, or a target
is missed.";

/// What to do.
pub(crate) enum Command {
    Help,
    List,
    Test(Vec<&'static Row>),
    Measure {
        rows: Vec<&'static Row>,
        json: Option<PathBuf>,
        targets: bool,
    },
}

pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    all: &[&'static Row],
) -> Result<Command, String> {
    let message = |error: lexopt::Error| format!("{error}; see --help");
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut chosen, mut json) = (Vec::new(), None);
    let (mut bench, mut test, mut targets) = (false, false, false);
    while let Some(argument) = parser.next().map_err(message)? {
        match argument {
            Long("json") => json = Some(parser.value().map_err(message)?.into()),
            Long("list") => return Ok(Command::List),
            Long("test") => test = true,
            Long("targets") => targets = true,
            Long("bench") => bench = true,
            Long("help") | Short('h') => return Ok(Command::Help),
            Value(prefix) => {
                let prefix = prefix.to_string_lossy().into_owned();
                chosen.extend(choose(all, &prefix)?);
            }
            _ => return Err(message(argument.unexpected())),
        }
    }
    let mut rows = all.to_vec();
    if !chosen.is_empty() {
        rows.retain(|row| chosen.contains(&row.name));
    } else if targets {
        rows.retain(|row| targets::has_any(row));
    }
    Ok(if test || !bench {
        Command::Test(rows)
    } else {
        Command::Measure {
            rows,
            json,
            targets,
        }
    })
}

fn choose(all: &[&'static Row], prefix: &str) -> Result<Vec<&'static str>, String> {
    let names = || all.iter().map(|row| row.name);
    if let Some(name) = names().find(|name| *name == prefix) {
        return Ok(vec![name]);
    }
    let chosen: Vec<_> = names().filter(|name| name.starts_with(prefix)).collect();
    match chosen.is_empty() {
        true => Err(format!("no row begins with `{prefix}`; see --list")),
        false => Ok(chosen),
    }
}
