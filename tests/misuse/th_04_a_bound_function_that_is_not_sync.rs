//! TH-04: a bound function may be called from several threads where what it binds may be.

use std::cell::Cell;
use std::thread;

use aiocontextvars::shim;

fn main() {
    let calls = Cell::new(0);
    let count = shim::bind_fn(move |n| calls.set(calls.get() + n));
    thread::scope(|scope| {
        scope.spawn(|| count(1));
    });
}
