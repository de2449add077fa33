//! Values that see in which context they are dropped.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll, Waker};

use aiocontextvars::{Context, context_var, copy_context};

context_var! {
    pub(crate) static ID: u64;
    /// A value that goes with the context.
    pub(crate) static VALUE: Seen;
}

/// Collects what [`ID`] was where its values were dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness(Arc<Mutex<Vec<Option<u64>>>>);

impl Witness {
    pub(crate) fn value(&self) -> Seen {
        Seen(self.clone())
    }

    /// The drops so far, which are forgotten.
    pub(crate) fn take(&self) -> Vec<Option<u64>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A value of a [`Witness`].
#[derive(Debug)]
pub(crate) struct Seen(Witness);

impl Drop for Seen {
    fn drop(&mut self) {
        let id = ID.get();
        let mut drops = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        drops.push(id);
    }
}

/// Which messages, and which values of their contexts, are dropped where.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    pub(crate) messages: Witness,
    pub(crate) values: Witness,
}

impl Fate {
    pub(crate) fn new() -> Fate {
        Fate::default()
    }

    /// A context in which [`ID`] is `id`, and which has a value of its own.
    pub(crate) fn context(&self, id: u64) -> Context {
        Context::new()
            .with_value(&ID, id)
            .with_value(&VALUE, self.values.value())
    }

    /// Calls `f` in such a context. Only what `f` makes of it keeps it.
    pub(crate) fn sent_from<R>(&self, id: u64, f: impl FnOnce() -> R) -> R {
        self.context(id).run(f)
    }

    /// A message has been dropped in its context, with this id, and the context's value in an empty
    /// one.
    #[track_caller]
    pub(crate) fn is_gone(&self, id: u64) {
        self.is(&[Some(id)], &[None]);
    }

    #[track_caller]
    pub(crate) fn is_there(&self) {
        self.is(&[], &[]);
    }

    /// Checks the drops since the last time, and that the receiver's context is as it was: one in
    /// which [`ID`] is 9, and nothing else is set.
    #[track_caller]
    pub(crate) fn is(&self, messages: &[Option<u64>], values: &[Option<u64>]) {
        assert_eq!(self.messages.take(), messages, "messages");
        assert_eq!(self.values.take(), values, "values");
        assert_eq!((ID.get(), copy_context().len()), (Some(9), 1));
    }
}

/// Polls a future for which nobody waits.
pub(crate) fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut task::Context::from_waker(Waker::noop()))
}
