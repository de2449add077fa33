//! A small cron: jobs that fire at fixed intervals, each in a context of its own.
//!
//! ```sh
//! cargo run --example timers --features ctrl-c
//! cargo run --example timers -- --for 10 heartbeat=250ms report=3s
//! cargo run --example timers -- --virtual --for 3600 backup=10m
//! ```
//!
//! While it runs, `list`, `cancel NAME` and `quit` can be typed.
//!
//! Where to look: `timers/job.rs` arms the timers. [`log`] is told nothing about the job that calls
//! it, and its lines name the job and the run, also those of a task that goes on after its run.

#[path = "timers/args.rs"]
mod args;
#[path = "timers/job.rs"]
mod job;

use std::env;
use std::fmt::{Arguments, Display};
use std::io::{self, BufRead, Write};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aiocontextvars::event_loop::{EventLoop, LoopHandle};
use aiocontextvars::{context_var, shim};

use crate::args::{Command, Options};
use crate::job::Job;

context_var! {
    /// When the program started, on the loop's clock.
    static START: Instant;
    /// The job at work: its place on the command line, from 1,
    static NUMBER: usize;
    /// its name,
    static NAME: String;
    /// and which of its runs this is. In the job's own context, how many there were.
    static RUN: u64 = 0;
}

const FAILURE: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let outcome = match args::parse(env::args_os().skip(1)) {
        Err(message) => Err((message, USAGE)),
        Ok(Command::Help) => {
            print(format_args!("{}", args::help()));
            Ok(())
        }
        Ok(Command::Run(options)) => run(options).map_err(|message| (message, FAILURE)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err((message, status)) => {
            complain(&message);
            ExitCode::from(status)
        }
    }
}

/// Runs the jobs until the time is up, `quit`, or Ctrl-C. The error is a message.
fn run(options: Options) -> Result<(), String> {
    let event_loop = if options.is_virtual {
        EventLoop::with_virtual_clock()
    } else {
        EventLoop::new()
    };
    #[cfg(feature = "ctrl-c")]
    if let Err(error) = event_loop.stop_on_ctrl_c() {
        // The background jobs of a shell script, for example, ignore Ctrl-C. They can run all the
        // same.
        complain(&error.to_string());
    }

    // Whatever is scheduled, spawned or started from here on inherits this.
    let start = event_loop.time();
    START.set(start);

    let jobs: Arc<[Arc<Job>]> = (1..)
        .zip(options.jobs)
        .map(|(number, spec)| Job::new(number, spec))
        .collect();
    if let Some(time) = options.time {
        let handle = event_loop.handle();
        event_loop.call_at(start + time, move || handle.stop());
    }
    // On the loop, where `shim::call_at_in` finds it.
    event_loop.call_soon({
        let jobs = Arc::clone(&jobs);
        move || jobs.iter().for_each(|job| job.arm(start))
    });
    if !options.is_virtual {
        let handle = event_loop.handle();
        let jobs = Arc::clone(&jobs);
        // Never joined: it may be waiting for a line when the program ends.
        shim::thread::Builder::new()
            .name("keyboard".to_owned())
            .spawn(move || read_commands(&handle, &jobs))
            .map_err(|error| format!("cannot start a thread for the keyboard: {error}"))?;
    }

    event_loop.run_forever();
    // An open loop would take the next Ctrl-C for its own, and the summary may have to wait for its
    // reader.
    event_loop.close();

    for job in jobs.iter() {
        print(format_args!("{}", job.summary()));
    }
    Ok(())
}

/// Hands each line of standard input to the loop. At the end of the input the jobs go on.
fn read_commands(handle: &LoopHandle, jobs: &Arc<[Arc<Job>]>) {
    for line in io::stdin().lock().split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        let jobs = Arc::clone(jobs);
        let stop = handle.clone();
        handle.call_soon_threadsafe(move || obey(&line, &jobs, &stop));
    }
}

fn obey(line: &str, jobs: &[Arc<Job>], handle: &LoopHandle) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [] => {}
        ["list"] => jobs.iter().for_each(|job| log(job.status())),
        ["cancel", name] => match jobs.iter().find(|job| job.name == name) {
            Some(job) if job.cancel() => log(format_args!("{name} is cancelled")),
            Some(_) => log(format_args!("{name} was cancelled before")),
            None => log(format_args!("there is no job `{name}`; see `list`")),
        },
        ["quit"] => handle.stop(),
        _ => log(format_args!(
            "`{}` is no command; there are `list`, `cancel NAME` and `quit`",
            line.trim()
        )),
    }
}

/// Prints a message behind the time and, in a job, the job and the run, whichever task or callback
/// calls this.
fn log(message: impl Display) {
    let time = START.get().map_or(Duration::ZERO, |start| {
        shim::now().saturating_duration_since(start)
    });
    let time = time.as_secs_f64();
    match (NUMBER.get(), NAME.get(), RUN.get()) {
        (Some(number), Some(name), run) => print(format_args!(
            "{time:9.3} [{number} {name}, run {run}] {message}"
        )),
        _ => print(format_args!("{time:9.3} {message}")),
    }
}

/// A line on standard output. If that fails, which `println!` takes for a bug, there is nobody left
/// to run for.
fn print(line: Arguments<'_>) {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => {}
        // A reader that has seen enough, `head` for example, is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            complain(&format!("cannot write to standard output: {error}"));
            process::exit(FAILURE.into());
        }
    }
}

fn complain(message: &str) {
    // Where standard error is closed, the status has to do.
    let _ = writeln!(io::stderr(), "timers: {message}");
}
