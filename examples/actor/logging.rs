//! Log lines that know whose request they are about, and a reader that checks whether they do.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use env_logger::{Builder, Target};
use log::LevelFilter;

use crate::Tally;
use crate::shop::REQUEST_ID;

/// Reads the log lines, all of which end in the number of the order that they are about. That is
/// the id of its request, and has to be the one in front.
#[derive(Clone)]
pub(crate) struct Lines {
    tally: Arc<Mutex<Tally>>,
    shows: bool,
}

impl Lines {
    /// Logs each line with the id that the code which logs sees.
    pub(crate) fn log(shows: bool) -> Result<Lines, String> {
        let lines = Lines {
            tally: Arc::default(),
            shows,
        };
        Builder::new()
            .filter_module("actor", LevelFilter::Info)
            .format(|out, record| {
                let id = REQUEST_ID.get().map_or("-".to_owned(), |id| id.to_string());
                writeln!(out, "{} request={id} {}", record.level(), record.args())
            })
            .target(Target::Pipe(Box::new(lines.clone())))
            .try_init()
            .map_err(|error| format!("cannot log: {error}"))?;
        Ok(lines)
    }

    /// What there was since the last time.
    pub(crate) fn take(&self) -> Tally {
        mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Lines {
    /// The logger hands over whole lines.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        for line in String::from_utf8_lossy(text).lines() {
            let id = line.split("request=").nth(1).and_then(first_word);
            tally.count(id.is_some() && id == line.rsplit(' ').next());
        }
        if self.shows {
            // Where standard error is closed, the lines are checked all the same.
            let _ = io::stderr().write_all(text);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn first_word(text: &str) -> Option<&str> {
    text.split(' ').next()
}
