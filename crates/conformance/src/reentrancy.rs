//! Rows R-5: a value's own code, and that of functions in a context, uses the crate.

use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use std::task;
use std::thread;

use aiocontextvars::shim;
use aiocontextvars::{Context, ContextExt, ContextVar, SharedContext, context_var, copy_context};
use futures::FutureExt;

use crate::fixtures::{Counted, Drops, HELD, ID, Log};
use crate::harness::message;
use crate::meddler::{Hook, MEDDLER, Meddler, OPERATIONS, Record, has_executor, meddling_waker};
use crate::reentrancy_panics::unwinds;
use crate::waker::waker;

/// Makes meddlers, all alike.
type Make<'a> = &'a dyn Fn() -> Meddler;

/// Where a value's code runs.
type Place = (&'static str, fn(Make<'_>));

/// Each is entered with [`MEDDLER`] unset, and leaves it so.
const PLACES: [Place; 17] = [
    ("replaced", |make| {
        MEDDLER.set(make());
        MEDDLER.set(make());
        MEDDLER.unset();
    }),
    ("reset", |make| {
        let first = MEDDLER.set(make());
        let second = MEDDLER.set(make());
        MEDDLER.reset(second).unwrap();
        assert!(MEDDLER.with(|value| value.is_some()));
        MEDDLER.reset(first).unwrap();
    }),
    ("in a token", |make| {
        MEDDLER.set(make());
        let token = MEDDLER.unset();
        assert!(format!("{token:?}").contains("Meddler"));
        drop(token);
    }),
    ("in a refused token", |make| {
        MEDDLER.set(make());
        let token = MEDDLER.unset();
        let error = copy_context().run(|| MEDDLER.reset(token)).unwrap_err();
        assert!(format!("{error:?} {error}").contains("Meddler"));
        drop(error);
    }),
    ("under and above guards", |make| {
        let outer = MEDDLER.scoped(make());
        let inner = MEDDLER.scoped(make());
        MEDDLER.set(make());
        drop(outer);
        drop(inner);
    }),
    ("of a guard that went elsewhere", |make| {
        let guard = MEDDLER.scoped(make());
        Context::new().run(|| drop(guard));
        assert!(MEDDLER.with(|value| value.is_none()));
        // The next write is what drops it.
        MEDDLER.unset();
    }),
    ("read", |make| {
        MEDDLER.set(make());
        assert!(MEDDLER.get().is_some() && MEDDLER.try_get().is_ok());
        drop(MEDDLER.get_or(make()));
        drop(SharedContext::get(&copy_context().share(), &MEDDLER));
        MEDDLER.unset();
        drop(MEDDLER.get_or(make()));
    }),
    ("shown", |make| {
        let guard = MEDDLER.scoped(make());
        let context = copy_context();
        let entries: Vec<_> = context.iter().collect();
        let shown = format!("{context:?} {entries:?} {:?}", context.clone().share());
        assert_eq!(shown.matches("Meddler").count(), 3);
        drop(guard);
    }),
    ("replaced while it is read", |make| {
        MEDDLER.set(make());
        MEDDLER.with(|value| {
            MEDDLER.set(make());
            MEDDLER.unset();
            assert_eq!(format!("{value:?}"), "Some(Meddler)");
        });
    }),
    ("in contexts", |make| {
        let context = Context::new().with_value(&MEDDLER, make());
        let copy = context.clone().with_value(&MEDDLER, make());
        drop(context.with_value(&MEDDLER, make()));
        drop(copy);
    }),
    ("set in `run`", |make| {
        let mut context = Context::new().with_value(&MEDDLER, make());
        context.run(|| {
            MEDDLER.set(make());
            copy_context().run(|| drop(MEDDLER.set(make())));
        });
        drop(context);
    }),
    ("in a shared context", |make| {
        let shared = Context::new().with_value(&MEDDLER, make()).share();
        let inside = || {
            MEDDLER.set(make());
            MEDDLER.set(make());
        };
        shared.run(inside).unwrap();
    }),
    ("captured", |make| {
        let capture = |value: Meddler| move || drop(value);
        shim::bind(capture(make()))();
        drop(shim::bind(capture(make())));
        let context = || Context::new().with_value(&MEDDLER, make());
        context().bind(capture(make()))();
        drop(context().bind(capture(make())));
        let (kept, also) = (make(), make());
        drop(context().bind_fn(move |()| drop(kept.clone())));
        context().bind_mut(move |()| drop(also.clone()))(());
    }),
    ("in scopes", |make| {
        MEDDLER.sync_scope(make(), || drop(MEDDLER.set(make())));
        let kept = make();
        let future = async move {
            shim::yield_now().await;
            drop(kept);
        };
        drop(MEDDLER.scope(make(), future));
        let kept = make();
        let mut pending = Box::pin(MEDDLER.scope(make(), async move {
            MEDDLER.set(kept);
            std::future::pending::<()>().await;
        }));
        assert!((&mut pending).now_or_never().is_none());
        drop(pending);
    }),
    ("a thread's", |make| {
        let (first, second) = (make(), make());
        let spawned = thread::spawn(move || {
            MEDDLER.set(first);
            MEDDLER.set(second);
        });
        spawned.join().unwrap();
        let kept = make();
        let inherited = MEDDLER.sync_scope(make(), || shim::thread::spawn(move || drop(kept)));
        inherited.join().unwrap();
    }),
    ("while the thread unwinds", |make| {
        let unwound = panic::catch_unwind(AssertUnwindSafe(|| {
            let _first = make();
            let _guard = MEDDLER.scoped(make());
            let shared = Context::new().with_value(&MEDDLER, make()).share();
            let inside = || {
                let _second = MEDDLER.set(make());
                panic::resume_unwind(Box::new(make()))
            };
            let result: Result<(), _> = shared.run(inside);
            result.unwrap();
        }));
        assert!(unwound.unwrap_err().is::<Meddler>());
    }),
    ("in wakers that wait for a shared context", |make| {
        let shared = SharedContext::new();
        let waker = meddling_waker(make(), || ());
        let mut cx = task::Context::from_waker(&waker);
        let mut waits = [0, 1, 2].map(|_| Box::pin(async {}.in_context(&shared)));
        let inside = || {
            // Entered for others, though it is by this very thread.
            Context::new().run(|| {
                for future in &mut waits {
                    assert!(future.poll_unpin(&mut cx).is_pending());
                }
            });
        };
        shared.run(inside).unwrap();
        let [first, mut second, _third] = waits;
        drop(first);
        assert!(second.poll_unpin(&mut cx).is_ready());
    }),
];

