//! Variables with a default and without: what reading them gives, and how they are declared.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicU8, Ordering};

use aiocontextvars::{
    Context, ContextVar, DefaultKind, LookupError, NoDefault, WithDefault, context_var,
    copy_context, shim,
};

context_var! {
    static PLAIN: u8;
    static DEFAULTED: u8 = 7;
}

static BY_HAND: ContextVar<u8, WithDefault> = ContextVar::with_default("BY_HAND", || 3);
static PLAIN_BY_HAND: ContextVar<u8, NoDefault> = ContextVar::new("PLAIN_BY_HAND");

static ALL_BY_HAND: ContextVar<u8, WithDefault> = ContextVar::with_default("ALL_BY_HAND", || 4)
    .debug()
    .local();
static PLAIN_ALL_BY_HAND: ContextVar<u8> = ContextVar::new("PLAIN_ALL_BY_HAND").local().debug();

#[test]
fn the_type_of_get_tells_whether_there_is_a_default() {
    let of_plain: fn(&ContextVar<u8>) -> Option<u8> = ContextVar::get;
    let of_defaulted: fn(&ContextVar<u8, WithDefault>) -> u8 = ContextVar::get;
    let of_try: fn(&ContextVar<u8>) -> Result<u8, LookupError> = ContextVar::try_get;
    // `ContextVar<T>` alone is one without a default.
    let plain: &ContextVar<u8, NoDefault> = &PLAIN;
    let defaulted: &ContextVar<u8, WithDefault> = &DEFAULTED;
    assert_eq!((of_plain(plain), of_defaulted(defaulted)), (None, 7));
    assert!(of_try(plain).is_err());
    // An optional value with a default is no option more.
    let optional = ContextVar::with_default("optional", || None::<u8>);
    assert_eq!(optional.get(), None);
    optional.set(Some(1));
    assert_eq!(optional.get(), Some(1));
    let (plain_by_hand, by_hand): (Option<u8>, u8) = (PLAIN_BY_HAND.get(), BY_HAND.get());
    assert_eq!((plain_by_hand, by_hand), (None, 3));
    PLAIN_BY_HAND.set(1);
    BY_HAND.set(2);
    assert_eq!((PLAIN_BY_HAND.get(), BY_HAND.get()), (Some(1), 2));
}

/// What a function does that takes both kinds.
fn bound<T: Clone + Send + Sync, D>(var: &ContextVar<T, D>) -> Option<T> {
    copy_context().get(var).cloned()
}

#[test]
fn the_other_reads_have_one_type_for_both() {
    fn reads<D: DefaultKind>(var: &ContextVar<u8, D>) -> (Option<u8>, u8, Option<u8>) {
        // Whatever `get` gives here, the type says nothing about it.
        drop(var.get());
        (var.with(|value| value.copied()), var.get_or(9), bound(var))
    }
    assert_eq!(reads(&PLAIN), (None, 9, None));
    assert_eq!(reads(&DEFAULTED), (Some(7), 9, None));
    PLAIN.set(1);
    DEFAULTED.set(2);
    assert_eq!(reads(&PLAIN), (Some(1), 1, Some(1)));
    assert_eq!(reads(&DEFAULTED), (Some(2), 2, Some(2)));
}

#[test]
fn everything_else_is_the_same_for_both() {
    fn uses<D>(var: &ContextVar<u8, D>) {
        let now = || var.with(|value| value.copied());
        let at_first = now();
        let first = var.set(1);
        assert_eq!((now(), first.old_value()), (Some(1), None));
        let second = var.try_set(2).unwrap();
        assert_eq!(second.old_value(), Some(&1));
        {
            let guard = var.scoped(3);
            assert_eq!(now(), Some(3));
            assert!(format!("{guard:?}").contains(var.name()));
        }
        assert_eq!(var.sync_scope(4, now), Some(4));
        assert_eq!(shim::block_on(var.scope(5, async { now() })), Some(5));
        var.reset(second).unwrap();
        assert_eq!(now(), Some(1));
        let third = var.unset();
        assert_eq!((now(), third.old_value()), (at_first, Some(&1)));
        var.reset(first).unwrap();
        assert_eq!((now(), copy_context().len()), (at_first, 0));
        let context = Context::new().with_value(var, 6);
        assert_eq!((context.get(var), context.contains(var)), (Some(&6), true));
        let shared = context.share();
        assert_eq!((shared.get(var), shared.contains(var)), (Some(6), true));
    }
    uses(&PLAIN);
    uses(&DEFAULTED);
}

