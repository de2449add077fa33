//! Every runtime at once in one process, with random work on each, and a check of every context
//! that is seen.
//!
//! ```sh
//! cargo run --release -p soak -- --seconds 60
//! cargo run --release -p soak -- --parked 1000000
//! ```
//!
//! Requests are spawned on tokio (three ways), async-std, smol (three ways), the event loop, the
//! pools of `futures` and a closure. Each is a random program of tasks and their children,
//! callbacks, timers, blocking jobs, threads, groups, guards, shared contexts, work on one of the
//! other runtimes, aborts and panics; and some runtimes are dropped in the middle of it. Every unit
//! of work knows whose context it must see, and what a companion has current beside it: at its
//! start, after each step, in its destructor. At the end all units, all values and all memory have
//! to be gone.
//!
//! Where to look: `truth.rs` has what is checked, `programs.rs` the programs.

mod across;
mod ambient;
mod args;
mod calls;
mod contexts;
mod drive;
mod groups;
mod handles;
mod ledger;
mod lock;
mod memory;
#[path = "../../../examples/common/options.rs"]
mod options;
mod output;
mod parked;
mod play;
mod programs;
mod report;
mod round;
mod runtime;
mod shared;
mod soak;
mod tasks;
mod threads;
mod truth;
mod units;

use std::env;
use std::io;
use std::process::ExitCode;

use crate::args::Command;
use crate::report::complain;

const USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = match args::parse(env::args_os().skip(1)) {
        Ok(command) => command,
        Err(message) => return fail(&message, ExitCode::from(USAGE)),
    };
    let outcome = match command {
        Command::Help => report::print(format_args!("{}", args::HELP)).map(|()| true),
        Command::Soak(options) => soak::run(&options),
        Command::Parked(tasks) => parked::run(tasks),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // A reader that has seen enough, `head` for example, is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(
            &format!("cannot write to standard output: {error}"),
            ExitCode::FAILURE,
        ),
    }
}

fn fail(message: &str, status: ExitCode) -> ExitCode {
    complain(message);
    status
}
