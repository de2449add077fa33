//! [`Stack`]: values that calls on this thread have pushed.

use std::ptr;

use super::cell::{PutBack, VolatileCell, here};
use crate::sync::LocalKey;

/// Values that calls on this thread have pushed, each for the time of its call. Nothing is
/// allocated.
pub(crate) struct Stack<T: 'static> {
    /// Null if there is none.
    innermost: VolatileCell<*const Pushed<T>>,
}

struct Pushed<T> {
    value: T,
    outer: *const Pushed<T>,
}

impl<T: Copy + 'static> Stack<T> {
    pub(crate) const fn new() -> Stack<T> {
        Stack {
            innermost: VolatileCell::new(ptr::null()),
        }
    }

    /// That of this thread.
    pub(crate) fn here(key: &'static LocalKey<Stack<T>>) -> &'static Stack<T> {
        // SAFETY: `Stack` has a cell, so it is not `Sync`.
        unsafe { here(key) }
    }

    /// Calls `f` while `value` is on the stack.
    pub(crate) fn push<R>(&self, value: T, f: impl FnOnce() -> R) -> R {
        let outer = self.innermost.get();
        let pushed = Pushed { value, outer };
        // Dropped before `pushed`.
        let _pop = PutBack::of(&self.innermost, outer, &pushed);
        f()
    }

    /// How many of the values are such ones. `is_such` must not call user code.
    pub(crate) fn count(&self, is_such: impl Fn(T) -> bool) -> usize {
        let (mut count, mut next) = (0, self.innermost.get());
        // SAFETY: if it is not null, it is on the machine stack of a `push` that has not returned.
        // That stays so: a handler that comes in between pops what it pushes.
        while let Some(pushed) = unsafe { next.as_ref() } {
            count += usize::from(is_such(pushed.value));
            next = pushed.outer;
        }
        count
    }
}
