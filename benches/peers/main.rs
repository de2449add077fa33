//! This crate's speed and memory, measured beside its peers'.
//!
//! `cargo bench -p peers` measures everything and takes a few minutes; `cargo bench -p peers -- --help` says more.
//!
//! # Method
//!
//! One process measures all. Of each row, ours and a peer's take samples in turns, so that a
//! machine that is slow for a moment is slow for both, and what is reported is the median of the
//! ratios of neighbours, with half the distance between their quartiles. The rows `get_u64_1` /
//! `self` and `noise_…` compare something with itself: what they differ from 1 is the machine's
//! doing.
//!
//! Keys, values and results pass through `black_box`, in the same places on both sides. What has no
//! name of its own among the peers (setting a value, say) is compared with what they have for the
//! purpose (a scope with another value). Where a row is about what is added to something (a poll),
//! that is measured right after each sample, and subtracted.
//!
//! The peer `floor` is what no implementation can do without: a load from the thread's locals for a
//! read, an increment and a decrement of an atomic for a copy, an allocation for a value that is
//! set.

mod allocations;
mod allocator;
mod callbacks;
mod carriers;
mod command;
mod events;
mod parked;
mod polls;
mod python;
mod rayon_jobs;
mod reads;
mod report;
mod sampling;
mod spans;
mod spawning;
mod targets;
mod threads;
mod writes;

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use crate::command::Command;
use crate::report::Json;
use crate::sampling::{Outcome, Row};

/// Times first, then counts.
const ROWS: [&[Row]; 10] = [
    reads::ROWS,
    writes::ROWS,
    polls::ROWS,
    spawning::ROWS,
    rayon_jobs::ROWS,
    callbacks::ROWS,
    parked::ROWS,
    allocations::ROWS,
    events::ROWS,
    spans::ROWS,
];

fn all() -> Vec<&'static Row> {
    ROWS.into_iter().flatten().collect()
}

fn main() -> ExitCode {
    let command = match command::parse(env::args_os().skip(1), &all()) {
        Ok(command) => command,
        Err(message) => {
            eprintln!("peers: {message}");
            return ExitCode::from(2);
        }
    };
    match command {
        Command::Help => println!("{}", command::HELP),
        Command::List => {
            for row in all() {
                println!("{:30} {} ({})", row.name, row.about, row.unit.name());
            }
        }
        Command::Test(rows) => {
            rows.iter().for_each(|row| row.try_out());
            println!("{} rows work", rows.len());
        }
        Command::Measure {
            rows,
            json,
            targets,
        } => {
            let json = json.map(|path| {
                Json::create(&path).map_err(|error| format!("{}: {error}", path.display()))
            });
            let measured = json.transpose().and_then(|json| {
                measure(&rows, json).map_err(|error| format!("cannot write: {error}"))
            });
            let is_good = match measured {
                Ok(measured) => !targets || targets::check(&measured),
                Err(message) => {
                    eprintln!("peers: {message}");
                    false
                }
            };
            if !is_good {
                python::stop();
                return ExitCode::FAILURE;
            }
        }
    }
    python::stop();
    ExitCode::SUCCESS
}

type Measured = Vec<(&'static Row, Vec<Outcome>)>;

fn measure(rows: &[&'static Row], mut json: Option<Json>) -> std::io::Result<Measured> {
    let start = Instant::now();
    let progress = report::progress(rows.len());
    let mut measured = Vec::new();
    for row in rows {
        progress.set_message(row.name);
        let outcomes = row.measure();
        if let Some(json) = &mut json {
            json.write(&outcomes)?;
        }
        measured.push((*row, outcomes));
        progress.inc(1);
    }
    progress.finish_and_clear();
    report::print_table(&measured);
    println!("\n{} rows in {:.0?}", rows.len(), start.elapsed());
    Ok(measured)
}
