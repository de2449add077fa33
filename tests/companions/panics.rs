//! Companions that panic.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aiocontextvars::companion::Companion;
use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::{ContextExt, context_var, inherit_context, shim};

use super::{Ambient, Current};

context_var! { static ID: u64; }

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Where {
    Capture,
    BeforeTheCall,
    AfterTheCall,
    Drop,
}

std::thread_local! {
    static PANICS: Cell<Option<Where>> = const { Cell::new(None) };
}

/// Has something current where a test says so, and panics where that says.
pub(crate) struct Panics;

pub(crate) struct Bomb(Where);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 == Where::Drop {
            fail();
        }
    }
}

fn fail() -> ! {
    panic::resume_unwind(Box::new("a companion"))
}

impl Companion for Panics {
    type Value = Bomb;

    fn capture(&self) -> Option<Bomb> {
        match PANICS.get()? {
            Where::Capture => fail(),
            place => Some(Bomb(place)),
        }
    }

    fn enter<R>(&self, bomb: &Bomb, f: impl FnOnce() -> R) -> R {
        if bomb.0 == Where::BeforeTheCall {
            fail();
        }
        let result = f();
        if bomb.0 == Where::AfterTheCall {
            fail();
        }
        result
    }
}

/// Calls `f` where what is captured panics there.
fn panicking<R>(place: Where, f: impl FnOnce() -> R) -> R {
    super::register_all();
    PANICS.set(Some(place));
    let result = f();
    PANICS.set(None);
    result
}

fn caught<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    panic::catch_unwind(AssertUnwindSafe(f))
}

#[test]
fn in_a_capture_it_stays_there_and_the_others_are_captured() {
    let one = Ambient::new(1);
    let context = Current::around(&one, || panicking(Where::Capture, inherit_context));
    assert_eq!(context.call(Current::number), Some(1));
    shim::block_on(async {
        let task = panicking(Where::Capture, || shim::spawn(async { Current::number() }));
        assert_eq!(task.await.unwrap(), None);
    });
}

#[test]
fn in_the_drop_of_a_value_it_stays_there() {
    let one = Ambient::new(1);
    let context = Current::around(&one, || panicking(Where::Drop, inherit_context));
    drop(context.clone());
    drop(context);
    assert_eq!(one.keepers(), 0);
    shim::block_on(async {
        let task = panicking(Where::Drop, || shim::spawn(async { 7 }));
        assert_eq!(task.await.unwrap(), 7);
        let task = panicking(Where::Drop, || shim::spawn(std::future::pending::<()>()));
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn in_enter_it_is_one_of_the_unit() {
    shim::block_on(async {
        ID.set(1);
        for place in [Where::BeforeTheCall, Where::AfterTheCall] {
            let task = panicking(place, || shim::spawn(async {}));
            assert!(task.await.unwrap_err().is_panic(), "{place:?}");
            let job = panicking(place, || shim::spawn_blocking(|| ()));
            assert!(job.await.unwrap_err().is_panic(), "{place:?}");
            let context = panicking(place, inherit_context);
            assert!(caught(|| context.call(|| ID.set(2))).is_err());
            assert_eq!((ID.get(), Current::number()), (Some(1), None));
        }
    });
}

/// Counts its drops, and notes what is current then.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        assert_eq!(ID.get(), Some(1));
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn in_enter_for_a_drop_it_stays_there_and_the_value_is_dropped() {
    let drops = Arc::new(AtomicUsize::new(0));
    let hold = || Held(Arc::clone(&drops));
    ID.set(1);
    for place in [Where::BeforeTheCall, Where::AfterTheCall] {
        drops.store(0, Ordering::SeqCst);
        let (wrapped, held) = (hold(), hold());
        let future = panicking(place, || async move { drop(wrapped) }.in_current_context());
        let bound = panicking(place, || shim::bind(move || drop(held)));
        ID.set(2);
        assert!(caught(|| drop((future, bound))).is_ok(), "{place:?}");
        assert_eq!(drops.load(Ordering::SeqCst), 2, "{place:?}");
        ID.set(1);
        let held = hold();
        // Nothing polls the task before it is aborted.
        EventLoop::new().run_until_complete(async {
            let task = panicking(place, || {
                shim::spawn(async move {
                    let _held = held;
                    std::future::pending::<()>().await;
                })
            });
            ID.set(2);
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        });
        assert_eq!(drops.load(Ordering::SeqCst), 3, "{place:?}");
    }
    ID.unset();
}

#[test]
fn the_panic_of_what_is_dropped_comes_out_as_ever() {
    struct Fails;
    impl Drop for Fails {
        fn drop(&mut self) {
            panic::resume_unwind(Box::new("a destructor"));
        }
    }
    let one = Ambient::new(1);
    let fails = Fails;
    let future = Current::around(&one, || async move { drop(fails) }.in_current_context());
    let payload = caught(|| drop(future)).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"a destructor"));
    assert_eq!((one.keepers(), Current::number()), (0, None));
}
