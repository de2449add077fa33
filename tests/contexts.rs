//! Contexts as values, while guards are live in them, and the meaning of what they have.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::thread;

use aiocontextvars::{
    Context, ContextExt, ContextVar, ResetErrorKind, Scoped, context_var, copy_context,
    inherit_context,
};

context_var! {
    static ID: u64;
    static LEVEL: u64;
}

/// A context in which [`ID`] was set to 1, and is 2 by a guard.
fn guarded() -> (Context, Scoped<'static, u64>) {
    let mut context = Context::new();
    let guard = context.run(|| {
        ID.set(1);
        ID.scoped(2)
    });
    (context, guard)
}

#[test]
fn a_value_that_was_taken_out_does_not_come_back_when_a_guard_ends() {
    let (context, guard) = guarded();
    let mut context = context.without(&ID);
    assert!(context.is_empty() && !context.contains(&ID));
    drop(guard);
    assert_eq!((context.get(&ID), context.len()), (None, 0));
    assert_eq!(context.run(|| ID.get()), None);
}

thread_local!(static SEEN: Cell<Option<Option<u64>>> = const { Cell::new(None) });

/// A value whose destructor notes the [`ID`] that it sees.
struct Sees;

impl Drop for Sees {
    fn drop(&mut self) {
        SEEN.set(Some(ID.get()));
    }
}

/// As at the end of a future in a context.
#[test]
fn values_of_a_wrapper_that_is_taken_off_go_in_no_context() {
    context_var! { static HELD: Sees; }
    ID.set(1);
    let context = || Context::new().with_value(&HELD, Sees).with_value(&ID, 2);
    assert_eq!("own".in_context(context()).into_inner(), "own");
    assert_eq!((SEEN.take(), ID.get()), (Some(None), Some(1)));
    assert_eq!(
        "shared".in_context(context().share()).into_inner(),
        "shared"
    );
    assert_eq!((SEEN.take(), ID.get()), (Some(None), Some(1)));
    assert_eq!(HELD.scope(Sees, "unused").into_inner(), "unused");
    assert_eq!((SEEN.take(), ID.get()), (Some(None), Some(1)));
}

/// The values that destructors set, also where one panics.
#[test]
fn what_a_destructor_sets_before_it_panics_goes_in_no_context() {
    struct SetsAndPanics;
    impl Drop for SetsAndPanics {
        fn drop(&mut self) {
            SET.set(Sees);
            panic!("a destructor");
        }
    }
    context_var! {
        static SET: Sees;
        static HELD: SetsAndPanics;
    }
    let mut outside = Context::new().with_value(&ID, 1);
    let panicked = outside.run(|| {
        let wrapped = ().in_context(Context::new().with_value(&HELD, SetsAndPanics));
        panic::catch_unwind(AssertUnwindSafe(|| wrapped.into_inner())).is_err()
    });
    assert!(panicked);
    assert_eq!(SEEN.take(), Some(None));
    assert!(!outside.contains(&SET));
}

#[test]
fn a_value_that_was_given_stays_when_a_guard_ends() {
    let (context, guard) = guarded();
    let mut context = context.with_value(&ID, 5);
    drop(guard);
    assert_eq!(context.get(&ID), Some(&5));
    assert_eq!(context.run(|| ID.get()), Some(5));

    let (context, guard) = guarded();
    let mut context = context.with_value(&ID, 5);
    context.run(|| {
        drop(guard);
        assert_eq!(ID.get(), Some(5));
        let inner = ID.scoped(6);
        assert_eq!(ID.get(), Some(6));
        drop(inner);
        assert_eq!(ID.get(), Some(5));
    });
}

/// Nor does the guard's value by a token.
#[test]
fn a_token_that_was_made_under_a_guard_does_not_bring_its_value_back() {
    let (mut context, guard) = guarded();
    let token = context.run(|| ID.set(3));
    assert_eq!(token.old_value(), Some(&2));
    let mut context = context.with_value(&ID, 5);
    context.run(|| ID.reset(token)).unwrap();
    assert_eq!(context.get(&ID), Some(&1));
    drop(guard);
    assert_eq!(context.get(&ID), Some(&1));
}

/// As what is set under a guard by [`aiocontextvars::ContextVar::set`].
#[test]
fn a_value_that_was_applied_under_a_guard_goes_with_it() {
    let (mut context, guard) = guarded();
    context.run(|| {
        Context::new().with_value(&ID, 9).apply();
        assert_eq!(ID.get(), Some(9));
        drop(guard);
        assert_eq!(ID.get(), Some(1));
    });
}

