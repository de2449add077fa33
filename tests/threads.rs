//! Threads: the ways to start them, those that have to wait for their context, and what they do for
//! each other.

#[path = "../crates/conformance/src/drops.rs"]
mod drops;

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::thread::{Builder, Scope};
use aiocontextvars::{Context, SharedContext, context_var, copy_context, shim};

use drops::{Counted, Drops};

context_var! {
    static ID: u64;
    static HELD: Counted;
}

/// What a new thread is given.
enum Form {
    Inherits,
    Given(Context),
    Shared(SharedContext),
}

type Body = Box<dyn FnOnce() -> Option<u64> + Send>;

/// Starts a thread, calls a function, and waits for the thread.
type Start = fn(Form, Body, &dyn Fn()) -> thread::Result<Option<u64>>;

const STARTS: [(&str, Start); 4] = [
    ("spawn", |form, f, meanwhile| {
        let thread = match form {
            Form::Inherits => shim::thread::spawn(f),
            Form::Given(context) => shim::thread::spawn_in(context, f),
            Form::Shared(shared) => shim::thread::spawn_in(&shared, f),
        };
        meanwhile();
        thread.join()
    }),
    ("Builder::spawn", |form, f, meanwhile| {
        let thread = match form {
            Form::Inherits => Builder::new().spawn(f),
            Form::Given(context) => Builder::new().spawn_in(context, f),
            Form::Shared(shared) => Builder::new().spawn_in(shared, f),
        };
        meanwhile();
        thread.unwrap().join()
    }),
    ("Scope::spawn", |form, f, meanwhile| {
        shim::thread::scope(|scope| {
            let thread = match form {
                Form::Inherits => scope.spawn(f),
                Form::Given(context) => scope.spawn_in(context, f),
                Form::Shared(shared) => scope.spawn_in(&shared, f),
            };
            meanwhile();
            thread.join()
        })
    }),
    ("Builder::spawn_scoped", |form, f, meanwhile| {
        shim::thread::scope(|scope| {
            let builder = Builder::new();
            let thread = match form {
                Form::Inherits => builder.spawn_scoped(scope, f),
                Form::Given(context) => builder.spawn_scoped_in(scope, context, f),
                Form::Shared(shared) => builder.spawn_scoped_in(scope, &shared, f),
            };
            meanwhile();
            thread.unwrap().join()
        })
    }),
];

/// Notes the value of [`ID`] when it is dropped.
struct SeesOnDrop(Arc<Mutex<Vec<Option<u64>>>>);

impl Drop for SeesOnDrop {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(ID.get());
    }
}

#[test]
fn th_02_inherited_given_or_empty() {
    for (name, start) in STARTS {
        // The form, what it gives, and whether the thread has the value that the caller has.
        let given = Context::new().with_value(&ID, 5);
        let shared = given.clone().share();
        let forms = [
            (Form::Inherits, Some(1), true),
            (Form::Given(given), Some(5), false),
            (Form::Given(Context::new()), None, false),
            (Form::Shared(shared.clone()), Some(5), false),
            (Form::Shared(shared.clone()), Some(100), false),
        ];
        for (form, expected, inherits) in forms {
            let (drops, own) = (Drops::new(), Drops::new());
            let at_the_end = Arc::default();
            let probe = SeesOnDrop(Arc::clone(&at_the_end));
            let value = own.value();
            let (go, going) = mpsc::channel();
            ID.set(1);
            HELD.set(drops.value());
            let body = move || {
                let _probe = probe;
                going.recv().unwrap();
                assert_eq!(copy_context().contains(&HELD), inherits);
                let seen = ID.get();
                ID.set(100);
                HELD.set(value);
                seen
            };
            let kept_meanwhile = Cell::new(0);
            // Asserts nothing before the thread may end, for which a scope would wait.
            let meanwhile = || {
                ID.set(2);
                HELD.unset();
                kept_meanwhile.set(1 - drops.count());
                go.send(()).unwrap();
            };
            let seen = start(form, Box::new(body), &meanwhile);
            assert_eq!(seen.unwrap(), expected, "{name}");
            assert_eq!(kept_meanwhile.get(), usize::from(inherits), "{name}");
            // Nothing came out, nothing is left, and the function went inside.
            assert_eq!((ID.get(), drops.count()), (Some(2), 1), "{name}");
            assert_eq!(*at_the_end.lock().unwrap(), [Some(100)], "{name}");
            if shared.contains(&HELD) {
                shared.run(|| HELD.unset()).unwrap();
            }
            assert_eq!(own.count(), 1, "{name}");
        }
        assert_eq!(shared.get(&ID), Some(100), "{name}");
    }
}

