//! An allocator that counts when it is told to.
#![allow(
    unsafe_code,
    reason = "an allocator that counts cannot be written without"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Off, it costs a load and a branch, on both sides of a pair.
static ON: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicI64 = AtomicI64::new(0);
/// What all threads together have allocated and not freed, since it was switched on.
static BYTES: AtomicI64 = AtomicI64::new(0);

fn count(allocations: i64, bytes: i64) {
    if ON.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(allocations, Ordering::Relaxed);
        BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every method hands its arguments on to `System` unchanged, and its result back; what it
// does besides is arithmetic with atomics, which neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller's promises about `layout` are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: `pointer` came from `System` by one of the other methods, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as i64 - layout.size() as i64);
        // SAFETY: `pointer` came from `System` with this layout, and what the caller promises about
        // `size` is what `System` asks for.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What was allocated, by all threads, since `start`.
pub(crate) struct Count {
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
}

pub(crate) fn start() {
    ALLOCATIONS.store(0, Ordering::Relaxed);
    BYTES.store(0, Ordering::Relaxed);
    ON.store(true, Ordering::Relaxed);
}

pub(crate) fn stop() -> Count {
    ON.store(false, Ordering::Relaxed);
    Count {
        allocations: ALLOCATIONS.load(Ordering::Relaxed) as f64,
        bytes: BYTES.load(Ordering::Relaxed) as f64,
    }
}