#[test]
fn a_clone_of_a_context_that_was_written_to_has_neither_its_tokens_nor_its_guards() {
    let mut original = Context::new();
    let token = original.run(|| ID.set(1));
    let guard = original.run(|| ID.scoped(2));
    let mut clone = original.clone();
    let error = clone.run(|| ID.reset(token)).unwrap_err();
    assert_eq!(error.kind(), ResetErrorKind::DifferentContext);
    drop(guard);
    assert_eq!((original.get(&ID), clone.get(&ID)), (Some(&1), Some(&2)));
    original.run(|| ID.reset(error.into_token())).unwrap();
    assert_eq!((original.get(&ID), clone.get(&ID)), (None, Some(&2)));
}

#[test]
fn a_guard_that_ends_in_a_copy_changes_nothing_there() {
    let (context, guard) = guarded();
    let mut copy = context.clone();
    // The copy alone has the bindings now, and what the guard has in them.
    drop(context);
    copy.run(|| {
        drop(guard);
        assert_eq!(ID.get(), Some(2));
    });
    assert_eq!(copy.get(&ID), Some(&2));
}

thread_local! {
    static KEPT: Cell<Option<Scoped<'static, u64>>> = const { Cell::new(None) };
}

/// Makes a guard when it is dropped, which a guard that ends does to its value.
struct Guarding;

impl Drop for Guarding {
    fn drop(&mut self) {
        KEPT.set(Some(ID.scoped(7)));
    }
}

#[test]
fn a_guard_that_begins_while_another_one_ends_is_one_of_its_own() {
    context_var! { static GUARDING: Option<Guarding>; }

    Context::new().run(|| {
        ID.set(1);
        GUARDING.set(None);
        for _ in 0..3 {
            drop(GUARDING.scoped(Some(Guarding)));
            assert_eq!(ID.get(), Some(7));
            let next = LEVEL.scoped(8);
            assert_eq!((ID.get(), LEVEL.get()), (Some(7), Some(8)));
            drop(KEPT.take());
            assert_eq!((ID.get(), LEVEL.get()), (Some(1), Some(8)));
            drop(next);
            assert_eq!((ID.get(), LEVEL.get()), (Some(1), None));
        }
    });
}

#[test]
fn a_guard_that_ends_on_another_thread_is_one_of_its_own() {
    let mut context = Context::new().with_value(&ID, 1);
    for _ in 0..3 {
        let guard = context.run(|| ID.scoped(2));
        let ends_there = thread::spawn(move || {
            context.run(|| {
                drop(guard);
                assert_eq!(ID.get(), Some(1));
                let (first, second) = (ID.scoped(3), LEVEL.scoped(4));
                drop(first);
                assert_eq!((ID.get(), LEVEL.get()), (Some(1), Some(4)));
                drop(second);
            });
            context
        });
        context = ends_there.join().unwrap();
        let (first, second) = context.run(|| (ID.scoped(5), LEVEL.scoped(6)));
        context.run(|| {
            drop(first);
            assert_eq!((ID.get(), LEVEL.get()), (Some(1), Some(6)));
            drop(second);
            assert_eq!((ID.get(), LEVEL.get()), (Some(1), None));
        });
    }
}

#[test]
fn a_guard_that_ends_during_an_iteration_changes_nothing_there() {
    // One value shows when the guard ends that did not before.
    let (mut context, guard) = guarded();
    context.run(|| drop(ID.unset()));
    let mut entries = context.iter();
    assert_eq!((entries.len(), entries.size_hint()), (0, (0, Some(0))));
    drop(guard);
    assert!(entries.next().is_none());
    assert_eq!((entries.len(), entries.size_hint()), (0, (0, Some(0))));
    assert_eq!(context.iter().count(), 1);

    // One does not show any more.
    let mut context = Context::new().with_value(&LEVEL, 3);
    let guard = context.run(|| ID.scoped(2));
    let entries = context.iter();
    assert_eq!(entries.len(), 2);
    drop(guard);
    let mut values: Vec<_> = entries
        .map(|entry| entry.downcast_ref::<u64>().copied())
        .collect();
    values.sort_unstable();
    assert_eq!(values, [Some(2), Some(3)]);
    assert_eq!((context.len(), context.iter().len()), (1, 1));
}

/// It is another variable then.
#[test]
fn a_variable_that_becomes_local_after_its_first_use_leaves_its_bindings_as_they_were() {
    Context::new().run(|| {
        let var = ContextVar::named("a variable");
        var.set(1);
        let var = var.local();
        assert_eq!(var.get(), None);
        assert_eq!((copy_context().len(), inherit_context().len()), (1, 1));
        var.set(2);
        assert_eq!((copy_context().len(), inherit_context().len()), (2, 1));
        assert!(!inherit_context().contains(&var));
    });
}
