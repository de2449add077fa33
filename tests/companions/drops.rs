//! In whose variables a companion's value is dropped: its own context's, wherever that goes.

use std::cell::RefCell;
use std::panic;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use aiocontextvars::companion::Companion;
use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{ContextAwareExecutor, Runnable};
use aiocontextvars::{Carried, Context, ContextExt, context_var, inherit_context, shim};

use super::register_all;

context_var! { static REQUEST: u64; }

/// What the drops of values have seen.
type Seen = Arc<Mutex<Vec<Option<u64>>>>;

/// Something that is current as a span is, and is told of when nobody keeps it any more.
pub(crate) struct Open;

pub(crate) struct Opened(Seen);

std::thread_local! {
    static OPEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(REQUEST.get());
        // What it writes is nobody else's.
        REQUEST.set(999);
    }
}

impl Companion for Open {
    type Value = Opened;

    fn capture(&self) -> Option<Opened> {
        OPEN.with_borrow(Clone::clone).map(Opened)
    }

    fn enter<R>(&self, opened: &Opened, f: impl FnOnce() -> R) -> R {
        let before = OPEN.replace(Some(Arc::clone(&opened.0)));
        let result = f();
        OPEN.set(before);
        result
    }

    fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
        let before = OPEN.take();
        let result = f();
        OPEN.set(before);
        result
    }
}

/// Calls `make` in request 1, and `end` with the result in request 2. Returns what the drop saw.
fn made_and_ended<T>(make: impl FnOnce() -> T, end: impl FnOnce(T)) -> Vec<Option<u64>> {
    register_all();
    let seen = Seen::default();
    let made = Context::new().with_value(&REQUEST, 1).run(|| {
        OPEN.set(Some(Arc::clone(&seen)));
        let made = make();
        OPEN.set(None);
        made
    });
    Context::new().with_value(&REQUEST, 2).run(|| {
        // The other request has one open as well.
        OPEN.set(Some(Seen::default()));
        end(made);
        OPEN.set(None);
        assert_eq!(REQUEST.get(), Some(2), "what a drop writes has no effect");
    });
    assert_eq!(REQUEST.get(), None);
    let seen = seen.lock().unwrap();
    seen.clone()
}

#[test]
fn a_context_that_is_dropped_elsewhere() {
    assert_eq!(made_and_ended(inherit_context, drop), [Some(1)]);
    // What is left of it has the values only.
    let alone = |context: Context| {
        let alone = context.without_companions();
        assert_eq!(alone.get(&REQUEST), Some(&1));
    };
    assert_eq!(made_and_ended(inherit_context, alone), [Some(1)]);
    let last = |context: Context| {
        let copy = context.clone().with_value(&REQUEST, 3);
        drop(context);
        drop(copy);
    };
    assert_eq!(made_and_ended(inherit_context, last), [Some(3)]);
    let shared = |context: Context| drop(context.share());
    assert_eq!(made_and_ended(inherit_context, shared), [Some(1)]);
}

#[test]
fn a_context_that_was_written_to() {
    let written = |mut context: Context| {
        context.run(|| drop(REQUEST.set(4)));
        assert!(context.has_companions());
    };
    assert_eq!(made_and_ended(inherit_context, written), [Some(4)]);
}

#[test]
fn a_message() {
    assert_eq!(made_and_ended(|| Carried::new(()), drop), [Some(1)]);
    let run = |message: Carried<()>| message.run(|()| assert_eq!(REQUEST.get(), Some(1)));
    assert_eq!(made_and_ended(|| Carried::new(()), run), [Some(1)]);
}

#[test]
fn functions_and_callbacks() {
    let bound = || shim::bind(|| assert_eq!(REQUEST.get(), Some(1)));
    assert_eq!(made_and_ended(bound, |f| f()), [Some(1)]);
    assert_eq!(made_and_ended(bound, drop), [Some(1)]);
    let timer = || shim::call_later(Duration::from_secs(3_600), || ());
    let cancel = |timer: shim::TimerHandle| timer.cancel();
    let event_loop = EventLoop::new();
    event_loop.run_until_complete(async {
        assert_eq!(made_and_ended(timer, cancel), [Some(1)]);
    });
}

