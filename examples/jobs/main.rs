//! Jobs that run, in other processes, in the context of the request that enqueued them, and a check
//! that they do.
//!
//! An HTTP service enqueues jobs of several tenants, and two workers run them. The tenant and the
//! request's id go along in the headers of a job's message, as in a request to another service; no
//! job says whose it is in its arguments. In memory it needs no server:
//!
//! ```sh
//! cargo run --release -p jobs
//! ```
//!
//! With PostgreSQL or NATS the workers are processes of their own:
//!
//! ```sh
//! bash examples/jobs/servers.sh cargo run --release -p jobs -- --backend postgres
//! bash examples/jobs/servers.sh cargo run --release -p jobs -- --backend nats --kill
//! ```
//!
//! Where to look: `job.rs` has the variables and what a job does, `queue.rs` enqueues in the
//! current context, and `memory.rs`, `postgres.rs` and `nats.rs` have a worker each. The rest is
//! the service (`service.rs`), and what checks all of it.

mod args;
mod drive;
mod job;
mod ledger;
mod memory;
mod nats;
#[path = "../common/options.rs"]
mod options;
mod plan;
mod postgres;
mod queue;
mod report;
mod service;
mod stop;
mod workers;

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::{Command, Engine, Run, Work};
use crate::report::Reporter;
use crate::stop::stop_with_parent;

type BoxError = Box<dyn Error + Send + Sync>;

const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = match args::parse(env::args_os().skip(1)) {
        Ok(args) => args,
        Err(message) => return fail(&message, ExitCode::from(USAGE)),
    };
    if args.bare {
        job::ignore_headers();
    }
    let outcome = match args.command {
        Command::Help => show(args::HELP).map(|()| true),
        Command::Run(run) => drive(&run),
        Command::Work(work) => serve(&work).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(&error.to_string(), ExitCode::FAILURE),
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}

/// Runs a whole system, and tells what came out. Returns whether all was right.
fn drive(run: &Run) -> Result<bool, BoxError> {
    let ran = drive::run(run, &runtime()?)?;
    let tally = &ran.tally;
    show(&format!(
        "{:<9} {:>7} {:>11} {:>12} {:>17} {:>9} {:>6}\n{:<9} {:>7} {:>11} {:>12} {:>17} {:>9} {:>6}",
        "backend",
        "jobs",
        "deliveries",
        "redelivered",
        "in wrong context",
        "problems",
        "lost",
        run.backend.name(),
        tally.jobs,
        tally.deliveries,
        tally.redelivered,
        tally.wrong,
        tally.problems,
        tally.lost,
    ))?;
    for complaint in &ran.complaints {
        show(&format!("wrong: {complaint}"))?;
    }
    if tally.unexpected > 0 {
        show(&format!(
            "wrong: {} problems were not reported, or without a cause",
            tally.unexpected
        ))?;
    }
    Ok(tally.is_clean())
}

/// Is a worker until the service has ended.
fn serve(work: &Work) -> Result<(), BoxError> {
    let Work {
        engine,
        url,
        queue,
        number,
    } = work;
    let reporter = Reporter::to_parent(*number);
    let stop = stop_with_parent();
    runtime()?.block_on(async {
        match engine {
            Engine::Postgres => postgres::work(url, queue, reporter, stop).await,
            Engine::Nats => nats::work(url, queue, reporter, stop).await,
        }
    })
}

/// Writes to standard output. That a reader has seen enough, `head` for example, is no failure.
fn show(text: &str) -> Result<(), BoxError> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn fail(message: &str, status: ExitCode) -> ExitCode {
    // Where standard error is closed, the status has to do.
    let _ = writeln!(io::stderr(), "jobs: {message}");
    status
}
