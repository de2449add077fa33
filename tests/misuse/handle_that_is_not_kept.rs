//! Dropping a handle lets the task go; that is to be said, by `detach`.
#![deny(unused_must_use)]

use aiocontextvars::shim;

fn main() {
    shim::spawn(async {});
}
