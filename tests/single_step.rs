//! A signal handler that reads variables after every single instruction of the core: it finds what
//! is current, and leaves everything as it was.
//!
//! The processor's trap flag sends SIGTRAP after each instruction. The handler looks at all of
//! them, at some, or at one only: what it leaves behind at one instruction must not hide what it
//! does at the next. As there are many to choose the one from, that goes on for a while;
//! `AIOCONTEXTVARS_SECONDS` says for how long. Without optimization there are ten times as many
//! instructions, so that there is less of all this.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code, reason = "a signal handler cannot be installed without")]

#[path = "common/leak.rs"]
mod leak;

use std::arch::asm;
use std::cell::Cell;
use std::env;
use std::future::{self, Future};
use std::mem;
use std::pin::pin;
use std::ptr;
use std::sync::{LazyLock, Once};
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant};

use leak::leak;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::ContextAwareExecutor;
use aiocontextvars::{
    Context, ContextExt, ContextVar, SharedContext, WithDefault, context_var, copy_context,
    inherit_context, shim,
};

context_var! {
    static ID: u64;
    /// 50 wherever `ID` has a value.
    static OTHER: u64;
    static UNSET: u64;
    #[local] static CONNECTION: u64;
    static LEVEL: u64 = 7;
}

/// A variable of another type whose entry in the cache is that of `ID`. [`MARK`] wherever `ID` has
/// a value.
static SAME_ENTRY: LazyLock<ContextVar<[u64; 4]>> = LazyLock::new(|| {
    fn number<T>(var: &ContextVar<T>) -> u64 {
        let shown = format!("{var:?}");
        let (_, rest) = shown.split_once("id: ").unwrap();
        rest.split_once(',').unwrap().0.parse().unwrap()
    }
    // As many as the cache has entries.
    let is_same = |var: &ContextVar<_>| number(var) % 256 == number(&ID) % 256;
    let mut vars = (0..).map(|_| ContextVar::named("SAME_ENTRY"));
    vars.find(is_same).unwrap()
});

const MARK: [u64; 4] = [0x4d41_524b; 4];

/// Which instructions the handler looks at.
#[derive(Clone, Copy, Debug)]
enum At {
    Every,
    /// Three of four, by a number that makes the choice.
    Some(u64),
    Only(u64),
}

/// What the handler reads.
#[derive(Clone, Copy, Debug)]
enum Look {
    Id,
    /// Replaces the entry of the cache, and puts it back at other instructions.
    SameEntry,
    Others,
    /// One without a binding, while its default is computed and from then on.
    Default(&'static ContextVar<u64, WithDefault>),
}

thread_local! {
    static AT: Cell<At> = const { Cell::new(At::Every) };
    static LOOK: Cell<Look> = const { Cell::new(Look::Id) };
    /// The values that `ID` may have now, and 0 if it may be found to have none, as bits of one
    /// word.
    static EXPECTED: Cell<u64> = const { Cell::new(0) };
    /// Whether the default has begun to be computed.
    static COMPUTES: Cell<bool> = const { Cell::new(false) };
    static STEPS: Cell<u64> = const { Cell::new(0) };
    static FOUND: Cell<u64> = const { Cell::new(0) };
    /// The first wrong value, and the step.
    static WRONG: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

/// The trap flag, in the register of flags.
const TRAP: i64 = 0x100;

extern "C" fn handler(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let step = STEPS.get();
    STEPS.set(step + 1);
    let mut replaces = step % 2 == 0;
    match AT.get() {
        At::Every => {}
        At::Some(seed) => {
            let random = (step ^ seed << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            if random % 4 == 0 {
                return;
            }
            replaces = random & 4 == 0;
        }
        At::Only(only) if step != only => return,
        At::Only(_) => {
            replaces = true;
            // The rest is not stepped through. SAFETY: the kernel has passed the interrupted
            // thread's registers, which nobody else uses.
            let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
            context.uc_mcontext.gregs[libc::REG_EFL as usize] &= !TRAP;
        }
    }
    let wrong = |value| {
        if WRONG.get().is_none() {
            WRONG.set(Some((step, value)));
        }
    };
    let is_expected = |value| EXPECTED.get() & 1_u64.checked_shl(value).unwrap_or(0) != 0;
    let may_be_none = is_expected(0);
    // What is found of a variable that has this value wherever `ID` has one.
    let check = |found: Option<u64>, expected| match found {
        Some(value) if value == expected => FOUND.set(FOUND.get() + 1),
        None if may_be_none => {}
        found => wrong(found.unwrap_or(0)),
    };
    let look_at_id = |found: Option<u64>| {
        if !is_expected(found.unwrap_or(0).try_into().unwrap_or(u32::MAX)) {
            wrong(found.unwrap_or(0));
        }
        FOUND.set(FOUND.get() + u64::from(found.is_some()));
    };
    match LOOK.get() {
        Look::Id => look_at_id(ID.get()),
        Look::SameEntry if replaces => {
            let found = SAME_ENTRY.get();
            if found.is_some_and(|found| found != MARK) {
                wrong(1);
            }
            check(found.map(|found| found[0]), MARK[0]);
        }
        Look::SameEntry => look_at_id(ID.with(|id| id.copied())),
        Look::Others => {
            look_at_id(ID.get());
            check(OTHER.get(), 50);
            check(CONNECTION.with(|value| value.copied()).or(Some(60)), 60);
            if UNSET.get().is_some() || LEVEL.get() != 7 {
                wrong(2);
            }
        }
        Look::Default(_) if !COMPUTES.get() => {}
        Look::Default(var) => {
            if var.get() != 9 || var.with(|value| value.is_some_and(|&value| value != 9)) {
                wrong(3);
            }
            FOUND.set(FOUND.get() + 1);
        }
    }
}

fn install() {
    static INSTALL: Once = Once::new();
    LazyLock::force(&SAME_ENTRY);
    // SAFETY: `action` is valid and was zeroed where it is not set; the handler does only what
    // handlers may, and nobody wants the old one.
    INSTALL.call_once(|| unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &action, ptr::null_mut()), 0);
    });
}