#[test]
fn a_panic_ends_the_thread_alone() {
    for (name, start) in STARTS {
        let shared = SharedContext::new();
        let forms = [
            Form::Inherits,
            Form::Given(Context::new()),
            Form::Shared(shared.clone()),
        ];
        for form in forms {
            let drops = Drops::new();
            let at_the_end = Arc::default();
            let probe = SeesOnDrop(Arc::clone(&at_the_end));
            let value = drops.value();
            ID.set(1);
            let body = move || {
                let _probe = probe;
                ID.set(100);
                HELD.set(value);
                panic::resume_unwind(Box::new("on purpose"))
            };
            let payload = start(form, Box::new(body), &|| ()).unwrap_err();
            assert_eq!(payload.downcast_ref(), Some(&"on purpose"), "{name}");
            assert_eq!(*at_the_end.lock().unwrap(), [Some(100)], "{name}");
            // The shared one has been left, and has what was set.
            let left = shared.run(|| HELD.unset().old_value().is_some());
            assert_eq!((left.is_ok(), drops.count()), (true, 1), "{name}");
            assert_eq!(ID.get(), Some(1), "{name}");
        }
        assert_eq!(shared.get(&ID), Some(100), "{name}");
    }
}

#[test]
fn a_scoped_thread_that_panics_and_is_not_joined_has_its_scope_panic() {
    ID.set(1);
    let scope = |scope: Scope<'_, '_>| {
        scope.spawn(|| panic::resume_unwind(Box::new("on purpose")));
        ID.set(2);
    };
    let outcome = panic::catch_unwind(|| shim::thread::scope(scope));
    let text = *outcome.unwrap_err().downcast::<&str>().unwrap();
    assert_eq!(text, "a scoped thread panicked");
    // The scope is no unit of work.
    assert_eq!(ID.get(), Some(2));
}

#[test]
fn scoped_threads_borrow_and_spawn_others() {
    ID.set(1);
    let names = ["first".to_owned(), "second".to_owned()];
    let mut seen = [[None; 2]; 2];
    let scoped = shim::thread::scope(|scope| {
        for (n, (name, seen)) in names.iter().zip(&mut seen).enumerate() {
            let builder = Builder::new().name(name.clone());
            let thread = builder.spawn_scoped(scope, move || {
                let [own, nested] = seen;
                *own = ID.get();
                ID.set(10 + n as u64);
                assert_eq!(thread::current().name(), Some(name.as_str()));
                let inner = scope.spawn(move || {
                    // Without a name of its own.
                    assert_eq!(thread::current().name(), None);
                    *nested = ID.get();
                    name.len()
                });
                ID.set(20);
                inner.join().unwrap()
            });
            ID.set(2 + n as u64);
            assert_eq!(thread.unwrap().join().unwrap(), name.len());
        }
        ID.get()
    });
    assert_eq!(seen, [[Some(1), Some(10)], [Some(2), Some(11)]]);
    assert_eq!((scoped, ID.get()), (Some(3), Some(3)));
}