pub(crate) fn r_05_clone_drop_and_debug_may_use_the_crate() {
    ID.set(1);
    for operation in OPERATIONS {
        for (place, run) in PLACES {
            let record = Record::new();
            run(&|| record.meddler(operation));
            record.check(place, operation);
            // With an executor, tasks that an operation has spawned may still have copies.
            if !has_executor() {
                assert_eq!(record.live(), 0, "{place}, {}: leaked", operation.0);
                assert!(!record.seen(Hook::Drop).is_empty(), "{place}");
            }
            assert!(MEDDLER.with(|value| value.is_none()), "{place}");
            let left = (ID.get(), copy_context().len());
            assert_eq!(left, (Some(1), 1), "{place}, {}", operation.0);
        }
    }
}

pub(crate) fn r_05_with_closures_may_use_the_crate() {
    let drops = Drops::new();
    let var: ContextVar<(u8, Counted)> = ContextVar::new("held");
    var.set((1, drops.value()));
    var.with(|held| {
        let (number, _) = held.unwrap();
        var.set((2, drops.value()));
        assert_eq!(drops.count(), 0, "the reader keeps its own value");
        Context::new().run(|| {
            var.set((3, drops.value()));
            assert_eq!(var.with(|value| value.unwrap().0), 3);
        });
        assert_eq!(drops.count(), 1, "and no other");
        assert_eq!((*number, var.with(|value| value.unwrap().0)), (1, 2));
    });
    assert_eq!(drops.count(), 2);
    var.unset();
    assert_eq!(drops.count(), 3);
    for (name, operation) in OPERATIONS {
        ID.set(1);
        ID.with(|_| operation());
        assert_eq!(ID.get(), Some(1), "{name}");
    }
}

context_var! { static LAST: Says; }

/// Sets its own variable when it is dropped, if it has something to say, and notes what it found
/// there.
struct Says(u8, Option<u8>, Log<Option<u8>>);

