//! The command line.

use std::ffi::OsString;
use std::time::Duration;

use lexopt::prelude::*;

const HELP: &str = "\
A small cron: jobs that fire at fixed intervals, each in a context of its own.

Usage: timers [--for SECONDS] [--virtual] [JOB...]

A JOB is NAME=EVERY, and EVERY a whole number with a unit: 250ms, 2s, 1m, 1h. Without jobs:
heartbeat=500ms report=2s backup=5s. The work of a job called `report` goes on in a task; the
others only print that they run.

Options:
  --for SECONDS  end after this time, such as 10 or 0.5
  --virtual      on a clock that jumps to the next timer: `--virtual --for 3600` takes no time.
                 Needs --for, and does not read standard input
  -h, --help     print this

Commands on standard input, one a line:
  list           show the jobs, how often they ran, and when they run next
  cancel NAME    cancel a job
  quit           end; the end of the input does not

";

const CTRL_C: &str = if cfg!(feature = "ctrl-c") {
    "Ctrl-C ends the program as `quit` does, with a summary; a second one at once."
} else {
    "Ctrl-C ends the program at once. Build with `--features ctrl-c` for a summary first."
};

const JOBS: [&str; 3] = ["heartbeat=500ms", "report=2s", "backup=5s"];

/// A year. Moments much further off do not fit everywhere.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Run(Options),
}

#[derive(Debug)]
pub(crate) struct Options {
    /// When to end, from the start.
    pub(crate) time: Option<Duration>,
    pub(crate) is_virtual: bool,
    pub(crate) jobs: Vec<JobSpec>,
}

#[derive(Debug)]
pub(crate) struct JobSpec {
    pub(crate) name: String,
    pub(crate) every: Duration,
}

pub(crate) fn help() -> String {
    format!("{HELP}{CTRL_C}")
}

/// Reads the command line; the error is a message.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut time = None;
    let mut is_virtual = false;
    let mut jobs: Vec<JobSpec> = Vec::new();
    while let Some(arg) = parser.next().map_err(message)? {
        match arg {
            Long("for") => time = Some(seconds(&text(parser.value().map_err(message)?)?)?),
            Long("virtual") => is_virtual = true,
            Long("help") | Short('h') => return Ok(Command::Help),
            Value(value) => {
                let job = job(&text(value)?)?;
                if jobs.iter().any(|other| other.name == job.name) {
                    return Err(format!("there are two jobs called `{}`", job.name));
                }
                jobs.push(job);
            }
            _ => return Err(message(arg.unexpected())),
        }
    }
    if is_virtual && time.is_none() {
        return Err("--virtual needs --for SECONDS: nothing else would end it".to_owned());
    }
    if jobs.is_empty() {
        jobs = JOBS.into_iter().map(job).collect::<Result<_, _>>()?;
    }
    Ok(Command::Run(Options {
        time,
        is_virtual,
        jobs,
    }))
}

fn message(error: lexopt::Error) -> String {
    format!("{error}; see --help")
}

fn text(value: OsString) -> Result<String, String> {
    value
        .into_string()
        .map_err(|value| format!("{value:?} is not Unicode"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| !time.is_zero() && *time <= LONGEST)
        .ok_or_else(|| {
            let longest = LONGEST.as_secs();
            format!("--for takes seconds, more than 0 and up to {longest}, not `{text}`")
        })
}

fn job(text: &str) -> Result<JobSpec, String> {
    let (name, every) = text
        .split_once('=')
        .ok_or_else(|| format!("a job is NAME=EVERY, such as report=2s, not `{text}`"))?;
    // It has to be typed after `cancel`.
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!(
            "`{text}` is no job: the name has to be one word without spaces"
        ));
    }
    let every = interval(every).ok_or_else(|| {
        format!(
            "the job `{name}` is to run every `{every}`, which is not a time from 1ms to 8760h; \
             write 250ms, 2s, 1m or 1h"
        )
    })?;
    Ok(JobSpec {
        name: name.to_owned(),
        every,
    })
}

fn interval(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    let interval = Duration::from_millis(number.checked_mul(unit)?);
    (!interval.is_zero() && interval <= LONGEST).then_some(interval)
}