#[inline(never)]
fn start() {
    // SAFETY: only the trap flag changes, and the stack is as it was.
    unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") }
}

#[inline(never)]
fn stop() {
    // SAFETY: only the trap flag changes, and the stack is as it was.
    unsafe { asm!("pushfq", "and qword ptr [rsp], ~0x100", "popfq") }
}

/// From here on `ID` has one of these values, or none if 0 is one of them.
fn expect(values: &[u64]) {
    EXPECTED.set(values.iter().fold(0, |bits, value| bits | 1 << value));
}

/// Steps through `f`.
fn step<R>(values: &[u64], f: impl FnOnce() -> R) -> R {
    expect(values);
    start();
    let result = f();
    stop();
    result
}

fn fresh(id: u64) -> Context {
    Context::new()
        .with_value(&ID, id)
        .with_value(&OTHER, 50)
        .with_value(&CONNECTION, 60)
        .with_value(&SAME_ENTRY, MARK)
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut task::Context::from_waker(Waker::noop()))
}

/// Runs `operation`, which steps through something and checks what it did, again and again.
fn at_every_instruction(name: &str, looks: &[Look], mut operation: impl FnMut(Look)) {
    install();
    let seconds = env::var("AIOCONTEXTVARS_SECONDS").map(|text| text.parse().unwrap());
    let seconds = seconds.unwrap_or(if IS_FAST { 0.1 } else { 0.05 });
    let mut run = |look, at| {
        AT.set(at);
        LOOK.set(look);
        STEPS.set(0);
        WRONG.set(None);
        operation(look);
        if let Some((step, value)) = WRONG.get() {
            panic!("{name}, {look:?}, {at:?}: the handler found {value} at step {step}");
        }
        STEPS.get()
    };
    for &look in looks {
        FOUND.set(0);
        let steps = run(look, At::Every);
        assert!(steps > 10, "{name} was not stepped through");
        assert!(FOUND.get() > 0, "{name}, {look:?}: nothing was found");
        for seed in 0..if IS_FAST { 4 } else { 1 } {
            run(look, At::Some(seed));
        }
        // In an order in which those that there is time for are spread evenly.
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let stride = (steps as f64 * 0.618) as u64 | 1;
        for number in 0..steps {
            if Instant::now() >= until {
                break;
            }
            run(look, At::Only(number * stride % steps));
        }
    }
}

/// Whether there is time for more than the least.
const IS_FAST: bool = !cfg!(debug_assertions);

const ALL: &[Look] = match IS_FAST {
    true => &[Look::SameEntry, Look::Others, Look::Id],
    false => &[Look::SameEntry],
};

fn in_context(name: &str, mut operation: impl FnMut()) {
    at_every_instruction(name, ALL, |_| fresh(1).run(&mut operation));
}

