//! A place for the waker of whoever waits.

use std::sync::PoisonError;
use std::task::Waker;

use super::{Mutex, MutexGuard};

/// Keeps the waker of the task that waits for something, for those who do it.
///
/// The waiter registers first and then looks; the other side acts first and then wakes: so one of
/// the two sees the other.
#[derive(Default)]
pub(crate) struct WakerCell(Mutex<Option<Waker>>);

impl WakerCell {
    /// Has this task woken, and no other, by the next [`wake`](Self::wake).
    pub(crate) fn register(&self, waker: &Waker) {
        if self
            .lock()
            .as_ref()
            .is_some_and(|registered| registered.will_wake(waker))
        {
            return;
        }
        // A waker may use the crate when it is cloned, and when it is dropped: not under the lock.
        let waker = waker.clone();
        let before = self.lock().replace(waker);
        drop(before);
    }

    /// Wakes the task that is registered. It is not any more then.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.clear() {
            waker.wake();
        }
    }

    /// Has nobody woken any more. Returns who would have been.
    pub(crate) fn clear(&self) -> Option<Waker> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