#[test]
fn what_is_not_started_goes_in_its_context() {
    /// Fails to start a thread.
    type Fails = fn(Builder, Form, Body) -> std::io::Error;
    let fails: [Fails; 2] = [
        |builder, form, f| match form {
            Form::Inherits => builder.spawn(f).unwrap_err(),
            Form::Given(context) => builder.spawn_in(context, f).unwrap_err(),
            Form::Shared(shared) => builder.spawn_in(shared, f).unwrap_err(),
        },
        |builder, form, f| {
            shim::thread::scope(|scope| match form {
                Form::Inherits => builder.spawn_scoped(scope, f).unwrap_err(),
                Form::Given(context) => builder.spawn_scoped_in(scope, context, f).unwrap_err(),
                Form::Shared(shared) => builder.spawn_scoped_in(scope, shared, f).unwrap_err(),
            })
        },
    ];
    // No machine has so much room, and of such a name std panics.
    let builders: [(fn() -> Builder, bool); 2] = [
        (|| Builder::new().stack_size(1 << 60), false),
        (|| Builder::new().name("null\0byte".to_owned()), true),
    ];
    for fails in fails {
        for (builder, panics) in builders {
            let drops = Drops::new();
            let context = || {
                Context::new()
                    .with_value(&ID, 5)
                    .with_value(&HELD, drops.value())
            };
            ID.set(1);
            let forms = [
                (Form::Inherits, 1),
                (Form::Given(context()), 5),
                (Form::Shared(context().share()), 5),
            ];
            for (n, (form, expected)) in forms.into_iter().enumerate() {
                let at_the_end = Arc::default();
                let probe = SeesOnDrop(Arc::clone(&at_the_end));
                let body: Body = Box::new(move || {
                    let _probe = probe;
                    unreachable!("there is no thread")
                });
                let start = || fails(builder(), form, body);
                let outcome = panic::catch_unwind(AssertUnwindSafe(start));
                assert_eq!(outcome.is_err(), panics);
                assert_eq!(*at_the_end.lock().unwrap(), [Some(expected)]);
                assert_eq!((ID.get(), drops.count()), (Some(1), n));
            }
        }
    }
}

#[test]
fn signatures_are_those_of_std() {
    // Each may be written with `std::thread` in place of `shim::thread`.
    let handle: thread::JoinHandle<u8> = shim::thread::spawn::<fn() -> u8, u8>(|| 1);
    assert_eq!(handle.join().unwrap(), 1);
    let builder = Builder::new().name("named".to_owned());
    let handle = builder.stack_size(64 * 1024).spawn::<_, u8>(|| 2).unwrap();
    assert_eq!(handle.thread().name(), Some("named"));
    assert_eq!(handle.join().unwrap(), 2);
    let output = shim::thread::scope(|scope| {
        let handle: thread::ScopedJoinHandle<'_, u8> = scope.spawn::<_, u8>(|| 3);
        let last = Builder::new().spawn_scoped::<_, u8>(scope, || 4).unwrap();
        handle.join().unwrap() + last.join().unwrap()
    });
    assert_eq!(output, 7);
}

/// Returns when the thread of this process that has this name sleeps, where the system tells.
fn wait_until_asleep(name: &str) {
    use std::fs;
    loop {
        let Ok(tasks) = fs::read_dir("/proc/self/task") else {
            return;
        };
        for task in tasks.flatten() {
            // It may have ended meanwhile.
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            let is_it = |(before, _): &(&str, &str)| before.ends_with(&format!("({name}"));
            let state = stat.rsplit_once(") ").filter(is_it);
            if state.is_some_and(|(_, after)| after.starts_with('S')) {
                return;
            }
        }
        thread::yield_now();
    }
}

#[test]
fn a_thread_waits_for_a_shared_context_that_is_entered() {
    let shared = SharedContext::new();
    let inside = || {
        ID.set(1);
        let builder = shim::thread::Builder::new().name("waits-inside".to_owned());
        let thread = builder.spawn_in(&shared, || {
            let seen = ID.get();
            ID.set(3);
            (seen, thread::current().name().map(str::to_owned))
        });
        wait_until_asleep("waits-inside");
        ID.set(2);
        thread.unwrap()
    };
    let waits = shared.run(inside).unwrap();
    let (seen, name) = waits.join().unwrap();
    assert_eq!((seen, name.as_deref()), (Some(2), Some("waits-inside")));
    assert_eq!((shared.get(&ID), ID.get()), (Some(3), None));
}

#[test]
fn a_loop_of_another_thread_leaves_what_was_cancelled_to_its_own() {
    // In this process no other thread has callbacks of its own.
    let event_loop = EventLoop::new();
    let held = Rc::new(());
    let inside = Rc::clone(&held);
    let timer = event_loop.call_later(Duration::from_secs(3600), move || drop(inside));
    let cancels = || {
        timer.cancel();
        EventLoop::new().run_until_complete(shim::yield_now());
    };
    thread::scope(|scope| scope.spawn(cancels).join().unwrap());
    assert_eq!(Rc::strong_count(&held), 2);
    event_loop.run_until_complete(shim::yield_now());
    assert_eq!(Rc::strong_count(&held), 1);
}
