//! Values are read where they are, by way of a cache: what could make that differ from a plain
//! look-up in the context, or let a value go while somebody reads it.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use aiocontextvars::{
    Context, ContextVar, Scoped, SharedContext, Token, context_var, copy_context, shim,
};
use fastrand::Rng;

#[path = "../crates/conformance/src/drops.rs"]
mod drops;

use drops::{Counted, Drops};

context_var! {
    static NUMBER: u64;
    static OTHER: u64 = 1;
    static TEXT: String;
    static COUNTED: Counted;
}

/// What a plain look-up in the context finds.
fn plain<T: Clone + Send + Sync + 'static>(var: &ContextVar<T>) -> Option<T> {
    copy_context().get(var).cloned()
}

/// A value on the heap that shows whether it is whole.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Whole(Box<[u64; 8]>);

impl Whole {
    fn new(number: u64) -> Whole {
        Whole(Box::new([number; 8]))
    }

    fn number(&self) -> u64 {
        assert!(self.0.iter().all(|&part| part == self.0[0]), "{:?}", self.0);
        self.0[0]
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        // Seen by whoever still has a reference, should the memory not be used again at once.
        self.0[0] ^= u64::MAX;
    }
}

/// Variables, contexts and numbers that all threads of a random program share.
struct World {
    /// More than the cache has places.
    vars: Vec<ContextVar<Whole>>,
    contexts: Mutex<Vec<Context>>,
    shared: Vec<SharedContext>,
    next: AtomicUsize,
}

/// One thread of a random program.
struct Walk<'a> {
    world: &'a World,
    random: RefCell<Rng>,
    tokens: RefCell<Vec<(usize, Token<Whole>)>>,
}

impl Walk<'_> {
    fn below(&self, limit: usize) -> usize {
        self.random.borrow_mut().usize(..limit)
    }

    /// Often one of a few, which then are in the cache.
    fn index(&self) -> usize {
        let limit = if self.below(4) > 0 {
            6
        } else {
            self.world.vars.len()
        };
        self.below(limit)
    }

    fn value(&self) -> Whole {
        Whole::new(self.world.next.fetch_add(1, Ordering::Relaxed) as u64)
    }

    /// The cached read of a few variables, twice, and the plain one.
    fn check(&self) {
        let context = copy_context();
        for _ in 0..4 {
            let var = &self.world.vars[self.index()];
            let expected = context.get(var);
            assert_eq!(var.get().as_ref(), expected);
            var.with(|value| assert_eq!(value, expected));
            assert_eq!(
                var.get_or(Whole::new(0)),
                expected.cloned().unwrap_or(Whole::new(0))
            );
        }
    }

    fn steps(&self, number: usize, depth: usize) {
        let mut guards: Vec<Scoped<'_, Whole>> = Vec::new();
        for _ in 0..number {
            self.step(depth, &mut guards);
            self.check();
        }
        while !guards.is_empty() {
            drop(guards.swap_remove(self.below(guards.len())));
            self.check();
        }
    }

    fn step<'a>(&'a self, depth: usize, guards: &mut Vec<Scoped<'a, Whole>>) {
        let deeper = depth + 1;
        let inner = if depth < 4 { 4 } else { 0 };
        let index = self.index();
        let var = &self.world.vars[index];
        match self.below(14) {
            0..3 => drop(var.set(self.value())),
            3 => self
                .tokens
                .borrow_mut()
                .push((index, var.set(self.value()))),
            4 => {
                let token = self.tokens.borrow_mut().pop();
                // Refused if it is another context's.
                token
                    .into_iter()
                    .for_each(|(index, token)| drop(self.world.vars[index].reset(token)));
            }
            5 => drop(var.unset()),
            6 => guards.push(var.scoped(self.value())),
            7 if !guards.is_empty() => drop(guards.swap_remove(self.below(guards.len()))),
            8 => self.world.contexts.lock().unwrap().push(copy_context()),
            9 => {
                let context = self.world.contexts.lock().unwrap().pop();
                let mut context = context.unwrap_or_default();
                context.run(|| self.steps(inner, deeper));
                let kept = (self.below(2) == 0).then_some(context);
                self.world.contexts.lock().unwrap().extend(kept);
            }
            10 => {
                let shared = &self.world.shared[self.below(self.world.shared.len())];
                // Refused if it is entered.
                let _ = shared.run(|| self.steps(inner, deeper));
            }
            11 => {
                let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
                    var.with(|value| {
                        self.read(value, inner, deeper);
                        panic::resume_unwind(Box::new(()));
                    })
                }));
                assert!(outcome.is_err());
            }
            _ => var.with(|value| self.read(value, inner, deeper)),
        }
    }

    /// Goes on while `value` is read, which must stay as it is.
    fn read(&self, value: Option<&Whole>, inner: usize, depth: usize) {
        let before = value.map(Whole::number);
        self.steps(inner, depth);
        assert_eq!(value.map(Whole::number), before);
    }
}

