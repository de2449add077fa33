//! An executor is entered on one thread, and left there.

use aiocontextvars::shim::EnterGuard;

fn elsewhere<T: Send>(_: T) {}

fn leave(guard: EnterGuard<'static>) {
    elsewhere(guard);
}

fn main() {}
