//! Words that a signal handler may change, and the thread-locals without a destructor that they are
//! in.

use std::cell::{RefCell, UnsafeCell};
use std::mem::{self, ManuallyDrop};
use std::ptr;
use std::sync::atomic::{Ordering, compiler_fence};

use crate::sync::LocalKey;

/// What a thread-local without a destructor holds. Unlike in a call of [`LocalKey::with`], what is
/// done with it can be inlined where it is done.
///
/// # Safety
///
/// `L` is not `Sync`, so that the reference cannot leave the thread.
#[inline]
pub(super) unsafe fn here<L>(key: &'static LocalKey<L>) -> &'static L {
    const { assert!(!mem::needs_drop::<L>()) };
    let pointer = key.with(ptr::from_ref);
    // SAFETY: as it has no destructor, it is there for as long as code of the thread runs, and is
    // never written again as a whole; and the reference stays on the thread, as the caller
    // promises. (Where thread-locals are keys of the operating system, as in a program for Windows
    // by MinGW, it is freed at the thread's exit, between two destructors and inside of none. No
    // call that has the reference goes on after that.)
    unsafe { &*pointer }
}

/// The same for a cell.
#[inline]
pub(crate) fn cell_here<T>(
    key: &'static LocalKey<RefCell<ManuallyDrop<T>>>,
) -> &'static RefCell<ManuallyDrop<T>> {
    // SAFETY: a `RefCell` is not `Sync`.
    unsafe { here(key) }
}

/// A word that a signal handler on this thread may read or change between any two instructions.
/// Each access takes place once, and in order with those of other such cells.
pub(super) struct VolatileCell<T: Copy>(UnsafeCell<T>);

impl<T: Copy> VolatileCell<T> {
    pub(super) const fn new(value: T) -> VolatileCell<T> {
        VolatileCell(UnsafeCell::new(value))
    }

    #[inline]
    pub(super) fn get(&self) -> T {
        // SAFETY: the pointer is that of a valid `T`. Nobody else accesses it meanwhile: the cell
        // is not `Sync`, it gives out no references, and a handler does not interrupt the access of
        // a word (see the head of `raw.rs` for what is two).
        unsafe { self.0.get().read_volatile() }
    }

    /// The same for a cell that every handler puts back: it does not matter when it is read.
    #[inline]
    pub(super) fn get_put_back(&self) -> T {
        // SAFETY: as in `get`.
        unsafe { self.0.get().read() }
    }

    #[inline]
    pub(super) fn set(&self, value: T) {
        // SAFETY: as in `get`.
        unsafe { self.0.get().write_volatile(value) }
    }
}

/// Puts the former value of a cell back when dropped.
pub(super) struct PutBack<'a, T: Copy> {
    cell: &'a VolatileCell<T>,
    before: T,
}

impl<'a, T: Copy> PutBack<'a, T> {
    /// Sets nothing now, and the cell to `before` when this is dropped.
    #[inline]
    pub(super) fn later(cell: &'a VolatileCell<T>, before: T) -> PutBack<'a, T> {
        PutBack { cell, before }
    }

    /// Sets the cell to `value` until this is dropped. What was stored before is there by then.
    #[inline]
    pub(super) fn new(cell: &'a VolatileCell<T>, value: T) -> PutBack<'a, T> {
        PutBack::of(cell, cell.get(), value)
    }

    /// The same for a cell in which `before` was found.
    #[inline]
    pub(super) fn of(cell: &'a VolatileCell<T>, before: T, value: T) -> PutBack<'a, T> {
        compiler_fence(Ordering::Release);
        cell.set(value);
        PutBack { cell, before }
    }
}

impl<T: Copy> Drop for PutBack<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.cell.set(self.before);
    }
}
