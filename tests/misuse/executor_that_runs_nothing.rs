//! What an executor drops is cancelled, so that forgetting to run it is told.
#![deny(unused_must_use)]

use aiocontextvars::shim::Runnable;

fn next(tasks: &mut Vec<Runnable>) -> Runnable {
    tasks.remove(0)
}

fn main() {
    next(&mut Vec::new());
}
