//! The panic hook while a suite runs: panics of rows are in its report, and are not printed as
//! well.

use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use crate::harness::message;

/// How many suites run.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Messages and places of the suite's panics since [`forget`], on any thread: a task's panic comes
/// to the row that awaits it without its place.
static PLACES: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

fn places() -> MutexGuard<'static, Vec<(String, String)>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the source of the suite is, as the places of panics have it.
fn home() -> &'static str {
    file!().trim_end_matches("hook.rs")
}

fn in_the_suite(info: &PanicHookInfo<'_>) -> Option<String> {
    let place = info.location()?;
    let file = place.file().strip_prefix(home())?;
    Some(format!("crates/conformance/src/{file}:{}", place.line()))
}

/// Notes the panics that come from the suite's source instead of printing them, until dropped.
pub(crate) fn silence() -> Silence {
    static INSTALL: Once = Once::new();
    // It stays: to take it out would race with those who install theirs. Panics from elsewhere go
    // on to the hook before.
    INSTALL.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match in_the_suite(info) {
            Some(place) if is_silent() => {
                places().push((message(info.payload()).to_owned(), place));
            }
            _ => before(info),
        }));
    });
    RUNNING.fetch_add(1, Ordering::SeqCst);
    Silence(())
}

/// Whether a suite runs whose report has what its rows have to say.
pub(crate) fn is_silent() -> bool {
    RUNNING.load(Ordering::SeqCst) > 0
}

#[must_use = "panics are printed again when this is dropped"]
pub(crate) struct Silence(());

impl Drop for Silence {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Forgets the panics so far.
pub(crate) fn forget() {
    places().clear();
}

/// Where the last panic with that message was.
pub(crate) fn place_of(message: &str) -> Option<String> {
    let places = places();
    let found = places.iter().rev().find(|(text, _)| text == message);
    found.map(|(_, place)| place.clone())
}
