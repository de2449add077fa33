//! Dropping values that contain contexts, tokens or messages, whose values contain more: without
//! recursion beyond a few levels, since such a chain may be longer than the machine stack.
//!
//! ```text
//! level 1 … DIRECT      dropped where they are found, each within the one that contains it
//! below level DIRECT    put on a list, which the drop at that level works off when it has done its own
//! ```

use std::cell::{Cell, RefCell};
use std::mem::{self, ManuallyDrop};
use std::ptr::NonNull;

use triomphe::Arc;

use crate::catch::{catch, in_destructor};
use crate::context::Context;
use crate::current;
use crate::raw::{Dispose, cell_here};
use crate::sync::thread_local;
use crate::value::AnyValue;

/// So many values that contain each other are dropped by recursion, as drops of Rust's own are.
const DIRECT: u32 = 16;

/// A value that is to be dropped, and the frame that it was found in.
struct Deferred {
    value: Arc<dyn AnyValue>,
    frame: NonNull<Context>,
}

std::thread_local! {
    /// How many drops of values this thread is in.
    static LEVEL: Cell<u32> = const { Cell::new(0) };
}

thread_local! {
    /// What the drop at level `DIRECT` has to do. Without a destructor, so that values can be
    /// dropped as long as the thread runs; an empty `Vec` owns nothing.
    static DEFERRED: RefCell<ManuallyDrop<Vec<Deferred>>> = const { RefCell::new(ManuallyDrop::new(Vec::new())) };
}

impl Dispose for Arc<dyn AnyValue> {
    #[inline]
    fn dispose(self) {
        // Others may drop theirs meanwhile: then the last of them recurses without being counted,
        // by one level.
        if !self.is_unique() {
            return drop(self);
        }
        let level = LEVEL.get();
        if level == DIRECT {
            return defer(self);
        }
        LEVEL.set(level + 1);
        // Dropped last, also if the value's destructor panics.
        let _leave = Leave(level);
        drop(self);
    }
}

/// Leaves a level, having done what was deferred there.
struct Leave(u32);

impl Drop for Leave {
    #[inline]
    fn drop(&mut self) {
        if self.0 + 1 == DIRECT {
            work_off();
        }
        LEVEL.set(self.0);
    }
}

#[cold]
fn defer(value: Arc<dyn AnyValue>) {
    let frame = current::address();
    match cell_here(&DEFERRED).try_borrow_mut() {
        Ok(mut deferred) => deferred.push(Deferred { value, frame }),
        // An allocator that drops a value while the list grows.
        Err(_) => drop(value),
    }
}

fn next() -> Option<Deferred> {
    let mut deferred = cell_here(&DEFERRED).borrow_mut();
    deferred.pop()
}

/// Drops all that was deferred, also if a destructor panics.
#[cold]
fn work_off() {
    struct Rest {
        frame: NonNull<Context>,
        outer_level: u32,
    }
    impl Drop for Rest {
        fn drop(&mut self) {
            // After a panic: another one has nowhere to go. Or put there by an allocator, while
            // the list was freed.
            while let Some(deferred) = next() {
                catch(|| deferred.drop_in(self.frame));
            }
            LEVEL.set(self.outer_level);
        }
    }
    let rest = Rest {
        frame: current::address(),
        outer_level: DIRECT - 1,
    };
    while let Some(deferred) = next() {
        in_destructor(|| deferred.drop_in(rest.frame));
    }
    let list = mem::take(&mut **cell_here(&DEFERRED).borrow_mut());
    drop(list);
}

impl Deferred {
    /// Drops the value in the frame that it was found in, if that is the innermost one; otherwise
    /// in an empty context, as the values of work that has ended are. (The innermost frame has been
    /// there since before the first value was deferred, so no other had its address meanwhile.)
    fn drop_in(self, innermost: NonNull<Context>) {
        if self.frame == innermost {
            drop(self.value);
        } else {
            current::enter_empty(|| drop(self.value));
        }
    }
}
