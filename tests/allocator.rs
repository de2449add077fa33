//! An allocator that uses the crate: it is called within most operations, and finds the current
//! context in whatever state that is in. It reads a right value or none, what it sets stays or is
//! refused, and nothing aborts.
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{self, Waker};
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::{
    Carried, Context, ContextExt, ContextVar, SetErrorKind, SharedContext, context_var,
    copy_context, in_own_context, inherit_context, shim,
};
use futures::stream::{self, StreamExt};

context_var! {
    static ID: u64;
    #[local] static CONNECTION: u64;
    static LEVEL: u64 = 7;
    static TEXT: String = "a default".to_owned();
    /// Allocates while it is computed.
    static PARSED: u64 = "11".to_owned().parse().unwrap();
    /// Written by the allocator.
    static CALLS: u64;
}

thread_local! {
    /// Whether the allocator looks at the context.
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    /// Whether it is doing so.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// The values that `ID` may have now.
    static EXPECTED: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// A shared context that the allocator copies.
static COPIED: OnceLock<SharedContext> = OnceLock::new();
static COPIES: AtomicU64 = AtomicU64::new(0);

static READS: AtomicU64 = AtomicU64::new(0);
static FOUND: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);

fn look() {
    if !WATCHED.get() || INSIDE.replace(true) {
        return;
    }
    READS.fetch_add(1, Ordering::Relaxed);
    let (from, to) = EXPECTED.get();
    let check = |id: Option<u64>| match id {
        Some(id) if (from..=to).contains(&id) => drop(FOUND.fetch_add(1, Ordering::Relaxed)),
        Some(_) => drop(WRONG.fetch_add(1, Ordering::Relaxed)),
        None => {}
    };
    check(ID.get());
    check(ID.with(|id| id.copied()));
    check(copy_context().get(&ID).copied());
    check(inherit_context().get(&ID).copied());
    if LEVEL.get() != 7 || PARSED.get() != 11 || ID.get_or(from) < from {
        WRONG.fetch_add(1, Ordering::Relaxed);
    }
    // A default that allocates while it is computed: here it can be that of nobody.
    TEXT.with(|text| {
        if text.is_some_and(|text| text != "a default") {
            WRONG.fetch_add(1, Ordering::Relaxed);
        }
    });
    match CALLS.try_update(|calls| calls.map_or(1, |calls| calls + 1)) {
        Ok(_) => {}
        Err(error) if error.kind() == SetErrorKind::Busy => {
            REFUSED.fetch_add(1, Ordering::Relaxed);
            // Those that return no error do nothing.
            drop(CALLS.set(1_000_000));
            drop(CALLS.unset());
            drop(CALLS.update(|_| 1_000_000));
            drop(CALLS.scoped(1_000_000));
            assert!(CALLS.try_set(1).is_err() && CALLS.try_scoped(1).is_err());
            assert!(CALLS.try_unset().is_err() && Context::new().try_apply().is_err());
        }
        // A runtime itself allocates within a task, outside of the task's context.
        Err(error) if error.kind() == SetErrorKind::ForeignTask => {}
        Err(_) => drop(WRONG.fetch_add(1, Ordering::Relaxed)),
    }
    if let Some(shared) = COPIED.get() {
        COPIES.fetch_add(1, Ordering::Relaxed);
        for id in [shared.copy().get(&ID).copied(), shared.get(&ID)] {
            if !matches!(id, Some(1 | 2)) {
                WRONG.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    // A context of its own works at any time.
    let own = Context::new().with_value(&LEVEL, 8).run(|| {
        CALLS.set(3);
        drop(CALLS.scoped(4));
        (LEVEL.get(), CALLS.get(), ID.get())
    });
    if own != (8, Some(3), None) {
        WRONG.fetch_add(1, Ordering::Relaxed);
    }
    INSIDE.set(false);
}

struct Looking;

// SAFETY: every method hands its arguments on to `System` unchanged, and its result back. What
// `look` does allocates by this very allocator, which does not look then, and unwinds out of
// nothing.
unsafe impl GlobalAlloc for Looking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        look();
        // SAFETY: the caller's promises about `layout` are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        look();
        // SAFETY: `pointer` came from `System` by `alloc`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Looking = Looking;

/// Calls `f` while the allocator looks, and expects to find one of these values of `ID` or none.
fn watched<R>(expected: (u64, u64), f: impl FnOnce() -> R) -> R {
    let (outer, was_watched) = (EXPECTED.replace(expected), WATCHED.replace(true));
    let result = f();
    WATCHED.set(was_watched);
    EXPECTED.set(outer);
    result
}

#[track_caller]
fn assert_no_wrong_value() {
    assert_eq!(WRONG.load(Ordering::Relaxed), 0);
}

/// Everything that can be done to the current context, in which `ID` is 1 or 2.
fn operations() {
    for number in 1..=2 {
        let token = ID.set(number);
        assert_eq!(ID.get(), Some(number));
        assert_eq!(
            ID.update(|id| id.copied().unwrap()).old_value(),
            Some(&number)
        );
        ID.reset(token).unwrap();
        drop(ID.unset());
        assert_eq!(ID.get(), None);
        ID.set(number);
    }
    let (first, second) = (ID.scoped(1), ID.scoped(2));
    drop(first);
    assert_eq!(ID.get(), Some(2));
    let guards: Vec<_> = (0..40).map(|n| ID.scoped(1 + n % 2)).collect();
    let snapshot = copy_context();
    guards.into_iter().for_each(drop);
    drop(second);
    assert_eq!(snapshot.get(&ID), Some(&2));

    // More variables than are kept flat, and some that are not inherited.
    CONNECTION.set(1);
    let many: Vec<ContextVar<u64>> = (0..40).map(|n| ContextVar::named(n.to_string())).collect();
    many.iter().for_each(|var| drop(var.set(3)));
    assert_eq!(inherit_context().get(&CONNECTION), None);
    let before = copy_context();
    many.iter().for_each(|var| drop(var.unset()));
    drop(before);

    assert_eq!(ID.sync_scope(2, || ID.get()), Some(2));
    let mut context = Context::new().with_value(&ID, 1);
    assert_eq!(context.run(|| ID.set(2).old_value().copied()), Some(1));
    assert_eq!(context.call(|| ID.get()), Some(2));
    context
        .clone()
        .without(&ID)
        .call(|| assert_eq!(ID.get(), None));
    context.apply();
    assert_eq!(
        format!("{context:?}"),
        "Context {CALLS: <redacted>, ID: <redacted>}"
    );
    assert_eq!(ID.get(), Some(2));

    let shared = context.share();
    shared.run(|| drop(ID.set(1))).unwrap();
    assert_eq!(shared.get(&ID), Some(1));
    assert_eq!(shared.copy().bind(|| ID.get())(), Some(1));
    assert_eq!(Carried::new(3).run(|n| (n, ID.get())), (3, Some(2)));
    assert_eq!((TEXT.get().as_str(), PARSED.get()), ("a default", 11));
}

#[test]
fn an_allocator_may_get_a_variable_whose_default_is_being_computed() {
    context_var! { static FIRST: u64 = PARSED.get() + "3".to_owned().parse::<u64>().unwrap(); }
    assert_eq!(watched((0, 0), || FIRST.get()), 14);
    assert_no_wrong_value();
}

#[test]
fn an_allocator_may_use_the_core_at_any_time() {
    Context::new().run(|| watched((1, 2), operations));
    // At the thread's root.
    watched((1, 2), operations);
    assert_no_wrong_value();
    assert!(FOUND.load(Ordering::Relaxed) > 100);
    assert!(REFUSED.load(Ordering::Relaxed) > 10);
}

/// Nothing is allocated or freed while such a context is locked, or this never ends.
#[test]
fn an_allocator_may_copy_a_shared_context_at_any_time() {
    let shared = COPIED.get_or_init(|| Context::new().with_value(&ID, 1).share());
    watched((1, 2), || {
        let mut waiting = Vec::new();
        let guard = shared
            .run(|| {
                let guard = ID.scoped(2);
                // As many wait for it in their turn.
                for _ in 0..100 {
                    let mut future = Box::pin(async { ID.get() }.in_context(shared));
                    let mut context = task::Context::from_waker(Waker::noop());
                    let polled = Context::new().run(|| future.as_mut().poll(&mut context));
                    assert!(polled.is_pending());
                    waiting.push(future);
                }
                // Some go away.
                waiting.truncate(50);
                guard
            })
            .unwrap();
        // The guard has ended and the context still has it: a copy has to be made anew.
        drop(guard);
        assert_eq!(shared.copy().get(&ID), Some(&1));
        assert_eq!(
            format!("{shared:?}"),
            "SharedContext(Context {CALLS: <redacted>, ID: <redacted>})"
        );
        for future in waiting {
            assert_eq!(shim::block_on(pin!(future)), Some(1));
        }
    });
    assert_no_wrong_value();
    assert!(COPIES.load(Ordering::Relaxed) > 100);
}

async fn work(number: u64) -> u64 {
    ID.set(number);
    shim::yield_now().await;
    let task = shim::spawn(async { ID.get() });
    assert_eq!(task.await.unwrap(), Some(number));
    assert_eq!(
        shim::spawn_blocking(|| ID.get()).await.unwrap(),
        Some(number)
    );
    let (sender, receiver) = futures::channel::oneshot::channel();
    shim::call_later(Duration::from_millis(1), move || {
        sender.send(ID.get()).unwrap()
    });
    assert_eq!(receiver.await.unwrap(), Some(number));
    let aborted = shim::spawn(std::future::pending::<()>());
    aborted.abort();
    assert!(aborted.await.unwrap_err().is_cancelled());
    let scoped = CONNECTION.scope(1, async { (ID.get(), CONNECTION.get()) });
    assert_eq!(scoped.await, (Some(number), Some(1)));
    stream::iter(0..2)
        .for_each_concurrent(2, in_own_context(async |_| drop(ID.set(3 - number))))
        .await;
    ID.get().unwrap()
}

#[test]
fn an_allocator_may_use_the_core_while_the_shim_works() {
    watched((1, 2), || {
        assert_eq!(shim::block_on(work(1)), 1);
        let event_loop = EventLoop::new();
        let local = event_loop.run_until_complete(async {
            let cell = Rc::new(RefCell::new(BTreeMap::new()));
            let task = shim::spawn_local({
                let cell = Rc::clone(&cell);
                async move {
                    ID.set(2);
                    shim::yield_now().await;
                    cell.borrow_mut().insert(ID.get(), ());
                }
            });
            task.await.unwrap();
            work(2).await;
            Rc::into_inner(cell).unwrap().into_inner()
        });
        assert_eq!(local.into_keys().next(), Some(Some(2)));
        #[cfg(feature = "tokio")]
        for workers in [0, 2] {
            use std::future::poll_fn;
            use std::task::Poll;

            let mut builder = match workers {
                0 => tokio::runtime::Builder::new_current_thread(),
                _ => tokio::runtime::Builder::new_multi_thread(),
            };
            let runtime = builder
                .worker_threads(workers.max(1))
                .enable_time()
                .build()
                .unwrap();
            assert_eq!(runtime.block_on(work(1).in_current_context()), 1);
            // A task that the shim did not spawn.
            let bare = runtime.spawn(poll_fn(|_| watched((1, 0), || Poll::Ready(ID.get()))));
            assert_eq!(runtime.block_on(bare).unwrap(), None);
        }
        #[cfg(feature = "smol")]
        assert_eq!(shim::smol::block_on(work(1)), 1);
        #[cfg(feature = "async-std")]
        assert_eq!(shim::async_std::block_on(work(2)), 2);
        let thread =
            shim::thread::spawn(|| watched((1, 2), || SharedContext::new().run(operations)));
        thread.join().unwrap().unwrap();
    });
    assert_no_wrong_value();
}