#[test]
fn reading() {
    in_context("reads", || {
        let found = step(&[1], || {
            let first = (ID.get(), OTHER.get(), SAME_ENTRY.get(), ID.get());
            let second = (ID.with(|id| *id.unwrap()), ID.get_or(9), ID.get());
            (first, second, UNSET.get(), LEVEL.get())
        });
        let first = (Some(1), Some(50), Some(MARK), Some(1));
        assert_eq!(found, (first, (1, 1, Some(1)), None, 7));
    });
    in_context("reads that find the cache as it should be", || {
        let read = || (ID.get(), OTHER.get());
        read();
        assert_eq!(step(&[1], read), (Some(1), Some(50)));
    });
    in_context("readers within each other", || {
        let found = step(&[1, 0], || {
            let outer = ID.with(|outer| {
                let mut inner = fresh(4);
                expect(&[1, 4, 0]);
                let inner = inner.run(|| {
                    ID.set(4);
                    let found = ID.with(|inner| {
                        expect(&[4, 3, 0]);
                        ID.set(3);
                        *inner.unwrap()
                    });
                    expect(&[1, 3, 0]);
                    found
                });
                expect(&[1, 2, 0]);
                ID.set(2);
                (*outer.unwrap(), inner)
            });
            (outer, ID.get())
        });
        assert_eq!(found, ((1, 4), Some(2)));
    });
}

#[test]
fn changing() {
    in_context("set and reset", || {
        let found = step(&[1, 2, 0], || {
            let token = ID.set(2);
            expect(&[2]);
            let second = ID.get();
            expect(&[1, 2, 0]);
            ID.reset(token).unwrap();
            expect(&[1]);
            (second, ID.get())
        });
        assert_eq!((found, ID.get()), ((Some(2), Some(1)), Some(1)));
    });
    in_context("set after a copy, update and unset", || {
        let copy = copy_context();
        let found = step(&[1, 2, 0], || {
            ID.set(2);
            expect(&[2, 3, 0]);
            drop(ID.update(|id| id.unwrap() + 1));
            let found = ID.get();
            ID.unset();
            expect(&[0, 4]);
            let none = ID.get();
            ID.set(4);
            (found, none)
        });
        assert_eq!((found, ID.get()), ((Some(3), None), Some(4)));
        assert_eq!(copy.get(&ID), Some(&1));
    });
    in_context("guards", || {
        let found = step(&[1, 2, 0], || {
            let first = ID.scoped(2);
            expect(&[2, 3, 0]);
            let second = ID.scoped(3);
            expect(&[3, 0]);
            drop(first);
            let found = ID.get();
            expect(&[3, 1, 0]);
            drop(second);
            found
        });
        assert_eq!((found, ID.get(), OTHER.get()), (Some(3), Some(1), Some(50)));
    });
    at_every_instruction("the thread's root", ALL, |_| {
        OTHER.set(50);
        SAME_ENTRY.set(MARK);
        let found = step(&[0, 1, 2], || {
            ID.set(1);
            expect(&[1]);
            let found = ID.get();
            expect(&[1, 2, 0]);
            ID.set(2);
            let second = (ID.get(), OTHER.get());
            ID.unset();
            (found, second)
        });
        assert_eq!(found, (Some(1), (Some(2), Some(50))));
        OTHER.unset();
        SAME_ENTRY.unset();
    });
}

#[test]
fn copying() {
    in_context("copies", || {
        let copies = step(&[1, 0], || (copy_context(), inherit_context()));
        assert_eq!((copies.0.get(&ID), copies.1.get(&ID)), (Some(&1), Some(&1)));
        assert_eq!(
            (copies.0.get(&CONNECTION), copies.1.get(&CONNECTION)),
            (Some(&60), None)
        );
    });
    in_context("copies under guards", || {
        let _guard = ID.scoped(2);
        drop(ID.scoped(3));
        let copy = step(&[2, 0], copy_context);
        assert_eq!((copy.get(&ID), ID.get()), (Some(&2), Some(2)));
    });
}

