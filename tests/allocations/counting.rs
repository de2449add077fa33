//! An allocator that counts.
#![allow(
    unsafe_code,
    reason = "an allocator that counts cannot be written without"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// What this thread has allocated and not freed, in bytes, and the most that it was.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

static PROCESS: AtomicU64 = AtomicU64::new(0);

fn add_live(bytes: isize) {
    LIVE.set(LIVE.get() + bytes);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

// SAFETY: every method hands its arguments on to `System` unchanged, and its result back; the
// counters are an atomic and thread-locals without destructors, and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        PROCESS.fetch_add(1, Ordering::Relaxed);
        add_live(layout.size() as isize);
        // SAFETY: the caller's promises about `layout` are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add_live(-(layout.size() as isize));
        // SAFETY: `pointer` came from `System` by `alloc`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Keeps other tests out until the guard goes: the counts of all threads are those of all tests.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TESTS: Mutex<()> = Mutex::new(());
    TESTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often this thread has allocated.
pub(crate) fn by_this_thread() -> u64 {
    ALLOCATIONS.get()
}

/// How often the threads of this process have allocated.
#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std"))]
pub(crate) fn by_all_threads() -> u64 {
    PROCESS.load(Ordering::Relaxed)
}

/// How often this thread allocates in `f`.
pub(crate) fn count(f: impl FnOnce()) -> u64 {
    let before = by_this_thread();
    f();
    by_this_thread() - before
}

/// How many bytes more than at its start this thread has at once in `f`.
pub(crate) fn peak(f: impl FnOnce()) -> isize {
    let before = LIVE.get();
    PEAK.set(before);
    f();
    PEAK.get() - before
}

/// What this thread has allocated and not freed while `f` ran, in bytes.
pub(crate) fn left(f: impl FnOnce()) -> isize {
    let before = LIVE.get();
    f();
    LIVE.get() - before
}
