//! Taking times, and telling how far it is.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A sample takes at least so long, for the clock to matter little.
const SAMPLE: Duration = Duration::from_millis(2);

/// How long one of many takes, in nanoseconds: the least of samples, in each of which `many` does
/// it the given number of times. What else the machine does makes others longer.
pub(crate) fn nanoseconds(samples: usize, mut many: impl FnMut(u64)) -> f64 {
    let mut time = |times| {
        let start = Instant::now();
        many(times);
        start.elapsed()
    };
    let mut times = 1;
    while time(times) < SAMPLE {
        times *= 2;
    }
    let taken = (0..samples).map(|_| time(times).as_nanos() as f64 / times as f64);
    taken.fold(f64::INFINITY, f64::min)
}

/// A bar on the terminal, if there is one.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(steps: usize) -> Progress {
        let bar = ProgressBar::new(steps as u64);
        if let Ok(style) = ProgressStyle::with_template("{msg:<28} {bar:40} {elapsed}") {
            bar.set_style(style);
        }
        Progress(bar)
    }

    /// Takes a figure.
    pub(crate) fn step<R>(&self, name: &str, measure: impl FnOnce() -> R) -> R {
        self.0.set_message(name.to_owned());
        let figure = measure();
        self.0.inc(1);
        figure
    }

    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