#[test]
fn debug_and_local_keep_the_default() {
    let (plain, defaulted): (Option<u8>, u8) = (PLAIN_ALL_BY_HAND.get(), ALL_BY_HAND.get());
    assert_eq!((plain, defaulted), (None, 4));
    PLAIN_ALL_BY_HAND.set(1);
    ALL_BY_HAND.set(2);
    assert_eq!((PLAIN_ALL_BY_HAND.get(), ALL_BY_HAND.get()), (Some(1), 2));
    assert!(is_shown(&PLAIN_ALL_BY_HAND, 5) && is_shown(&ALL_BY_HAND, 5));
    // Both are local.
    let of_a_job = shim::bind(|| (PLAIN_ALL_BY_HAND.get(), ALL_BY_HAND.get()))();
    assert_eq!(of_a_job, (None, 4));
    assert!(format!("{ALL_BY_HAND:?}").contains("default: 4"));
}

#[test]
fn debug_tells_variables_of_one_name_apart() {
    mod other {
        aiocontextvars::context_var! {
            pub static PLAIN: u8;
            #[local]
            pub static PLAIN_LOCAL: u8;
        }
    }
    let ids = [
        format!("{PLAIN:?}"),
        format!("{:?}", other::PLAIN),
        format!("{:?}", other::PLAIN_LOCAL),
    ]
    .map(|shown| {
        let (_, id) = shown.split_once("id: ").unwrap();
        id.split(',').next().unwrap().parse::<u32>().unwrap()
    });
    assert!(
        ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2],
        "{ids:?}"
    );
}

/// Whether `Debug` output has a variable's values.
fn is_shown<D>(var: &ContextVar<u8, D>, value: u8) -> bool {
    let context = Context::new().with_value(var, value);
    let text = format!("{context:?}");
    let shown = text == format!("Context {{{}: {value}}}", var.name());
    assert!(shown || text == format!("Context {{{}: <redacted>}}", var.name()));
    shown
}

/// Whether new units of work start without the variable.
fn stays_behind<D>(var: &ContextVar<u8, D>) -> bool {
    let mut context = Context::new().with_value(var, 1);
    context.run(|| shim::bind(|| bound(var).is_none())())
}

mod conditional {
    #![deny(missing_docs, unused_attributes)]

    use super::*;

    context_var! {
        /// If all of nothing holds, which it does.
        #[cfg_attr(all(), debug)]
        pub static SHOWN: u8;
        /// If any of nothing holds, which it does not.
        #[cfg_attr(any(), debug)]
        pub static KEPT: u8 = 1;
        #[doc = "Local as well."]
        #[cfg_attr(all(), local)]
        #[cfg_attr(all(), debug)]
        pub static BOTH: u8 = 2;
        #[cfg_attr(all(), debug, doc = "Documented by its condition.")]
        pub static WITH_DOCS: u8 = 3;
        #[cfg_attr(all(), doc = "Documented by its condition.", debug, local)]
        pub static DOCS_FIRST: u8;
        #[cfg_attr(any(), doc = "not", debug, unknown, local)]
        /// None of it is there.
        pub static NONE_OF_IT: u8;
        #[cfg_attr(all(), debug, local, doc = "All at once.",)]
        pub static AT_ONCE: u8;
        /// One holds, the other does not.
        #[cfg_attr(any(), debug)]
        #[cfg_attr(not(any()), local)]
        pub static ONE_OF_TWO: u8 = 4;
        /// What is unconditional is between those that are not.
        #[cfg_attr(any(), local)]
        #[debug]
        #[cfg_attr(all(), doc = "And a condition without ours.")]
        pub static BETWEEN: u8;
        /// Of an item that is not there, nothing is.
        #[cfg(any())]
        #[cfg_attr(all(), debug)]
        pub static MISSING: u8 = unknown();
        /// And of two, one is.
        #[cfg(any())]
        #[cfg_attr(all(), debug)]
        pub static ONE: u8 = 5;
        /// The one of two.
        #[cfg(all())]
        #[cfg_attr(any(), debug)]
        pub static ONE: u8 = 6;
    }

    #[test]
    fn attributes_of_the_macro_may_be_conditional() {
        fn row<D>(var: &ContextVar<u8, D>) -> (&str, bool, bool) {
            (var.name(), is_shown(var, 8), stays_behind(var))
        }
        assert_eq!(row(&SHOWN), ("SHOWN", true, false));
        assert_eq!(row(&KEPT), ("KEPT", false, false));
        assert_eq!(row(&BOTH), ("BOTH", true, true));
        assert_eq!(row(&WITH_DOCS), ("WITH_DOCS", true, false));
        assert_eq!(row(&DOCS_FIRST), ("DOCS_FIRST", true, true));
        assert_eq!(row(&NONE_OF_IT), ("NONE_OF_IT", false, false));
        assert_eq!(row(&AT_ONCE), ("AT_ONCE", true, true));
        assert_eq!(row(&ONE_OF_TWO), ("ONE_OF_TWO", false, true));
        assert_eq!(row(&BETWEEN), ("BETWEEN", true, false));
        assert_eq!(row(&ONE), ("ONE", false, false));
        assert_eq!((SHOWN.get(), KEPT.get(), BOTH.get()), (None, 1, 2));
        assert_eq!((WITH_DOCS.get(), ONE_OF_TWO.get(), ONE.get()), (3, 4, 6));
    }
}

