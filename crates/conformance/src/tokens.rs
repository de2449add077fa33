//! Rows TK: tokens and guards.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::thread;

use aiocontextvars::{
    Context, ContextVar, ResetErrorKind, Scoped, Token, context_var, copy_context,
};

use crate::fixtures::{Counted, Drops, ID};

fn is_send<T: Send>(_: &T) {}

pub(crate) fn tk_01_tokens_are_send_and_made_by_set() {
    let token = ID.set(1);
    is_send(&token);
    // A token may go round through another thread.
    let token = thread::spawn(move || token).join().unwrap();
    ID.reset(token).unwrap();
    assert_eq!(ID.get(), None);
}

pub(crate) fn tk_02_old_value() {
    let first = ID.set(1);
    let second = ID.set(2);
    assert_eq!((first.var_name(), second.var_name()), ("ID", "ID"));
    assert_eq!((first.old_value(), second.old_value()), (None, Some(&1)));
    assert_eq!(ID.unset().old_value(), Some(&2));
}

pub(crate) fn tk_03_reset_restores_or_removes() {
    let remove = ID.set(1);
    let restore = ID.set(2);
    ID.reset(restore).unwrap();
    assert_eq!((ID.get(), copy_context().len()), (Some(1), 1));
    ID.reset(remove).unwrap();
    assert_eq!((ID.get(), copy_context().len()), (None, 0));
    assert!(!copy_context().contains(&ID));
    assert!(ID.try_get().is_err());
}

pub(crate) fn tk_04_a_token_works_once() {
    // Kept in an option, the used-up token is `None`; otherwise the second use does not compile.
    let mut token = Some(ID.set(1));
    ID.set(2);
    for _ in 0..2 {
        if let Some(token) = token.take() {
            ID.reset(token).unwrap();
        }
    }
    assert_eq!(ID.get(), None);
}

pub(crate) fn tk_05_refused_by_another_variable() {
    let other: ContextVar<u64> = ContextVar::new("ID");
    other.set(5);
    let error = other.reset(ID.set(1)).unwrap_err();
    assert_eq!(error.kind(), ResetErrorKind::DifferentVar);
    assert!(error.to_string().contains("`ID`"), "{error}");
    assert_eq!((ID.get(), other.get()), (Some(1), Some(5)));
}

pub(crate) fn tk_06_refused_in_another_context() {
    fn refused(token: Token<u64>) -> Token<u64> {
        let before = ID.get();
        let error = ID.reset(token).unwrap_err();
        assert_eq!(error.kind(), ResetErrorKind::DifferentContext);
        assert!(error.to_string().contains("`ID`"), "{error}");
        assert_eq!(ID.get(), before);
        error.into_token()
    }

    ID.set(1);
    let token = ID.set(2);
    let token = copy_context().run(|| refused(token));
    let mut written = copy_context();
    let token = written.run(|| {
        ID.set(3);
        refused(token)
    });
    let token = Context::new().run(|| refused(token));
    let token = thread::spawn(|| refused(token)).join().unwrap();
    // Inside out as well: made within a run, used after it.
    let mut context = copy_context();
    let inner = context.run(|| ID.set(4));
    let inner = refused(inner);
    context.run(|| ID.reset(inner)).unwrap();
    assert_eq!(context.get(&ID), Some(&2));
    ID.reset(token).unwrap();
    assert_eq!(ID.get(), Some(1));
}

pub(crate) fn tk_07_variable_is_checked_before_context() {
    let other: ContextVar<u64> = ContextVar::new("other");
    let token = ID.set(1);
    let error = Context::new().run(|| other.reset(token)).unwrap_err();
    assert_eq!(error.kind(), ResetErrorKind::DifferentVar);
}

pub(crate) fn tk_08_a_refused_token_is_given_back() {
    let other: ContextVar<u64> = ContextVar::new("other");
    let token = ID.set(1);
    let token = other.reset(token).unwrap_err().into_token();
    let token = Context::new()
        .run(|| ID.reset(token))
        .unwrap_err()
        .into_token();
    ID.reset(token).unwrap();
    assert_eq!(ID.get(), None);
}

pub(crate) fn tk_09_resets_need_not_nest() {
    let first = ID.set(1);
    let second = ID.set(2);
    ID.reset(first).unwrap();
    assert_eq!(ID.get(), None);
    ID.reset(second).unwrap();
    assert_eq!(ID.get(), Some(1));
}

