//! How a thread waits that has nothing to run.

use std::sync::{Arc, PoisonError};
use std::task;

use crate::shim::platform::Instant;
use crate::sync::{Condvar, Mutex};

/// Parks a thread; as a waker, unparks it.
#[derive(Default)]
pub(crate) struct Parker {
    unparked: Mutex<bool>,
    condvar: Condvar,
}

impl Parker {
    /// Returns when unparked, or at `when`.
    ///
    /// # Panics
    ///
    /// Where there are no other threads and so nobody who could unpark this one, unless it is
    /// unparked already.
    #[cfg(all(target_family = "wasm", not(target_feature = "atomics")))]
    pub(crate) fn park_until(&self, when: Option<Instant>) {
        let mut unparked = self.unparked.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *unparked, false) {
            drop(unparked);
            match when {
                // A browser does not let its thread sleep.
                Some(when) if cfg!(not(target_os = "unknown")) => {
                    std::thread::sleep(when.saturating_duration_since(Instant::now()));
                }
                _ => panic!(
                    "all that is left to run waits, and this target has no other thread that could wake it; spawn the future \
                     on the platform's own event loop instead"
                ),
            }
        }
    }

    /// Returns when unparked, or at `when`.
    #[cfg(not(all(target_family = "wasm", not(target_feature = "atomics"))))]
    pub(crate) fn park_until(&self, when: Option<Instant>) {
        let mut unparked = self.unparked.lock().unwrap_or_else(PoisonError::into_inner);
        while !*unparked {
            unparked = match when {
                None => self
                    .condvar
                    .wait(unparked)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(when) => {
                    let left = when.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    self.condvar
                        .wait_timeout(unparked, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        *unparked = false;
    }
}

impl task::Wake for Parker {
    fn wake(self: Arc<Self>) {
        *self.unparked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.condvar.notify_one();
    }
}