impl Drop for Says {
    fn drop(&mut self) {
        self.2.push(last());
        if let Some(word) = self.1 {
            LAST.set(Says(word, None, self.2.clone()));
        }
    }
}

fn last() -> Option<u8> {
    LAST.with(|value| value.map(|value| value.0))
}

pub(crate) fn r_05_a_destructor_that_sets_its_variable_comes_last() {
    let found = Log::new();
    let says = |word, then| Says(word, then, found.clone());
    // Dropped with the token, when the new value is in its place.
    LAST.set(says(1, Some(2)));
    LAST.set(says(3, None));
    assert_eq!((last(), found.take()), (Some(2), vec![Some(3), Some(2)]));
    LAST.set(says(4, Some(5)));
    found.take();
    LAST.unset();
    assert_eq!((last(), found.take()), (Some(5), vec![None]));
    let token = LAST.set(says(6, Some(7)));
    LAST.reset(token).unwrap();
    // What the reset has brought back is what the destructor replaces.
    assert_eq!((last(), found.take()), (Some(7), vec![Some(5), Some(7)]));
    let guard = LAST.scoped(says(8, Some(9)));
    drop(guard);
    assert_eq!((last(), found.take()), (Some(9), vec![Some(7), Some(9)]));
    // A context's values go when it has been left, and what their destructors set stays where they
    // run.
    let mut context = Context::new();
    context.run(|| drop(LAST.set(says(10, Some(11)))));
    drop(context);
    assert_eq!((last(), found.take()), (Some(11), vec![Some(9), Some(11)]));
    LAST.sync_scope(says(12, Some(13)), || assert_eq!(last(), Some(12)));
    assert_eq!(last(), Some(13));
    // A reader keeps its value, which is dropped when the reader is done.
    LAST.set(says(14, Some(15)));
    LAST.with(|value| {
        LAST.set(says(16, None));
        assert_eq!((value.unwrap().0, last()), (14, Some(16)));
    });
    assert_eq!(last(), Some(15));
    LAST.unset();
    assert!(copy_context().is_empty());
}

pub(crate) fn r_05_defaults_may_use_the_crate() {
    thread_local!(static CALLS: Cell<u32> = const { Cell::new(0) });
    context_var! {
        static OWN: u8 = { OWN.set(2); 1 };
    }
    // Variables of statics are shared by the suite's threads: whoever comes first computes the
    // default.
    let own = ContextVar::<u8>::with_default("own", || {
        CALLS.set(CALLS.get() + 1);
        ID.set(7);
        let _guard = HELD.scoped(Drops::new().value());
        let inherited = shim::thread::spawn(|| ID.get()).join().unwrap();
        let mut copy = copy_context();
        let inside = copy.run(|| ID.set(8).old_value().copied());
        if CALLS.get() == 1 {
            panic::resume_unwind(Box::new("in a default"));
        }
        (inherited.unwrap() + inside.unwrap()) as u8
    });
    ID.set(6);
    assert_eq!(message(&*unwinds(|| own.get())), "in a default");
    assert_eq!((ID.get(), own.get(), own.get()), (Some(6), 14, 14));
    assert_eq!(copy_context().len(), 1);
    for (name, operation) in OPERATIONS {
        thread_local!(static NOW: Cell<fn()> = const { Cell::new(|| ()) });
        NOW.set(operation);
        let var = ContextVar::<u8>::with_default("operation", || {
            NOW.get()();
            9
        });
        assert_eq!((var.get(), var.get()), (9, 9), "{name}");
        assert_eq!(ID.get(), Some(6), "{name}");
    }
    // One that sets its own variable.
    assert_eq!((OWN.get(), OWN.get()), (1, 1));
    assert!(OWN.unset().old_value().is_none());
}

