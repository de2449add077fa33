//! The output of a local task stays on its thread, and so does its handle.

use std::rc::Rc;

use aiocontextvars::shim;

fn elsewhere<T: Send>(_: T) {}

fn main() {
    elsewhere(shim::spawn_local(async { Rc::new(1) }));
}
