//! Telling what came out.

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::ledger::{Count, LEDGER};
use crate::runtime::Runtime;

pub(crate) fn table() -> io::Result<()> {
    let mut head = format!("{:<20}", "runtime");
    for (_, name) in Count::ALL {
        head += &format!(" {name:>w$}", w = width(name));
    }
    print(format_args!("{head}"))?;
    for runtime in Runtime::ALL {
        let mut row = format!("{:<20}", runtime.name());
        for (count, name) in Count::ALL {
            row += &format!(" {:>w$}", LEDGER.counted(*runtime, count), w = width(name));
        }
        print(format_args!("{row}"))?;
    }
    Ok(())
}

fn width(name: &str) -> usize {
    name.len().max(9)
}

pub(crate) fn json() -> io::Result<()> {
    for runtime in Runtime::ALL {
        print(format_args!("{}", serde_json::to_string(&Line(*runtime))?))?;
    }
    Ok(())
}

/// A row in JSON.
struct Line(Runtime);

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_map(None)?;
        line.serialize_entry("runtime", self.0.name())?;
        for (count, name) in Count::ALL {
            line.serialize_entry(name, &LEDGER.counted(self.0, count))?;
        }
        line.end()
    }
}

/// A line on standard output, or an error where `println!` would panic.
pub(crate) fn print(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// A line on standard error.
pub(crate) fn complain(message: &str) {
    // Where standard error is closed, the status has to do.
    let _ = writeln!(io::stderr(), "soak: {message}");
}

/// Bytes as people read them.
pub(crate) fn mebibytes(bytes: usize) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}