#[test]
fn random_programs_read_what_a_plain_look_up_finds() {
    // Those of a debug build take two seconds, and a minute under valgrind.
    let seeds = if cfg!(debug_assertions) { 20 } else { 300 };
    for seed in 0..seeds {
        let world = World {
            vars: (0..150)
                .map(|number| ContextVar::named(format!("variable {number}")))
                .collect(),
            contexts: Mutex::new(Vec::new()),
            shared: (0..2).map(|_| SharedContext::new()).collect(),
            next: AtomicUsize::new(1),
        };
        thread::scope(|scope| {
            for thread in 0..3 {
                let world = &world;
                scope.spawn(move || {
                    let walk = Walk {
                        world,
                        random: RefCell::new(Rng::with_seed(seed * 3 + thread)),
                        tokens: RefCell::default(),
                    };
                    walk.steps(150, 0);
                });
            }
        });
    }
}

#[test]
fn a_value_stays_while_it_is_read_and_goes_with_its_last_reader() {
    let drops = Drops::new();
    let mut context = Context::new();
    context.run(|| {
        COUNTED.set(drops.value());
        COUNTED.with(|outer| {
            assert!(outer.is_some());
            COUNTED.with(|_| {
                drop(COUNTED.set(drops.value()));
                assert_eq!(drops.count(), 0, "both read it");
            });
            assert_eq!(drops.count(), 0, "one still reads it");
            drop(COUNTED.set(drops.value()));
            assert_eq!(drops.count(), 1, "nobody reads the second one");
        });
        assert_eq!(drops.count(), 2);
    });
    drop(context);
    assert_eq!(drops.count(), 3);
}

#[test]
fn a_reader_keeps_its_own_value_and_no_other() {
    let drops = Drops::new();
    Context::new().run(|| {
        COUNTED.set(drops.value());
        NUMBER.set(7);
        NUMBER.with(|number| {
            for set in 0..1_000 {
                NUMBER.set(set);
                drop(COUNTED.set(drops.value()));
                // All but the current one.
                assert_eq!(drops.count(), set as usize + 1);
            }
            drop(COUNTED.unset());
            assert_eq!(drops.count(), 1_001);
            assert_eq!(number, Some(&7));
        });
        assert_eq!(drops.count(), 1_001);
    });
}

#[test]
fn a_value_under_a_guard_stays_while_it_is_read() {
    let drops = Drops::new();
    Context::new().run(|| {
        COUNTED.set(drops.value());
        let (outer, inner) = (COUNTED.scoped(drops.value()), COUNTED.scoped(drops.value()));
        COUNTED.with(|top| {
            drop(outer);
            drop(inner);
            COUNTED.with(|bottom| {
                drop(COUNTED.unset());
                assert!(top.is_some() && bottom.is_some());
            });
            assert!(drops.count() <= 2, "{}", drops.count());
        });
        assert_eq!(drops.count(), 3);
    });
}

