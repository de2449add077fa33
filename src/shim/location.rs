//! Where the task that runs on this thread was spawned, as it has said itself: for those who find that it was slow.

use std::cell::Cell;
use std::panic::Location;

use crate::sync::thread_local;

thread_local! {
    static ANNOUNCED: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
}

/// Says where the task was spawned that is polled now. Within another one's poll, that one counts.
pub(crate) fn announce(location: &'static Location<'static>) {
    if ANNOUNCED.get().is_none() {
        ANNOUNCED.set(Some(location));
    }
}

/// What was announced first since the last call.
pub(crate) fn take_announced() -> Option<&'static Location<'static>> {
    ANNOUNCED.take()
}
