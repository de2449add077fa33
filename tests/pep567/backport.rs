//! The 21 tests of the PEP 567 backport for Python 3.5 and 3.6, which are CPython's first ones, and
//! where each is here. What is covered by the rows of `crates/conformance` is not repeated.
//!
//! | there | here |
//! | --- | --- |
//! | `context_var_new_1` | a name is a `&str`, so nothing else compiles; `cv_01_three_constructors`; `cv_03_identity_not_name_is_the_key` |
//! | `context_var_new_2` | `ContextVar<T>` is generic |
//! | `context_var_repr_1` | `cv_10_debug_shows_name_and_allowed_values_only`, `tk_10_debug_names_the_variable`, [`repr_1_what_contains_itself_can_be_shown`]; a used token cannot be shown, it has moved |
//! | `context_subclassing_1` | there are no subclasses |
//! | `context_new_1` | `Context::new` takes no arguments; `cx_01_new_is_empty` |
//! | `context_typerrors_1` | only variables are taken as keys, anything else does not compile; `cx_02_keys_are_typed_variables` |
//! | `context_get_context_1` | `copy_context` returns a `Context`; `cc_02_an_empty_copy` |
//! | `context_run_1` | `run` without a function does not compile |
//! | `context_run_2` | arguments are captured, and moved or borrowed as the closure says; `rn_01_run_returns_the_result` |
//! | `context_run_3` | `rn_02_a_panic_restores_and_keeps_the_bindings` |
//! | `context_run_4` | `rn_04_nesting_replaces_and_does_not_chain`, [`run_4_a_copy_taken_after_a_nested_run`] |
//! | `context_run_5` | `rn_02_a_panic_restores_and_keeps_the_bindings` |
//! | `context_run_6` | `cx_04_contexts_ignore_defaults`, [`run_6_getset_3_a_default_inside_a_context_that_is_looked_into`] |
//! | `context_run_7` | `rn_05_reentry_is_refused`; with an owned context, see `Context::run`, it does not compile |
//! | `context_getset_1` | `cv_04_lookup_order`, `tk_02_old_value`, `tk_03_reset_restores_or_removes`, `tk_04_a_token_works_once`, `cx_03_a_missing_variable_is_none`, `cx_05_len_and_iter_list_what_is_set`, `cc_01_copies_do_not_follow_the_original`; the second use of a token does not compile, see `Token` |
//! | `context_getset_2` | `tk_05_refused_by_another_variable` |
//! | `context_getset_3` | `tk_03_reset_restores_or_removes`, [`run_6_getset_3_a_default_inside_a_context_that_is_looked_into`] |
//! | `context_getset_4` | `tk_06_refused_in_another_context` |
//! | `context_getset_5` | `cv_08_values_are_shared_by_reference` |
//! | `context_copy_1` | `cx_08_copies_are_independent`, [`copy_1_a_copy_run_while_the_original_is_entered`] |
//! | `context_threads_1` | `th_01_a_std_thread_starts_empty`, [`threads_1_writers_do_not_meet`] |

use std::sync::Barrier;
use std::thread;

use aiocontextvars::{Context, ContextVar, SharedContext, WithDefault, copy_context};

use crate::drops::{Counted, Drops};

fn number(var: &ContextVar<(u32, Counted)>) -> Option<u32> {
    var.with(|value| value.map(|(number, _)| *number))
}

#[test]
fn repr_1_what_contains_itself_can_be_shown() {
    #[derive(Clone, Debug)]
    struct List(
        #[allow(dead_code, reason = "it is shown")] Vec<&'static ContextVar<List, WithDefault>>,
    );
    static LIST: ContextVar<List, WithDefault> =
        ContextVar::with_default("LIST", || List(vec![&LIST, &LIST])).debug();
    static SHARED: ContextVar<SharedContext> = ContextVar::new("SHARED").debug();
    // A default with its own variable inside, twice.
    assert_eq!(LIST.get().0.len(), 2);
    let shown = format!("{LIST:?}");
    assert_eq!(shown.matches("default: ...").count(), 2, "{shown}");
    assert_eq!(shown, format!("{LIST:?}"));
    // A value with its own context inside.
    let shared = SharedContext::new();
    let token = shared.run(|| SHARED.set(shared.clone())).unwrap();
    let value = "SharedContext(Context {SHARED: ...})";
    let whole = format!("SharedContext(Context {{SHARED: {value}}})");
    assert_eq!(format!("{shared:?}"), whole);
    assert_eq!(
        format!("{:?}", shared.get(&SHARED)),
        format!("Some({whole})")
    );
    // And a token's old value.
    shared.run(|| SHARED.reset(token)).unwrap().unwrap();
    assert_eq!(format!("{shared:?}"), "SharedContext(Context {})");
    let token = shared.run(|| (SHARED.set(shared.clone()), SHARED.set(shared.clone())).1);
    let shown = format!("{:?}", token.unwrap());
    assert!(shown.contains("old_value: SharedContext"), "{shown}");
    // The context holds itself, so it would never be freed.
    shared.run(|| drop(SHARED.unset())).unwrap();
}