pub(crate) fn tk_10_debug_names_the_variable() {
    let token = ID.set(1);
    assert!(format!("{token:?}").contains("ID"), "{token:?}");
    let guard = ID.scoped(2);
    assert!(format!("{guard:?}").contains("ID"), "{guard:?}");
    drop(guard);
    let error = Context::new().run(|| ID.reset(token)).unwrap_err();
    assert!(
        format!("{error:?}").contains("DifferentContext"),
        "{error:?}"
    );
}

pub(crate) fn tk_11_guards_restore_also_on_panic() {
    context_var! { static PRECISION: u8 = 28; }
    {
        let _guard = PRECISION.scoped(36);
        assert_eq!(PRECISION.get(), 36);
        let _id = ID.scoped(1);
        assert_eq!(ID.get(), Some(1));
    }
    assert_eq!((PRECISION.get(), ID.get()), (28, None));
    assert!(copy_context().is_empty());
    ID.set(5);
    let payload = panic::catch_unwind(|| {
        let _guard = ID.scoped(6);
        assert_eq!(ID.get(), Some(6));
        panic::resume_unwind(Box::new("out"));
    })
    .unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"out"));
    assert_eq!(ID.get(), Some(5));
    assert_eq!(ID.sync_scope(7, || ID.get()), Some(7));
    assert_eq!(ID.get(), Some(5));
}

pub(crate) fn tk_12_a_guard_restores_once() {
    ID.set(1);
    {
        let guard = ID.scoped(2);
        drop(guard);
        assert_eq!(ID.get(), Some(1));
        ID.set(3);
    }
    assert_eq!(ID.get(), Some(3));
    // A token from before the guard, used under it: the reset goes with the guard, as a plain set
    // does.
    let token = ID.set(4);
    {
        let _guard = ID.scoped(5);
        ID.reset(token).unwrap();
        assert_eq!(ID.get(), Some(3));
    }
    assert_eq!(ID.get(), Some(4));
}

pub(crate) fn tk_13_plain_sets_under_a_guard_go_with_it() {
    context_var! { static LEVEL: u8 = 0; }
    {
        let _guard = LEVEL.scoped(36);
        LEVEL.set(24);
        let token = LEVEL.set(12);
        assert_eq!(LEVEL.get(), 12);
        LEVEL.reset(token).unwrap();
        assert_eq!(LEVEL.get(), 24);
        LEVEL.set(6);
    }
    assert_eq!((LEVEL.get(), copy_context().len()), (0, 0));
    LEVEL.set(42);
    {
        let _guard = LEVEL.scoped(36);
        LEVEL.unset();
        assert_eq!(LEVEL.get(), 0);
    }
    assert_eq!(LEVEL.get(), 42);
}

/// The orders in which three guards can end.
const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

pub(crate) fn tk_13_guards_in_any_order_leave_nothing() {
    for before in [None, Some(100)] {
        for order in ORDERS {
            for sets_between in [false, true] {
                let drops = Drops::new();
                let var: ContextVar<(u64, Counted)> = ContextVar::new("layered");
                let seen = || var.with(|value| value.map(|(number, _)| *number));
                if let Some(before) = before {
                    var.set((before, drops.value()));
                }
                let mut guards: Vec<Option<Scoped<'_, _>>> = Vec::new();
                for number in 0..3 {
                    guards.push(Some(var.scoped((number, drops.value()))));
                    if sets_between {
                        var.set((10 + number, drops.value()));
                    }
                }
                for (dropped, guard) in order.into_iter().enumerate() {
                    drop(guards[guard].take());
                    let live: Vec<usize> = (0..3).filter(|at| guards[*at].is_some()).collect();
                    assert_eq!(live.len(), 2 - dropped);
                    match live.last() {
                        None => assert_eq!(seen(), before, "{order:?}"),
                        Some(&top) => {
                            let expected = top as u64 + if sets_between { 10 } else { 0 };
                            assert_eq!(seen(), Some(expected), "{order:?} after {dropped}");
                        }
                    }
                }
                let live = usize::from(before.is_some());
                let made = if sets_between { 6 } else { 3 };
                assert_eq!(
                    drops.count(),
                    made,
                    "{order:?}: the guards' values are gone"
                );
                assert_eq!(copy_context().len(), live);
                var.unset();
                assert_eq!(drops.count(), made + live);
            }
        }
    }
}

