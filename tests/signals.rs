//! Reading in a signal handler that interrupts the crate at any instruction: a right value or none,
//! and nothing aborts.
//!
//! Four threads work, each with values of its own, and the handler that runs on one of them must
//! find no other's. `AIOCONTEXTVARS_SECONDS` says for how long.
#![cfg(unix)]
#![allow(unsafe_code, reason = "a signal handler cannot be installed without")]

use std::cell::Cell;
use std::env;
use std::future::Future;
use std::mem;
use std::os::unix::thread::JoinHandleExt;
use std::panic;
use std::pin::pin;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{self, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::{
    Context, ContextExt, SharedContext, context_var, copy_context, inherit_context, shim,
};

context_var! {
    static ID: u64;
    static OTHER: u64;
    static UNSET: u64;
    #[local] static CONNECTION: u64;
    static LEVEL: u64 = 7;
    /// First read in the handler or in a thread, whichever comes first.
    static FIRST: u64 = 9;
}

thread_local! {
    /// The thread's number, from 1 on. Its values are 1,000 times that and up to 999 more.
    static THREAD: Cell<u64> = const { Cell::new(0) };
    /// What `ID` is now, in a part of the work in which only that may be found. 0 in other parts.
    static NOW: Cell<u64> = const { Cell::new(0) };
}

static CALLS: AtomicU64 = AtomicU64::new(0);
static FOUND: AtomicU64 = AtomicU64::new(0);
static EXACT: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);

