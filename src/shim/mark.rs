//! [`Mark`]: what a thread is in the middle of.

use std::cell::Cell;

use crate::sync::LocalKey;

/// Sets a flag of this thread until dropped; then the flag is again what it was.
pub(crate) struct Mark {
    flag: &'static LocalKey<Cell<bool>>,
    before: bool,
}

impl Mark {
    pub(crate) fn set(flag: &'static LocalKey<Cell<bool>>) -> Mark {
        Mark::put(flag, true)
    }

    pub(crate) fn put(flag: &'static LocalKey<Cell<bool>>, value: bool) -> Mark {
        Mark {
            flag,
            before: flag.replace(value),
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.flag.set(self.before);
    }
}
