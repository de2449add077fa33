//! What is printed and written.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::sampling::{Outcome, Row, Unit};

/// A line on a terminal that says which row is measured; nothing elsewhere.
pub(crate) fn progress(rows: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}");
    ProgressBar::new(rows as u64).with_style(style.expect("the template is right"))
}

/// One JSON object a line.
pub(crate) struct Json(BufWriter<File>);

impl Json {
    pub(crate) fn create(path: &Path) -> io::Result<Json> {
        File::create(path).map(BufWriter::new).map(Json)
    }

    /// A row is there as soon as it is measured, whatever becomes of the next one.
    pub(crate) fn write(&mut self, outcomes: &[Outcome]) -> io::Result<()> {
        for outcome in outcomes {
            let object = json!({
                "row": outcome.row,
                "peer": outcome.peer,
                "ours_ns": outcome.ours,
                "peer_ns": outcome.theirs,
                "ratio": outcome.ratio,
                "spread": outcome.spread,
                "unit": outcome.unit.name(),
                "pairs": outcome.pairs,
            });
            writeln!(self.0, "{object}")?;
        }
        self.0.flush()
    }
}

pub(crate) fn print_table(rows: &[(&Row, Vec<Outcome>)]) {
    let mut unit = None;
    for (row, outcomes) in rows {
        if unit != Some(row.unit) {
            unit = Some(row.unit);
            println!(
                "\n{:30} {:20} {:>10} {:>10}   ratio",
                row.unit.name(),
                "peer",
                "ours",
                "theirs"
            );
        }
        println!("{}: {}", row.name, row.about);
        for outcome in outcomes {
            print_outcome(outcome);
        }
    }
}

fn print_outcome(outcome: &Outcome) {
    let digits = match outcome.unit {
        Unit::Nanoseconds if outcome.ours.max(outcome.theirs) < 1000.0 => 2,
        Unit::Nanoseconds => 0,
        Unit::Bytes | Unit::Allocations => 1,
    };
    let times = if outcome.peer == "floor" {
        " times the floor"
    } else {
        ""
    };
    println!(
        "{:30} {:20} {:>10.digits$} {:>10.digits$}   {:.3} ± {:.3}{times}",
        "", outcome.peer, outcome.ours, outcome.theirs, outcome.ratio, outcome.spread
    );
}