#[test]
fn run_4_a_copy_taken_after_a_nested_run() {
    let drops = Drops::new();
    let var: ContextVar<(u32, Counted)> = ContextVar::new("var");
    let (outer, mut inner) = (SharedContext::new(), Context::new());
    let copy = outer
        .run(|| {
            assert_eq!(number(&var), None);
            var.set((1, drops.value()));
            inner.run(|| assert_eq!(number(&var), None));
            assert_eq!(number(&var), Some(1));
            copy_context()
        })
        .unwrap();
    assert!(inner.is_empty());
    assert_eq!(number(&var), None);
    // The copy equals the context: one binding, with the very same value.
    assert_eq!((copy.len(), outer.len()), (1, 1));
    let (mut copied, original) = (copy.clone(), outer.copy());
    let value = original.get(&var).unwrap();
    assert!(std::ptr::eq(value, copied.get(&var).unwrap()));
    // And is another one.
    copied.run(|| drop(var.unset()));
    assert_eq!((copied.len(), copy.len(), outer.len()), (0, 1, 1));
    drop((copied, copy, original));
    assert_eq!(drops.count(), 0);
    drop(outer);
    assert_eq!(drops.count(), 1);
}

#[test]
fn run_6_getset_3_a_default_inside_a_context_that_is_looked_into() {
    let var = ContextVar::<u32>::with_default("var", || 42);
    let shared = SharedContext::new();
    let seen = || (shared.get(&var), shared.contains(&var), shared.len());
    let listed = || shared.copy().iter().count();
    shared
        .run(|| {
            assert_eq!(var.get(), 42);
            assert_eq!((seen(), listed()), ((None, false, 0), 0));
            let token = var.set(1);
            assert_eq!(var.get(), 1);
            assert_eq!((seen(), listed()), ((Some(1), true, 1), 1));
            var.reset(token).unwrap();
            assert_eq!(var.get(), 42);
            assert_eq!((seen(), listed()), ((None, false, 0), 0));
            // Bound to what is the default, too, it is bound.
            var.set(42);
            assert_eq!((seen(), listed()), ((Some(42), true, 1), 1));
        })
        .unwrap();
    assert_eq!((var.get(), seen()), (42, (Some(42), true, 1)));
    assert!(copy_context().is_empty());
}

#[test]
fn copy_1_a_copy_run_while_the_original_is_entered() {
    let var = ContextVar::<u32>::with_default("var", || 42);
    let original = SharedContext::new();
    let copy = original
        .run(|| {
            var.set(10);
            let copy = original.copy().share();
            var.set(20);
            assert_eq!((original.get(&var), copy.get(&var)), (Some(20), Some(10)));
            copy.run(|| {
                assert_eq!(var.get(), 10);
                var.set(30);
                // Both are entered now, and looked into from the inner one.
                assert_eq!((original.get(&var), copy.get(&var)), (Some(20), Some(30)));
                assert!(original.run(|| ()).is_err() && copy.run(|| ()).is_err());
            })
            .unwrap();
            assert_eq!(var.get(), 20);
            copy
        })
        .unwrap();
    assert_eq!((original.get(&var), copy.get(&var)), (Some(20), Some(30)));
    assert_eq!(var.get(), 42);
}

#[test]
fn threads_1_writers_do_not_meet() {
    const THREADS: u32 = 10;
    const ROUNDS: u32 = 10;
    let drops = Drops::new();
    let var: ContextVar<(u32, Counted)> = ContextVar::new("var");
    let barrier = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (drops, var, barrier) = (&drops, &var, &barrier);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let value = thread * 1000 + round;
                        var.set((value, drops.value()));
                        // Everybody has set it, and nobody sets it again yet.
                        barrier.wait();
                        assert_eq!(number(var), Some(value));
                        barrier.wait();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert_eq!(number(&var), None);
    // The threads' own contexts have gone with them.
    assert_eq!(drops.count(), (THREADS * ROUNDS) as usize);
}
