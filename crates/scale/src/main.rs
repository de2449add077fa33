//! How costs grow: over the variables of a context, over the tasks that are parked at once, and
//! over generations of tasks of which each spawns the next. A table, and plots as SVG.
//!
//! ```sh
//! cargo run --release -p scale
//! ```
//!
//! Where to look: `variables.rs`, `tasks.rs` and `generations.rs` have what is measured.

mod args;
mod chart;
mod generations;
mod measure;
#[path = "../../soak/src/memory.rs"]
mod memory;
mod plot;
mod runtime;
mod table;
mod tasks;
mod variables;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::args::{Command, Options};
use crate::chart::Page;
use crate::measure::Progress;
use crate::runtime::Runtime;

const USAGE: u8 = 2;

fn main() -> ExitCode {
    let options = match args::parse(env::args_os().skip(1)) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Help) => return told(writeln!(io::stdout(), "{}", args::HELP)),
        Err(message) => return fail(&message, ExitCode::from(USAGE)),
    };
    match run(&options) {
        Ok(outcome) => told(outcome),
        Err(message) => fail(&message, ExitCode::FAILURE),
    }
}

/// How many figures there are.
fn figures(options: &Options) -> usize {
    options.variables().len() * (variables::OPERATIONS + Runtime::ALL.len())
        + options.tasks().len() * tasks::curves()
        + options.generations().len() * generations::curves()
}

/// Measures, draws and prints. The error is a message; that of standard output is apart.
fn run(options: &Options) -> Result<io::Result<()>, String> {
    let out = &options.out;
    check_writable(out)?;
    let progress = Progress::new(figures(options));
    let pages = [
        variables::measure(options, &progress),
        tasks::measure(options, &progress),
        generations::measure(options, &progress)?,
    ];
    progress.end();
    for page in &pages {
        let path = out.join(page.file);
        fs::write(&path, plot::draw(page)).map_err(|error| cannot_write(&path, &error))?;
    }
    Ok(pages.iter().try_for_each(|page| tell(page, out)))
}

fn tell(page: &Page, out: &Path) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let path = out.join(page.file);
    writeln!(
        stdout,
        "{}\n{}: {}\n",
        table::of(page),
        page.title,
        path.display()
    )
}

/// Before minutes of work: whether files can be made in `out`, which is made if it is not there.
fn check_writable(out: &Path) -> Result<(), String> {
    let probe = out.join(".scale");
    fs::create_dir_all(out)
        .and_then(|()| fs::write(&probe, ""))
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|error| cannot_write(out, &error))
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("cannot write to {}: {error}", path.display())
}

fn told(outcome: io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has seen enough, `head` for example, is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(
            &format!("cannot write to standard output: {error}"),
            ExitCode::FAILURE,
        ),
    }
}

fn fail(message: &str, status: ExitCode) -> ExitCode {
    // Where standard error is closed, the status has to do.
    let _ = writeln!(io::stderr(), "scale: {message}");
    status
}