#[test]
fn the_last_semicolon_may_be_left_out() {
    context_var! {}
    context_var! { static ONE: u8 }
    context_var! { static ONE_DEFAULTED: u8 = 1 }
    context_var! {
        static FIRST: u8;
        #[debug]
        static SECOND: u8 = FIRST.get_or(2);
        #[local]
        static THIRD: u8 = { let two = 2; two + 1 }
    }
    context_var! { static FOURTH: u8 = 4; static FIFTH: u8 }
    assert_eq!((ONE.get(), ONE_DEFAULTED.get()), (None, 1));
    assert_eq!((FIRST.get(), SECOND.get(), THIRD.get()), (None, 2, 3));
    assert_eq!((FOURTH.get(), FIFTH.get()), (4, None));
    assert_eq!((is_shown(&SECOND, 1), stays_behind(&THIRD)), (true, true));
}

#[test]
fn raw_identifiers_have_plain_names() {
    context_var! {
        static r#TYPE: u8;
        #[allow(non_upper_case_globals)]
        #[debug]
        static r#match: u8 = 1;
        static R: u8 = 2;
    }
    let names = [r#TYPE.name(), r#match.name(), R.name()];
    assert_eq!(names, ["TYPE", "match", "R"]);
    assert_eq!((TYPE.get(), r#match.get(), R.get()), (None, 1, 2));
    let error = r#TYPE.try_get().unwrap_err();
    assert_eq!(error.var_name(), "TYPE");
    assert!(is_shown(&r#match, 1));
}

/// The message of the panic of `f`, which is not printed, and the line of this file that it is of.
fn panics<R>(f: impl FnOnce() -> R) -> (String, u32) {
    static INSTALL: Once = Once::new();
    thread_local!(static LINE: Cell<Option<u32>> = const { Cell::new(None) });
    thread_local!(static IS_QUIET: Cell<bool> = const { Cell::new(false) });
    INSTALL.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                return before(info);
            }
            let place = info.location().filter(|place| place.file() == file!());
            LINE.set(place.map(|place| place.line()));
        }));
    });
    IS_QUIET.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| drop(f())));
    IS_QUIET.set(false);
    let payload = outcome.expect_err("it has not panicked");
    let message = payload.downcast_ref::<String>().expect("a message");
    (message.clone(), LINE.take().expect("a line of this file"))
}

#[test]
fn cv_05_get_panics_in_a_default_of_the_same_variable() {
    thread_local!(static READS: Cell<fn() -> u8> = const { Cell::new(|| 0) });
    context_var! { static OWN: u8 = READS.get()(); }
    #[track_caller]
    fn helper() -> u8 {
        OWN.get()
    }
    let line = line!() + 2;
    let reads: [fn() -> u8; 3] = [
        || OWN.get(),
        // Of a function that tracks its caller, it is the caller's line.
        || helper(),
        // A default in between does not hide it.
        || {
            context_var! { static BETWEEN: u8 = OWN.get() + 1; }
            BETWEEN.get()
        },
    ];
    for (read, line) in reads.into_iter().zip([line, line + 2, line + 5]) {
        READS.set(read);
        // `with` computes the default as well.
        for (message, found) in [
            panics(|| OWN.get()),
            panics(|| OWN.with(|own| own.copied())),
        ] {
            assert!(
                message.contains("the default of context variable `OWN`"),
                "{message}"
            );
            assert!(
                message.contains("`with`") && message.contains("`get_or`"),
                "{message}"
            );
            assert_eq!(found, line);
        }
        // It is not computed where there is a value, or a fallback.
        assert_eq!((OWN.sync_scope(1, || OWN.get()), OWN.get_or(2)), (1, 2));
    }
    // Nothing has remained of it, and what may be used there works.
    READS.set(|| {
        OWN.with(|own| own.map_or(3, |_| 4)) + OWN.get_or(10) + OWN.sync_scope(20, || OWN.get())
    });
    assert_eq!((OWN.get(), OWN.get()), (33, 33));
    assert!(copy_context().is_empty());
}

#[test]
fn cv_05_another_thread_may_get_what_this_one_computes() {
    static CALLS: AtomicU8 = AtomicU8::new(0);
    context_var! {
        static SLOW: Option<u8> = match CALLS.fetch_add(1, Ordering::Relaxed) {
            0 => shim::thread::spawn(|| SLOW.get()).join().unwrap(),
            calls => Some(calls),
        };
    }
    // The other thread was first.
    assert_eq!(SLOW.get(), Some(1));
    assert_eq!(SLOW.get(), Some(1));
}