#[test]
fn a_value_stays_while_it_is_read_whatever_becomes_of_copies() {
    let drops = Drops::new();
    let mut context = Context::new();
    context.run(|| {
        COUNTED.set(drops.value());
        let copy = copy_context();
        COUNTED.with(|value| {
            // Written where the bindings are shared with the copy, which then is dropped elsewhere.
            drop(COUNTED.set(drops.value()));
            thread::spawn(move || drop(copy)).join().unwrap();
            assert_eq!(drops.count(), 0);
            assert!(value.is_some());
        });
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn a_value_stays_while_it_is_read_in_frames_that_come_and_go() {
    let drops = Drops::new();
    Context::new().run(|| {
        COUNTED.set(drops.value());
        COUNTED.with(|value| {
            let mut inner = copy_context();
            inner.run(|| {
                drop(COUNTED.set(drops.value()));
                COUNTED.with(|inner| assert!(inner.is_some()));
                shim::block_on(async { drop(COUNTED.unset()) });
            });
            drop(inner);
            drop(COUNTED.unset());
            assert!(COUNTED.with(|now| now.is_none()));
            assert_eq!(drops.count(), 1, "the inner one");
            assert!(value.is_some());
        });
        assert_eq!(drops.count(), 2);
    });
}

#[test]
fn a_clone_may_replace_what_it_clones() {
    struct Replaces(u64);
    context_var! { static REPLACES: Replaces; }
    impl Clone for Replaces {
        fn clone(&self) -> Replaces {
            let before = self.0;
            drop(REPLACES.set(Replaces(before + 1)));
            drop(REPLACES.unset());
            drop(REPLACES.set(Replaces(before + 2)));
            assert_eq!(self.0, before);
            Replaces(before)
        }
    }
    Context::new().run(|| {
        REPLACES.set(Replaces(1));
        assert_eq!(REPLACES.get().map(|value| value.0), Some(1));
        assert_eq!(REPLACES.with(|value| value.map(|value| value.0)), Some(3));
    });
}

#[test]
fn a_panic_in_a_read_lets_go_of_what_was_replaced() {
    let drops = Drops::new();
    Context::new().run(|| {
        COUNTED.set(drops.value());
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            COUNTED.with(|_| {
                drop(COUNTED.set(drops.value()));
                panic::resume_unwind(Box::new(()));
            })
        }));
        assert!(outcome.is_err());
        assert_eq!(drops.count(), 1);
        drop(COUNTED.set(drops.value()));
        assert_eq!(drops.count(), 2, "nobody is taken for a reader any more");
    });
}

#[test]
fn a_destructor_that_a_reader_has_put_off_may_write_and_read() {
    #[derive(Debug)]
    struct Writes;
    context_var! { static WRITES: Writes; }
    impl Drop for Writes {
        fn drop(&mut self) {
            NUMBER.set(NUMBER.get().unwrap_or(0) + 1);
        }
    }
    Context::new().run(|| {
        WRITES.set(Writes);
        WRITES.with(|_| {
            drop(WRITES.unset());
            assert_eq!(NUMBER.get(), None);
        });
        assert_eq!(NUMBER.get(), Some(1));
    });
}

#[test]
fn reads_in_a_shared_context_see_what_was_published() {
    let shared = SharedContext::new();
    shared.run(|| TEXT.set("one".to_owned())).unwrap();
    shared
        .run(|| {
            TEXT.with(|text| {
                TEXT.set("two".to_owned());
                assert_eq!(shared.get(&TEXT).as_deref(), Some("two"));
                assert_eq!(TEXT.get().as_deref(), Some("two"));
                assert_eq!(text.map(String::as_str), Some("one"));
            });
        })
        .unwrap();
    let other = shared.clone();
    let seen = thread::spawn(move || other.run(|| TEXT.get()).unwrap());
    assert_eq!(seen.join().unwrap().as_deref(), Some("two"));
}

#[test]
fn a_context_that_is_left_does_not_show_in_the_next() {
    let mut contexts: Vec<Context> = (0..300)
        .map(|number| Context::new().with_value(&NUMBER, number))
        .collect();
    for _ in 0..3 {
        for (number, context) in contexts.iter_mut().enumerate() {
            context.run(|| {
                assert_eq!(NUMBER.get(), Some(number as u64));
                assert_eq!(OTHER.get(), 1);
                Context::new().run(|| assert_eq!(NUMBER.get(), None));
                assert_eq!(NUMBER.get(), Some(number as u64));
            });
            assert_eq!(NUMBER.get(), None);
        }
    }
}

