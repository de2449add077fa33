//! All rows, and measuring them.

use std::env;
use std::process::ExitCode;
use std::time::Instant;

mod allocations;
mod allocator;
mod callbacks;
mod carriers;
mod command;
mod parked;
mod polls;
mod python;
mod rayon_jobs;
mod reads;
mod report;
mod sampling;
mod spawning;
mod threads;
mod writes;

use self::command::Command;
use self::report::Json;
use self::sampling::Row;

/// Times first, then counts.
const ROWS: [&[Row]; 8] = [
    reads::ROWS,
    writes::ROWS,
    polls::ROWS,
    spawning::ROWS,
    rayon_jobs::ROWS,
    callbacks::ROWS,
    parked::ROWS,
    allocations::ROWS,
];

fn all() -> Vec<&'static Row> {
    ROWS.into_iter().flatten().collect()
}

pub(crate) fn main() -> ExitCode {
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
        Command::Measure { rows, json } => {
            let json = json.map(|path| {
                Json::create(&path).map_err(|error| format!("{}: {error}", path.display()))
            });
            let measured = json.transpose().and_then(|json| {
                measure(&rows, json).map_err(|error| format!("cannot write: {error}"))
            });
            if let Err(message) = measured {
                eprintln!("peers: {message}");
                return ExitCode::FAILURE;
            }
        }
    }
    python::stop();
    ExitCode::SUCCESS
}

fn measure(rows: &[&'static Row], mut json: Option<Json>) -> std::io::Result<()> {
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
    Ok(())
}
