//! What costs no allocation, counted.
#![allow(
    unsafe_code,
    reason = "an allocator that counts cannot be written without"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::TimerHandle;
use aiocontextvars::{Context, ContextExt, ContextVar, SharedContext, context_var, copy_context};
use futures::FutureExt;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// What this thread has allocated and not freed, in bytes, and the most that it was.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn add_live(bytes: isize) {
    LIVE.set(LIVE.get() + bytes);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

// SAFETY: every method hands its arguments on to `System` unchanged, and its result back; the counters are
// thread-locals without destructors and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
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

fn count(f: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

context_var! {
    static ID: u64;
    static LOCALE: &'static str = "en";
}

/// Contexts with 1, 100 and 10,000 variables.
fn contexts() -> Vec<Context> {
    let vars: Vec<ContextVar<usize>> = (0..10_000)
        .map(|n| ContextVar::named(n.to_string()))
        .collect();
    let of_size = |size| {
        let mut context = Context::new().with_value(&ID, 1);
        context.run(|| {
            for (n, var) in vars.iter().take(size).enumerate() {
                var.set(n);
            }
        });
        context
    };
    vec![of_size(0), of_size(99), of_size(9_999)]
}

#[test]
fn cc_02_a_copy_allocates_nothing_at_any_size() {
    for mut context in contexts() {
        context.run(|| {
            assert_eq!(count(|| drop(copy_context())), 0);
        });
        assert_eq!(count(|| drop(context.clone())), 0);
    }
}

#[test]
fn reading_and_running_allocate_nothing() {
    // A default is computed once.
    assert_eq!(LOCALE.get(), Some("en"));
    for mut context in contexts() {
        let counted = count(|| {
            context.run(|| {
                assert_eq!((ID.get(), LOCALE.get()), (Some(1), Some("en")));
                assert_eq!(ID.with(|id| id.copied()), Some(1));
                assert_eq!(ID.get_or(2), 1);
            });
        });
        assert_eq!(counted, 0);
        let future = async { ID.get() };
        let counted = count(|| {
            let future = future.in_context(context);
            assert_eq!(future.now_or_never(), Some(Some(1)));
        });
        assert_eq!(counted, 0);
    }
}

#[test]
fn a_wrapped_future_is_two_words_larger() {
    let word = 7_usize;
    let future = async move {
        std::future::ready(()).await;
        word
    };
    let size = size_of_val(&future);
    assert_eq!(size % size_of::<usize>(), 0, "no room for padding");
    let wrapped = future.in_context(Context::new());
    assert_eq!(size_of_val(&wrapped), size + 16);
    let shared = wrapped.into_inner().in_context(SharedContext::new());
    assert_eq!(size_of_val(&shared), size + 16);
    assert_eq!(size_of::<Context>(), 16);
}

#[test]
fn hd_03_a_million_cancelled_timers_take_the_room_of_a_few() {
    let event_loop = EventLoop::new();
    let kept: Vec<_> = (0..100)
        .map(|_| event_loop.call_later(Duration::from_secs(3600), || ()))
        .collect();
    ID.set(1);
    // Cancelled at once, and by the hundred.
    for at_a_time in [1, 100] {
        let before = LIVE.get();
        PEAK.set(before);
        for _ in 0..1_000_000 / at_a_time {
            let timers: Vec<_> = (0..at_a_time)
                .map(|n| event_loop.call_later(Duration::from_secs(60 + n), || ()))
                .collect();
            timers.iter().for_each(TimerHandle::cancel);
        }
        let room = PEAK.get() - before;
        assert!(room < 100_000, "{room} bytes, {at_a_time} at a time");
    }
    drop(event_loop);
    kept.iter().for_each(TimerHandle::cancel);
}
