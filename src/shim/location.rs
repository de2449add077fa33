//! Where the task that runs on this thread was spawned, as it has said itself: for those who find that it was slow.

use std::cell::Cell;
use std::panic::Location;

thread_local! {
    static ANNOUNCED: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
}

pub(crate) fn announce(location: Option<&'static Location<'static>>) {
    ANNOUNCED.set(location);
}

/// What was announced last.
pub(crate) fn announced() -> Option<&'static Location<'static>> {
    ANNOUNCED.get()
}