#[test]
fn entering() {
    in_context("run", || {
        let mut inner = fresh(3);
        let found = step(&[1, 3], || {
            inner.run(|| {
                expect(&[3]);
                let found = (ID.get(), OTHER.get());
                expect(&[1, 3]);
                found
            })
        });
        assert_eq!(found, (Some(3), Some(50)));
        drop(inner);
        assert_eq!((ID.get(), OTHER.get()), (Some(1), Some(50)));
    });
    in_context("run without reading", || {
        let mut inner = fresh(3);
        step(&[1, 3], || inner.run(|| ()));
        drop(inner);
        assert_eq!((ID.get(), OTHER.get()), (Some(1), Some(50)));
    });
    in_context("run that changes", || {
        let mut inner = fresh(3);
        let found = step(&[1, 3], || {
            inner.run(|| {
                expect(&[3, 4, 0]);
                let token = ID.set(4);
                let found = ID.get();
                expect(&[4, 1]);
                (token, found)
            })
        });
        assert_eq!((found.1, inner.get(&ID)), (Some(4), Some(&4)));
        drop((inner, found));
        assert_eq!((ID.get(), OTHER.get()), (Some(1), Some(50)));
    });
    in_context("calls and scopes", || {
        let inner = fresh(3);
        let found = step(&[1, 3, 0], || {
            let called = inner.call(|| ID.get());
            expect(&[1, 4, 0]);
            (called, ID.sync_scope(4, || (ID.get(), OTHER.get())))
        });
        assert_eq!(found, (Some(3), (Some(4), Some(50))));
        assert_eq!((ID.get(), OTHER.get()), (Some(1), Some(50)));
    });
}

#[test]
fn polling() {
    in_context("a poll", || {
        let mut inner = Box::pin(future::pending::<()>().in_context(fresh(3)));
        let mut cx = task::Context::from_waker(Waker::noop());
        assert!(step(&[1, 3], || inner.as_mut().poll(&mut cx)).is_pending());
        step(&[1, 3, 0], || drop(inner));
        assert_eq!((ID.get(), OTHER.get()), (Some(1), Some(50)));
    });
    in_context("polls of scopes", || {
        let found = step(&[1, 2, 0], || {
            let read = async { (ID.get(), OTHER.get()) };
            poll(ID.scope(2, OTHER.scope(50, read)).in_current_context())
        });
        assert_eq!(found, Poll::Ready((Some(2), Some(50))));
        assert_eq!((ID.get(), OTHER.get()), (Some(1), Some(50)));
    });
}

#[test]
fn sharing() {
    let shared = fresh(3).share();
    in_context("a shared context", || {
        let found = step(&[1, 3], || {
            shared.run(|| {
                expect(&[3]);
                let found = ID.get();
                expect(&[3, 4, 0]);
                ID.set(4);
                let live = shared.get(&ID);
                ID.set(3);
                expect(&[1, 3]);
                (found, live)
            })
        });
        assert_eq!(found.unwrap(), (Some(3), Some(4)));
        assert_eq!((ID.get(), OTHER.get()), (Some(1), Some(50)));
    });
    in_context("a shared context that is entered again", || {
        let found = step(&[1, 3], || {
            shared.run(|| {
                expect(&[3, 4, 0]);
                let future = async {
                    ID.set(4);
                    ID.get()
                };
                let found = (poll(future.in_context(&shared)), shared.get(&ID), ID.get());
                ID.set(3);
                expect(&[1, 3]);
                found
            })
        });
        let four = Some(4);
        assert_eq!(found.unwrap(), (Poll::Ready(four), four, four));
        assert_eq!((ID.get(), OTHER.get()), (Some(1), Some(50)));
    });
    assert_eq!(SharedContext::len(&shared), 4);
}

#[test]
fn executors() {
    let event_loop = EventLoop::new();
    let executor = ContextAwareExecutor::new(event_loop.handle());
    in_context("the guard of an executor", || {
        let found = step(&[1], || {
            let outer = executor.enter();
            let inner = executor.enter();
            let found = ID.get();
            drop(inner);
            drop(outer);
            (found, ID.get())
        });
        assert_eq!(found, (Some(1), Some(1)));
    });
    in_context("a task", || {
        let work = async {
            let task = shim::spawn(async {
                ID.set(2);
                shim::yield_now().await;
                (ID.get(), OTHER.get())
            });
            (task.await.unwrap(), ID.get())
        };
        let found = step(&[1, 2, 0], || event_loop.run_until_complete(work));
        assert_eq!(found, ((Some(2), Some(50)), Some(1)));
        assert_eq!((ID.get(), OTHER.get()), (Some(1), Some(50)));
    });
}

#[test]
fn a_default_that_is_computed_for_the_first_time() {
    let placeholder: &'static _ = leak(variable());
    fn variable() -> ContextVar<u64, WithDefault> {
        ContextVar::with_default("FIRST", || {
            COMPUTES.set(true);
            LEVEL.get() + 2
        })
    }
    let looks = &[Look::Default(placeholder)];
    at_every_instruction("a default", looks, |_| {
        let first: &'static _ = leak(variable());
        LOOK.set(Look::Default(first));
        let found = step(&[0], || (first.get(), first.with(|value| value.copied())));
        COMPUTES.set(false);
        assert_eq!(found, (9, Some(9)));
    });
}