extern "C" fn handler(_: libc::c_int) {
    // Only what a handler may do: atomics, thread-locals without destructors, and reading `Copy`
    // values.
    let thread = THREAD.get();
    if thread == 0 {
        return;
    }
    CALLS.fetch_add(1, Ordering::Relaxed);
    let now = NOW.get();
    if now != 0 {
        let found = [ID.get(), ID.with(|id| id.copied())];
        let counter = if found == [Some(now); 2] {
            &EXACT
        } else {
            &WRONG
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
    for var in [&ID, &OTHER, &CONNECTION] {
        for id in [var.get(), var.with(|id| id.copied())] {
            match id {
                Some(id) if id / 1_000 == thread => FOUND.fetch_add(1, Ordering::Relaxed),
                Some(_) => WRONG.fetch_add(1, Ordering::Relaxed),
                None => 0,
            };
        }
    }
    if UNSET.get().is_some() || LEVEL.get() != 7 || FIRST.get() != 9 {
        WRONG.fetch_add(1, Ordering::Relaxed);
    }
}

fn install() {
    // SAFETY: `action` is valid and was zeroed where it is not set; the handler does only what
    // handlers may, and nobody wants the old one.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGALRM, &action, ptr::null_mut()), 0);
    }
}

/// Interrupts each of the threads every 100 microseconds, which must not end before this returns.
fn interrupt(threads: &[JoinHandle<()>], until: Instant) {
    while Instant::now() < until {
        for thread in threads {
            // SAFETY: the thread has not ended and is not joined yet, as the caller promises, so
            // that its name is valid.
            let result = unsafe { libc::pthread_kill(thread.as_pthread_t(), libc::SIGALRM) };
            assert_eq!(result, 0);
        }
        thread::sleep(Duration::from_micros(100));
    }
}

/// Calls `f`, in which `ID` is `now` and the context does not change.
fn steady<R>(now: u64, f: impl FnOnce() -> R) -> R {
    let before = NOW.replace(now);
    let result = f();
    NOW.set(before);
    result
}

/// Contexts that are entered and left, which hold the same value of `ID` as the one around: the
/// handler finds it at any instruction.
fn entered_and_left(now: u64) {
    ID.set(now);
    let mut same = Context::new().with_value(&ID, now).with_value(&OTHER, now);
    let shared = same.clone().share();
    let mut cx = task::Context::from_waker(Waker::noop());
    let mut pending = Box::pin(std::future::pending::<()>().in_context(same.clone()));
    steady(now, || {
        for _ in 0..20 {
            assert_eq!(same.run(|| (ID.get(), OTHER.get())), (Some(now), Some(now)));
            same.run(|| ());
            assert!(pending.as_mut().poll(&mut cx).is_pending());
            assert_eq!(shared.run(|| ID.get()), Ok(Some(now)));
            assert_eq!((ID.get(), LEVEL.get(), UNSET.get()), (Some(now), 7, None));
        }
    });
}

/// The operations of the core. All values are the thread's.
fn operations(own: u64) {
    let token = ID.set(own);
    assert_eq!(ID.get(), Some(own));
    let second = OTHER.set(own + 1);
    let guard = ID.scoped(own + 2);
    let snapshot = copy_context();
    let inner = OTHER.scoped(own + 3);
    assert_eq!((ID.get(), OTHER.get()), (Some(own + 2), Some(own + 3)));
    drop(guard);
    ID.update(|id| id.unwrap() + 1);
    assert_eq!(ID.get(), Some(own + 1));
    drop(inner);
    OTHER.reset(second).unwrap();
    ID.reset(token).unwrap();
    CONNECTION.set(own + 4);
    assert_eq!(inherit_context().get(&CONNECTION), None);
    CONNECTION.unset();
    assert_eq!((LEVEL.get(), FIRST.get(), UNSET.get()), (7, 9, None));
    snapshot.call(|| assert_eq!(ID.get(), Some(own + 2)));
    ID.sync_scope(own + 5, || assert_eq!(ID.get(), Some(own + 5)));
    let shared = SharedContext::new();
    shared.run(|| drop(OTHER.set(own + 6))).unwrap();
    shared.copy().apply();
    assert_eq!(OTHER.get(), Some(own + 6));
    let mut scope = pin!(ID.scope(own + 7, async { ID.get() }.in_current_context()));
    let mut cx = task::Context::from_waker(Waker::noop());
    assert!(scope.as_mut().poll(&mut cx).is_ready());
    OTHER.with(|other| {
        OTHER.unset();
        assert_eq!(other, Some(&(own + 6)));
    });
}

fn work(thread: u64, until: Instant) {
    THREAD.set(thread);
    let own = 1_000 * thread;
    let event_loop = EventLoop::new();
    while Instant::now() < until {
        // At the thread's root, and in contexts of its own.
        operations(own);
        Context::new().run(|| operations(own + 10));
        Context::new().run(|| entered_and_left(own + 15));
        let spawned = event_loop.run_until_complete(async {
            ID.set(own + 20);
            let task = shim::spawn(async move {
                operations(own + 30);
                shim::yield_now().await;
                ID.get()
            });
            task.await.unwrap()
        });
        // What the operations have left in the task's own context.
        assert_eq!(spawned, Some(own + 20));
    }
    THREAD.set(0);
}

#[test]
fn a_signal_handler_reads_a_right_value_or_none() {
    let seconds = env::var("AIOCONTEXTVARS_SECONDS").map_or(1, |seconds| seconds.parse().unwrap());
    let until = Instant::now() + Duration::from_secs(seconds);
    install();
    let end = Arc::new(Barrier::new(5));
    let threads = (1..=4).map(|number| {
        let end = Arc::clone(&end);
        thread::spawn(move || {
            let outcome = panic::catch_unwind(|| work(number, until));
            // Not before nobody interrupts it any more.
            end.wait();
            outcome.unwrap();
        })
    });
    let threads: Vec<_> = threads.collect();
    interrupt(&threads, until);
    end.wait();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let counts = [&CALLS, &FOUND, &EXACT, &WRONG].map(|count| count.load(Ordering::Relaxed));
    let [calls, found, exact, wrong] = counts;
    println!(
        "{calls} signals, {found} values found, {exact} where none other may be, {wrong} wrong"
    );
    assert_eq!(wrong, 0);
    assert!(calls > 100 && found > 100 && exact > 10);
}
