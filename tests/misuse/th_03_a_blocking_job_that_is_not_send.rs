//! TH-03: a blocking job runs on another thread.

use std::rc::Rc;

use aiocontextvars::shim;

fn main() {
    let level = Rc::new(1);
    shim::spawn_blocking(move || drop(level)).detach();
}