pub(crate) fn tk_13_tokens_under_guards() {
    // A token made under a guard that has gone does not bring the guard's value back.
    ID.set(1);
    let guard = ID.scoped(2);
    let token = ID.set(3);
    drop(guard);
    assert_eq!(ID.get(), Some(1));
    ID.reset(token).unwrap();
    assert_eq!(ID.get(), Some(1));
    // Two guards, overlapping as the branches of a `join!` do.
    let first = ID.scoped(4);
    let second = ID.scoped(5);
    let token = ID.set(6);
    drop(second);
    assert_eq!(ID.get(), Some(4));
    ID.reset(token).unwrap();
    assert_eq!(ID.get(), Some(4));
    drop(first);
    assert_eq!(ID.get(), Some(1));
    // Three guards that end in any order, and the reset after any number of these: the value of the
    // innermost that is live then.
    for order in ORDERS {
        for ended in 0..=3 {
            let mut guards = [2, 3, 4].map(|value| Some(ID.scoped(value)));
            let token = ID.set(5);
            for &guard in &order[..ended] {
                guards[guard] = None;
            }
            ID.reset(token).unwrap();
            let innermost = guards.iter().rposition(Option::is_some);
            let expected = innermost.map_or(1, |guard| guard as u64 + 2);
            assert_eq!(ID.get(), Some(expected), "the first {ended} of {order:?}");
            drop(guards);
            assert_eq!(ID.get(), Some(1));
        }
    }
}

pub(crate) fn tk_14_a_guard_changes_its_own_context_only() {
    ID.set(1);
    let mut other = copy_context();
    let guard = ID.scoped(2);
    other.run(move || {
        ID.set(3);
        drop(guard);
        assert_eq!(ID.get(), Some(3));
    });
    assert_eq!(other.get(&ID), Some(&3));
    // Its value is gone from where it was, too.
    assert_eq!((ID.get(), copy_context().len()), (Some(1), 1));
    assert_eq!(copy_context().run(|| ID.get()), Some(1));
    // A copy taken under a guard has the value, and the guard's end does not reach it.
    let guard = ID.scoped(4);
    let mut copy = copy_context();
    drop(guard);
    assert_eq!(copy.get(&ID), Some(&4));
    copy.run(|| {
        let _guard = ID.scoped(5);
        assert_eq!(ID.get(), Some(5));
    });
    assert_eq!(copy.get(&ID), Some(&4));
    thread::spawn({
        let guard = ID.scoped(6);
        move || {
            drop(guard);
            assert_eq!(ID.get(), None);
        }
    })
    .join()
    .unwrap();
    assert_eq!(ID.get(), Some(1));
    // Out of order, some of them elsewhere, with plain sets in between.
    let first = ID.scoped(7);
    ID.set(8);
    let second = ID.scoped(9);
    Context::new().run(move || drop(first));
    assert_eq!(ID.get(), Some(9));
    let third = ID.scoped(10);
    Context::new().run(move || drop(second));
    ID.set(11);
    drop(third);
    assert_eq!(ID.get(), Some(1));
    ID.unset();
    let guard = ID.scoped(12);
    Context::new().run(move || drop(guard));
    let context = copy_context();
    assert_eq!(
        (ID.get(), context.len(), context.iter().count()),
        (None, 0, 0)
    );
}

pub(crate) fn tk_15_a_token_holds_the_old_value_and_nothing_else() {
    let drops = Drops::new();
    let held: ContextVar<Counted> = ContextVar::new("held");
    let other: ContextVar<Counted> = ContextVar::new("other");
    let token = Context::new().run(|| {
        other.set(drops.value());
        held.set(drops.value());
        held.set(drops.value())
    });
    assert_eq!(
        drops.count(),
        2,
        "the context is gone, all but the old value"
    );
    assert!(token.old_value().is_some());
    drop(token);
    assert_eq!(drops.count(), 3);
    // Used up, it drops the old value and the value that it replaced.
    held.set(drops.value());
    let token = held.set(drops.value());
    held.reset(token).unwrap();
    assert_eq!(drops.count(), 4);
    held.unset();
    assert_eq!(drops.count(), 5);
}

pub(crate) fn r_14_a_forgotten_guard_is_harmless() {
    // Forgotten where a leak checker still finds it: the guard and its mark are all that may stay
    // behind.
    static FORGOTTEN: Mutex<Vec<Scoped<'static, Counted>>> = Mutex::new(Vec::new());
    context_var! { static VAR: Counted; }
    let drops = Drops::new();
    let mut context = Context::new();
    context.run(|| {
        let guard = VAR.scoped(drops.value());
        FORGOTTEN.lock().unwrap().push(guard);
        // A later guard still takes its own value with it.
        let guard = VAR.scoped(drops.value());
        drop(guard);
        assert_eq!(drops.count(), 1);
        assert!(VAR.with(|value| value.is_some()));
    });
    // The contexts above the one that was left changed do not notice.
    assert!(VAR.with(|value| value.is_none()));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| drop(context)));
    assert!(outcome.is_ok());
    assert_eq!(drops.count(), 2);
}
