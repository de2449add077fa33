//! How every mutex is locked here.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks it, whether or not a panic has poisoned it: the work panics on purpose.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
