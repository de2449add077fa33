//! The system's allocator without the part whose work depends on addresses.
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

/// What each of the system's blocks is aligned to.
const ORDINARY: usize = 16;

/// A block of the system's with room for one of this layout, and for a pointer before it.
///
/// tokio aligns tasks to 128 bytes, and what the system's allocator does for that depends on where
/// it happens to be.
fn around(layout: Layout) -> Option<Layout> {
    let size = layout.size().checked_add(layout.align())?;
    Layout::from_size_align(size, ORDINARY).ok()
}

// SAFETY: ordinary layouts are the system's. Others are given the first place in a larger block
// that is aligned as wanted and is not its start: so there is room before it for a pointer, where
// the start is kept until it is freed.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ORDINARY {
            // SAFETY: the caller's promises about `layout` are those that `System` asks for.
            return unsafe { System.alloc(layout) };
        }
        let Some(block) = around(layout) else {
            return std::ptr::null_mut();
        };
        // SAFETY: the alignment has been added to the size, so it is not zero.
        let start = unsafe { System.alloc(block) };
        if start.is_null() {
            return start;
        }
        let place = start.map_addr(|start| (start & !(layout.align() - 1)) + layout.align());
        // SAFETY: both are multiples of `ORDINARY`, and `place` is behind `start`, by
        // `layout.align()` at most.
        unsafe { place.cast::<*mut u8>().sub(1).write(start) };
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        let (start, block) = match around(layout) {
            // SAFETY: `alloc` has written it.
            Some(block) if layout.align() > ORDINARY => unsafe {
                (place.cast::<*mut u8>().sub(1).read(), block)
            },
            _ => (place, layout),
        };
        // SAFETY: `start` came from `System` with this layout.
        unsafe { System.dealloc(start, block) }
    }
}
