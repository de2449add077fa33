//! `shim::rayon`: jobs, scopes, parallel iterators and pools as executors.

#[path = "../../crates/conformance/src/drops.rs"]
mod drops;

mod bare;
mod executor;
mod jobs;
mod panics;
mod parallel;
mod parallel_jobs;
mod stress;

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};

use aiocontextvars::context_var;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::drops::Counted;

context_var! {
    static ID: u64;
    #[local] static CONNECTION: u64;
    /// A value whose drop is counted.
    static HELD: Counted;
}

fn pool(threads: usize) -> ThreadPool {
    let builder = ThreadPoolBuilder::new().num_threads(threads);
    // Of a job that nobody waits for.
    builder.panic_handler(|_| ()).build().unwrap()
}

/// What a bare job finds on a worker: nothing, if those before it left nothing. And those that were
/// given to a pool of one thread before have ended.
#[track_caller]
fn assert_left_nothing(pool: &ThreadPool) {
    let found = pool.broadcast(|_| (ID.get(), CONNECTION.get(), HELD.with(|held| held.is_some())));
    assert!(found.iter().all(|found| *found == (None, None, false)));
}

/// Collects values from several threads.
#[derive(Clone, Debug, Default)]
struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Log<T> {
    fn push(&self, value: T) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.push(value);
    }

    /// What has arrived so far, which is forgotten.
    fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Notes the value of [`ID`] when it is dropped.
struct SeesOnDrop(Log<Option<u64>>);

impl Drop for SeesOnDrop {
    fn drop(&mut self) {
        self.0.push(ID.get());
    }
}

/// The message with which `f` panics.
#[track_caller]
fn panic_of<T>(f: impl FnOnce() -> T) -> &'static str {
    let panicked = panic::catch_unwind(AssertUnwindSafe(f)).err();
    *panicked.expect("it panics").downcast().unwrap()
}
