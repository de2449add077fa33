//! A group that nobody keeps aborts its tasks.
#![deny(unused_must_use)]

use aiocontextvars::shim::TaskGroup;

fn main() {
    TaskGroup::<()>::new();
}
