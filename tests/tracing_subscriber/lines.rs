//! A subscriber whose lines are kept.

use std::io;
use std::sync::{Arc, Mutex};

use aiocontextvars::Context;
use tracing::Dispatch;
use tracing::dispatcher::with_default;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// What is written, whatever its lines.
    pub(crate) fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        self.clone()
    }
}

/// What `f` logs in a new context, by the subscriber that `make` makes around the lines.
pub(crate) fn logged<S: Into<Dispatch>>(make: impl FnOnce(Lines) -> S, f: impl FnOnce()) -> String {
    let lines = Lines::default();
    with_default(&make(lines.clone()).into(), || Context::new().run(f));
    lines.take()
}
