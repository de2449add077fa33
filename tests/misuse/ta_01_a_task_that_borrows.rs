//! TA-01: a task may outlive the function that spawned it.

use aiocontextvars::shim;

fn main() {
    let level = 1;
    let borrowed = &level;
    shim::spawn(async move { assert_eq!(*borrowed, 1) }).detach();
}
