//! A local executor gets its tasks run on its own thread.

use aiocontextvars::shim::LocalRunnable;

fn elsewhere<T: Send>(_: T) {}

fn schedule_local(task: LocalRunnable) {
    elsewhere(task);
}

fn main() {}