#[test]
fn an_unset_variable_is_remembered_as_such_only_until_it_is_set() {
    Context::new().run(|| {
        for number in 0..300 {
            assert_eq!((NUMBER.get(), plain(&NUMBER)), (None, None));
            let token = NUMBER.set(number);
            assert_eq!((NUMBER.get(), plain(&NUMBER)), (Some(number), Some(number)));
            NUMBER.reset(token).unwrap();
        }
        assert_eq!(OTHER.get(), 1, "the default");
        OTHER.set(2);
        assert_eq!(OTHER.get(), 2);
        drop(OTHER.unset());
        assert_eq!(OTHER.get(), 1, "the default");
    });
}

#[test]
fn a_guard_that_ends_elsewhere_shows_at_once() {
    Context::new().run(|| {
        NUMBER.set(1);
        let guard = NUMBER.scoped(2);
        assert_eq!(NUMBER.get(), Some(2));
        // Where its context is not current, so that this gets no new bindings.
        NUMBER.with(|two| {
            Context::new().run(|| drop(guard));
            assert_eq!(NUMBER.get(), Some(1));
            assert_eq!(two, Some(&2));
        });
        assert_eq!((NUMBER.get(), plain(&NUMBER)), (Some(1), Some(1)));
    });
}

#[test]
fn variables_that_come_and_go_are_not_taken_for_each_other() {
    Context::new().run(|| {
        for number in 0..1_000_u64 {
            let var = ContextVar::named(format!("variable {number}"));
            assert_eq!(var.get(), None);
            drop(var.set(number));
            assert_eq!(var.get(), Some(number));
            // Of another type, and with what may be the address of the one before.
            let text = ContextVar::named("text");
            assert_eq!(text.get(), None);
            drop(text.set(number.to_string()));
            assert_eq!(text.get(), Some(number.to_string()));
        }
    });
}

#[test]
fn values_of_no_size_are_values() {
    context_var! { static NOTHING: (); }
    Context::new().run(|| {
        assert_eq!(NOTHING.get(), None);
        NOTHING.set(());
        assert_eq!(NOTHING.get(), Some(()));
        NOTHING.with(|nothing| {
            drop(NOTHING.unset());
            assert_eq!(nothing, Some(&()));
        });
        assert_eq!(NOTHING.get(), None);
    });
}

#[test]
fn two_threads_read_one_context_while_a_third_writes_its_copy() {
    let mut context = Context::new().with_value(&TEXT, "inherited".to_owned());
    let stop = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (mut context, stop) = (context.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                context.run(|| {
                    let mut reads = 0;
                    while stop.load(Ordering::Relaxed) == 0 || reads < 1_000 {
                        TEXT.with(|text| assert_eq!(text.map(String::as_str), Some("inherited")));
                        reads += 1;
                    }
                });
            })
        })
        .collect();
    context.run(|| {
        for number in 0..1_000 {
            TEXT.set(number.to_string());
            assert_eq!(TEXT.get(), Some(number.to_string()));
        }
    });
    stop.store(1, Ordering::Relaxed);
    readers
        .into_iter()
        .for_each(|reader| reader.join().unwrap());
}

#[test]
fn a_read_may_be_where_the_thread_ends() {
    struct AtExit;
    impl Drop for AtExit {
        fn drop(&mut self) {
            // The thread's own context may be gone, but not while it is read.
            TEXT.with(|text| {
                let before = text.cloned();
                let _refused = TEXT.try_set("later".to_owned());
                assert_eq!(text.cloned(), before);
            });
        }
    }
    thread_local! { static AT_EXIT: AtExit = const { AtExit }; }
    thread::spawn(|| {
        AT_EXIT.with(|_| ());
        TEXT.set("root".to_owned());
        assert_eq!(TEXT.get().as_deref(), Some("root"));
    })
    .join()
    .unwrap();
    thread::spawn(|| {
        TEXT.set("root".to_owned());
        AT_EXIT.with(|_| ());
    })
    .join()
    .unwrap();
}
