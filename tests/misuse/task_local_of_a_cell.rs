//! A task that is spawned inside of a scope shares the value of a task-local.

use std::cell::Cell;

use aiocontextvars::task_local;

task_local! {
    static LEVEL: Cell<u8>;
}

fn main() {
    LEVEL.sync_scope(Cell::new(1), || LEVEL.with(|level| level.set(2)));
}