pub(crate) fn r_05_debug_may_change_what_is_shown() {
    context_var! { #[debug] static CURIOUS: Curious; }
    struct Curious(Arc<Mutex<Option<SharedContext>>>);
    impl fmt::Debug for Curious {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let shared = self.0.lock().unwrap().take();
            if let Some(shared) = shared {
                // All of what is being shown, changed and shown again.
                CURIOUS.unset();
                ID.set(3);
                let nested = format!("{:?} {shared:?}", copy_context());
                assert!(nested.starts_with("Context") && nested.contains("SharedContext"));
                let changed = shared.run(|| drop(CURIOUS.unset()));
                return write!(f, "first {}", changed.is_ok());
            }
            f.write_str("again")
        }
    }
    let place = Arc::default();
    let set = || CURIOUS.set(Curious(Arc::clone(&place)));
    set();
    let shared = copy_context().share();
    let tell = || *place.lock().unwrap() = Some(shared.clone());
    tell();
    assert_eq!(
        format!("{:?}", copy_context()),
        "Context {CURIOUS: first true}"
    );
    assert!(CURIOUS.with(|value| value.is_none()) && shared.is_empty());
    shared.run(|| drop(set())).unwrap();
    tell();
    assert!(format!("{shared:?}").contains("CURIOUS: first true"));
    // Also while it is entered.
    let entered = shared.run(|| {
        set();
        tell();
        format!("{shared:?}")
    });
    assert!(entered.unwrap().contains("CURIOUS: first false"));
}

/// Uses the shared context that it is in, whatever is done to it.
struct Inside {
    shared: Arc<Mutex<Option<SharedContext>>>,
    entered: Log<bool>,
}

context_var! { #[debug] static INSIDE: Inside; }

impl Inside {
    fn of(shared: &SharedContext, entered: &Log<bool>) -> Inside {
        Inside {
            shared: Arc::new(Mutex::new(Some(shared.clone()))),
            entered: entered.clone(),
        }
    }

    fn use_it(&self) {
        // Taken out, for there would be no end.
        let taken = self.shared.lock().unwrap().take();
        let Some(shared) = taken else {
            return;
        };
        let bound = (shared.contains(&INSIDE), shared.len(), shared.is_empty());
        let copy = shared.copy();
        assert_eq!((copy.contains(&INSIDE), copy.len(), copy.is_empty()), bound);
        assert!(format!("{shared:?}").starts_with("SharedContext"));
        drop(shared.get(&INSIDE));
        self.entered.push(shared.run(|| drop(ID.set(7))).is_ok());
        *self.shared.lock().unwrap() = Some(shared);
    }
}

impl Clone for Inside {
    fn clone(&self) -> Inside {
        self.use_it();
        Inside {
            shared: Arc::clone(&self.shared),
            entered: self.entered.clone(),
        }
    }
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.use_it();
        f.write_str("Inside")
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.use_it();
    }
}

pub(crate) fn r_05_a_shared_context_may_be_used_by_what_is_in_it() {
    let (shared, entered) = (SharedContext::new(), Log::new());
    let set = || INSIDE.set(Inside::of(&shared, &entered));
    // By values, inside and outside.
    shared.run(|| drop(set())).unwrap();
    assert!(entered.take().is_empty());
    drop(shared.get(&INSIDE));
    assert!(format!("{shared:?}").contains("Inside"));
    assert!(entered.take().iter().all(|entered| *entered));
    let inside = || {
        drop(set());
        drop(INSIDE.get());
        drop(INSIDE.unset());
    };
    shared.run(inside).unwrap();
    let seen = entered.take();
    assert!(
        seen.len() > 2 && seen.iter().all(|entered| !entered),
        "{seen:?}"
    );
    assert_eq!((shared.len(), shared.get(&ID)), (1, Some(7)));
    // By wakers: of those who wait, of one who no longer does, and of all when the context has been
    // left.
    let uses = Inside::of(&shared, &entered);
    let waker = waker(move |_| uses.use_it());
    let mut cx = task::Context::from_waker(&waker);
    let wait = |_| Box::pin(async {}.in_context(&shared));
    let mut waits = [0, 1].map(wait);
    let inside = || {
        Context::new().run(|| {
            let mut gone = wait(2);
            for future in waits.iter_mut().chain([&mut gone]) {
                assert!(future.poll_unpin(&mut cx).is_pending());
                assert!(future.poll_unpin(&mut cx).is_pending(), "again");
            }
            assert!(!entered.take().contains(&true));
            drop(gone);
            assert_eq!(entered.take(), [false]);
        });
    };
    shared.run(inside).unwrap();
    assert!(
        entered.take().contains(&true),
        "woken when it had been left"
    );
    let [first, mut second] = waits;
    drop(first);
    assert!(second.poll_unpin(&mut cx).is_ready());
    drop((second, waker));
    assert_eq!(shared.run(|| ID.get()), Ok(Some(7)));
}
