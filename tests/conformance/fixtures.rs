//! Variables and probes that the rows share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aiocontextvars::context_var;

context_var! {
    pub(crate) static ID: u64;
    pub(crate) static TENANT: String = "public".to_owned();
}

/// Collects values from several places, in the order of their arrival.
#[derive(Debug)]
pub(crate) struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Log<T> {
    pub(crate) fn new() -> Log<T> {
        Log(Arc::default())
    }

    pub(crate) fn push(&self, value: T) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(value);
    }

    /// What has arrived so far, which is forgotten.
    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Clone for Log<T> {
    fn clone(&self) -> Log<T> {
        Log(Arc::clone(&self.0))
    }
}

/// Notes the value of [`ID`] when it is dropped.
#[derive(Debug)]
pub(crate) struct SeesOnDrop(pub(crate) Log<Option<u64>>);

impl Drop for SeesOnDrop {
    fn drop(&mut self) {
        self.0.push(ID.get());
    }
}

/// Counts drops. A clone counts for itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drops(Arc<AtomicUsize>);

impl Drops {
    pub(crate) fn new() -> Drops {
        Drops::default()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// A value whose drop is counted.
    pub(crate) fn value(&self) -> Counted {
        Counted(Arc::clone(&self.0))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