#[test]
fn futures() {
    let wrapped = || async {}.in_current_context();
    assert_eq!(made_and_ended(wrapped, drop), [Some(1)]);
    let awaited = |future| shim::block_on(future);
    assert_eq!(made_and_ended(wrapped, awaited), [Some(1)]);
}

#[test]
fn tasks_that_end_within_others() {
    // Polled where request 2 is.
    let steps = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&steps);
    let executor = ContextAwareExecutor::from_schedule(move |step| kept.lock().unwrap().push(step));
    let spawned = || executor.spawn(async { drop(REQUEST.set(6)) });
    let run = |_task| {
        let steps = std::mem::take(&mut *steps.lock().unwrap());
        assert_eq!(steps.len(), 1);
        steps.into_iter().for_each(Runnable::run);
    };
    assert_eq!(made_and_ended(spawned, run), [Some(6)]);
    let pending = || {
        let event_loop = EventLoop::new();
        drop(event_loop.spawn(std::future::pending::<()>()));
        event_loop
    };
    assert_eq!(made_and_ended(pending, EventLoop::close), [Some(1)]);
}

/// A companion whose value keeps another context: a link to a parent.
pub(crate) struct Parent;

pub(crate) struct Link {
    seen: Seen,
    _parent: Context,
}

std::thread_local! {
    static PARENT: RefCell<Option<(Context, Seen)>> = const { RefCell::new(None) };
}

impl Drop for Link {
    fn drop(&mut self) {
        self.seen.lock().unwrap().push(REQUEST.get());
    }
}

impl Companion for Parent {
    type Value = Link;

    fn capture(&self) -> Option<Link> {
        let (_parent, seen) = PARENT.take()?;
        Some(Link { seen, _parent })
    }

    fn enter<R>(&self, _: &Link, f: impl FnOnce() -> R) -> R {
        f()
    }

    fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
        f()
    }
}

/// A value of each context of the chain, which knows in which it was.
struct Kept(u64, Arc<Mutex<Vec<u64>>>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0);
        assert!(self.0 % 10_000 != 0, "some panic");
    }
}

context_var! { static KEPT: Kept; }

const LINKS: u64 = 100_000;

/// Contexts of which each is kept by a companion of the next one. `end` drops the last one on a
/// small stack. Each link is dropped once, in its own context, and each value once.
fn chain_is_dropped_by(end: fn(Context)) {
    register_all();
    let seen = Seen::default();
    let kept = Arc::<Mutex<Vec<u64>>>::default();
    let mut last = Context::new();
    for number in 0..LINKS {
        PARENT.set(Some((last, Arc::clone(&seen))));
        let request = Context::new().with_value(&REQUEST, number);
        let mut request = request.with_value(&KEPT, Kept(number, Arc::clone(&kept)));
        last = request.run(inherit_context);
    }
    let small = thread::Builder::new().stack_size(2 * 1024 * 1024);
    let ended = small.spawn(move || {
        let mut outside = Context::new().with_value(&REQUEST, LINKS);
        let panicked = outside.run(|| panic::catch_unwind(|| end(last)).is_err());
        assert_eq!(outside.get(&REQUEST), Some(&LINKS));
        panicked
    });
    // Those that panic are on the list, where that stays.
    assert!(!ended.unwrap().join().unwrap());
    let seen = seen.lock().unwrap();
    assert!(seen.iter().copied().eq((0..LINKS).rev().map(Some)));
    let mut kept = kept.lock().unwrap();
    kept.sort();
    assert!(kept.iter().copied().eq(0..LINKS));
}

#[test]
fn a_chain_that_is_longer_than_the_stack() {
    chain_is_dropped_by(drop);
}

#[test]
fn a_chain_that_ends_with_its_work() {
    chain_is_dropped_by(|last| ().in_context(last).into_inner());
}

#[test]
fn a_chain_whose_last_context_stays() {
    chain_is_dropped_by(|last| {
        let rest = last.without_companions();
        assert_eq!(rest.get(&REQUEST), Some(&(LINKS - 1)));
    });
}
