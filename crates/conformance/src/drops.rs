//! Values whose drops are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
