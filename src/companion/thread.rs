//! Whether companions may be called on this thread now.

use std::cell::Cell;

/// None of it has a destructor, so that it is there as long as the thread is.
struct ThreadUse {
    use_: Cell<Use>,
    is_capturing: Cell<bool>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Use {
    /// No companion was called yet.
    None,
    Some,
    /// The thread exits: thread-locals of theirs may be gone.
    Over,
}

thread_local! {
    static STATE: ThreadUse = const {
        ThreadUse {
            use_: Cell::new(Use::None),
            is_capturing: Cell::new(false),
        }
    };
    static EXIT: Exit = const { Exit };
}

/// Is dropped before the thread-locals that were made before it.
struct Exit;

impl Drop for Exit {
    fn drop(&mut self) {
        thread_exits();
    }
}

/// From now on no companion is called on this thread.
pub(crate) fn thread_exits() {
    STATE.with(|state| state.use_.set(Use::Over));
}

/// Whether a companion may be called.
#[inline]
pub(super) fn may_call() -> bool {
    STATE.with(|state| state.use_.get() != Use::Over)
}

/// Whether companions were called on this thread and may still be.
#[inline]
pub(super) fn has_called() -> bool {
    STATE.with(|state| state.use_.get() == Use::Some)
}

/// Notes that companions have been called, which have made their thread-locals by then: they are
/// not called when those may be gone.
#[inline]
pub(super) fn called() {
    STATE.with(|state| {
        if state.use_.get() == Use::None {
            state.use_.set(Use::Some);
            if EXIT.try_with(|_| ()).is_err() {
                state.use_.set(Use::Over);
            }
        }
    });
}

/// Calls `f`, which captures, unless this is within such a call. It does not panic.
pub(super) fn capturing<R>(f: impl FnOnce() -> R) -> Option<R> {
    STATE.with(|state| {
        if state.is_capturing.replace(true) {
            return None;
        }
        let result = f();
        state.is_capturing.set(false);
        Some(result)
    })
}
