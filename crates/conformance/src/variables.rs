//! Rows CV: variables.

use std::cell::{Cell, OnceCell};
use std::panic;
use std::sync::{Arc, Mutex};
use std::thread;

use aiocontextvars::{Context, ContextVar, WithDefault, context_var, copy_context};

use crate::fixtures::{Counted, Drops, HELD, ID, TENANT};
use crate::harness::message;
use crate::reentrancy_panics::unwinds;

pub(crate) fn cv_01_three_constructors() {
    static PLAIN: ContextVar<u8> = ContextVar::new("");
    assert_eq!((PLAIN.name(), PLAIN.get()), ("", None));
    let with_default = ContextVar::<u8>::with_default("with default", || 3);
    assert_eq!(
        (with_default.name(), with_default.get()),
        ("with default", 3)
    );
    let borrowed: ContextVar<u8> = ContextVar::named("borrowed");
    let owned: ContextVar<u8> = ContextVar::named(format!("owned {}", 1));
    assert_eq!((borrowed.name(), owned.name()), ("borrowed", "owned 1"));
    owned.set(4);
    assert_eq!((borrowed.get(), owned.get()), (None, Some(4)));
}

pub(crate) fn cv_02_messages_name_the_variable() {
    assert_eq!(ID.name(), "ID");
    let error = ID.try_get().unwrap_err();
    assert_eq!(error.var_name(), "ID");
    assert!(error.to_string().contains("`ID`"), "{error}");
    assert!(format!("{ID:?}").contains("\"ID\""), "{ID:?}");
    let dynamic: ContextVar<u8> = ContextVar::named(String::from("column"));
    let error = dynamic.try_get().unwrap_err();
    drop(dynamic);
    assert!(error.to_string().contains("`column`"), "{error}");
}

pub(crate) fn cv_03_identity_not_name_is_the_key() {
    let first: ContextVar<u8> = ContextVar::new("same");
    let second: ContextVar<u8> = ContextVar::new("same");
    let third: ContextVar<String> = ContextVar::new("same");
    first.set(1);
    assert_eq!(
        (first.get(), second.get(), third.get()),
        (Some(1), None, None)
    );
    second.set(2);
    third.set("three".to_owned());
    assert_eq!((first.get(), second.get()), (Some(1), Some(2)));
    assert_eq!(third.get().as_deref(), Some("three"));
    assert_eq!(copy_context().len(), 3);
}

pub(crate) fn cv_04_lookup_order() {
    // Value in the context, then the argument, then the variable's default, then the error.
    let plain: ContextVar<u8> = ContextVar::new("plain");
    let defaulted = ContextVar::<u8>::with_default("defaulted", || 1);
    for set in [None, Some(9)] {
        if let Some(value) = set {
            plain.set(value);
            defaulted.set(value);
        }
        assert_eq!(plain.get(), set);
        assert_eq!(plain.try_get().ok(), set);
        assert_eq!(plain.get_or(5), set.unwrap_or(5));
        assert_eq!(plain.with(|value| value.copied()), set);
        // Where there is a default, there is no error.
        assert_eq!(defaulted.get(), set.unwrap_or(1));
        assert_eq!(defaulted.get_or(5), set.unwrap_or(5));
        assert_eq!(defaulted.with(|value| value.copied()), set.or(Some(1)));
    }
}

pub(crate) fn cv_05_defaults_are_no_bindings() {
    let defaulted = ContextVar::<u8>::with_default("defaulted", || 1);
    assert_eq!((defaulted.get(), defaulted.get_or(2)), (1, 2));
    let context = copy_context();
    assert!(!context.contains(&defaulted));
    assert_eq!((context.len(), context.get(&defaulted)), (0, None));
}

pub(crate) fn cv_05_defaults_are_lazy_and_computed_once() {
    thread_local!(static CALLS: Cell<u32> = const { Cell::new(0) });
    let before = CALLS.get();
    let var = ContextVar::<u32>::with_default("counting", || {
        CALLS.set(CALLS.get() + 1);
        7
    });
    var.set(1);
    assert_eq!((var.get(), var.get_or(2)), (1, 1));
    assert_eq!(CALLS.get(), before, "computed although it was not needed");
    let token = var.unset();
    assert_eq!((var.get(), var.get()), (7, 7));
    assert_eq!(Context::new().run(|| var.get()), 7);
    assert_eq!(CALLS.get(), before + 1, "computed more than once");
    var.reset(token).unwrap();
    assert_eq!(var.get(), 1);
}

pub(crate) fn cv_05_a_default_has_no_readers_context() {
    // It is everybody's, so that it must not be made of the first reader's request.
    let greeting = ContextVar::<String>::with_default("greeting", || {
        let found = (ID.get(), copy_context().len());
        // What it sets is not the reader's either.
        ID.set(9);
        format!("{found:?}, then {:?}", ID.get())
    });
    ID.set(7);
    let before = (ID.get(), copy_context().len());
    assert_eq!(greeting.get(), "(None, 0), then Some(9)");
    assert_eq!((ID.get(), copy_context().len()), before);
    let other = Context::new().with_value(&ID, 8);
    assert_eq!(other.clone().run(|| greeting.get()), greeting.get());
    // `with` computes it in the same way, and what it has set goes with that context.
    thread_local!(static DROPS: Drops = Drops::new());
    let held = ContextVar::<usize>::with_default("held", || {
        HELD.set(DROPS.with(Drops::value));
        copy_context().len()
    });
    let length = other.clone().run(|| held.with(|held| held.copied()));
    assert_eq!((length, DROPS.with(Drops::count)), (Some(1), 1));
}

pub(crate) fn cv_05_a_default_that_reads_its_own_variable_sees_none() {
    context_var! {
        static LEFT: Vec<Option<u8>> = vec![RIGHT.with(|right| right.copied()), None];
        static RIGHT: u8 = LEFT.with(|left| if left.is_some() { 1 } else { 2 });
        static OWN: (Option<u8>, u8) = (OWN.with(|own| own.map(|own| own.1)), OWN.get_or((None, 3)).1);
    }
    // Whoever asks first, in whatever order: both ends of the circle have a value in the end.
    assert_eq!(LEFT.get(), [Some(2), None]);
    assert_eq!(RIGHT.get(), 2);
    assert_eq!(OWN.get(), (None, 3));
}

pub(crate) fn cv_05_a_default_that_gets_its_own_variable_panics() {
    thread_local! {
        static GETS: Cell<bool> = const { Cell::new(true) };
        static ITSELF: OnceCell<Arc<ContextVar<u8, WithDefault>>> = const { OnceCell::new() };
    }
    context_var! {
        static CATCHES: String = match panic::catch_unwind(|| CATCHES.get()) {
            Ok(text) => text,
            Err(payload) => message(&*payload).to_owned(),
        };
    }
    // The first `get` inside computes the default once more, and the one inside that panics.
    let text = CATCHES.get();
    assert!(text.contains("context variable `CATCHES`"), "{text}");
    GETS.set(true);
    let var = Arc::new(ContextVar::with_default("var", || {
        let var = ITSELF.with(|itself| Arc::clone(itself.get().unwrap()));
        match GETS.get() {
            true => var.get(),
            false => var.with(|value| value.map_or(6, |_| 7)),
        }
    }));
    ITSELF.with(|itself| itself.set(Arc::clone(&var)).unwrap());
    // It is the read that panics, and the next one computes the default again.
    for _ in 0..2 {
        let payload = unwinds(|| var.get());
        let text = message(&*payload);
        assert!(text.contains("context variable `var`"), "{text}");
        assert_eq!(message(&*unwinds(|| var.with(|_| ()))), text);
        assert_eq!(var.get_or(5), 5);
    }
    GETS.set(false);
    assert_eq!((var.get(), var.get()), (6, 6));
    assert!(copy_context().is_empty());
}

pub(crate) fn cv_06_set_binds_in_the_current_context_only() {
    let empty = copy_context();
    ID.set(1);
    assert_eq!((ID.get(), ID.get_or(9)), (Some(1), 1));
    let mut copy = copy_context();
    ID.set(2);
    assert_eq!(ID.get(), Some(2));
    assert_eq!((copy.get(&ID), empty.get(&ID)), (Some(&1), None));
    copy.run(|| {
        ID.set(3);
    });
    assert_eq!((ID.get(), copy.get(&ID)), (Some(2), Some(&3)));
}

pub(crate) fn cv_07_none_is_a_value() {
    let var = ContextVar::<Option<u8>>::with_default("optional", || Some(1));
    assert_eq!(var.get(), Some(1));
    let token = var.set(None);
    assert_eq!((var.get(), var.get_or(Some(2))), (None, None));
    assert_eq!(copy_context().get(&var), Some(&None));
    assert_eq!(token.old_value(), None);
    assert_eq!(var.set(Some(3)).old_value(), Some(&None));
}

pub(crate) fn cv_08_values_are_shared_by_reference() {
    let list: ContextVar<Arc<Mutex<Vec<u8>>>> = ContextVar::new("list");
    list.set(Arc::default());
    let mut copy = copy_context();
    copy.run(|| list.with(|list| list.unwrap().lock().unwrap().push(1)));
    assert_eq!(*list.get().unwrap().lock().unwrap(), [1]);
    copy.run(|| {
        list.set(Arc::default());
    });
    assert_eq!(*list.get().unwrap().lock().unwrap(), [1]);
    assert!(copy.get(&list).unwrap().lock().unwrap().is_empty());
}

pub(crate) fn cv_09_a_bare_thread_reads_without_a_context() {
    ID.set(1);
    thread::spawn(|| {
        assert_eq!((ID.get(), &*TENANT.get()), (None, "public"));
        assert!(copy_context().is_empty());
        assert_eq!(ID.set(2).old_value(), None);
        assert_eq!(ID.get(), Some(2));
    })
    .join()
    .unwrap();
    assert_eq!(ID.get(), Some(1));
}

pub(crate) fn cv_10_debug_shows_name_and_allowed_values_only() {
    context_var! {
        #[debug] static SHOWN: u8 = 42;
        static HIDDEN: &'static str = "secret";
    }
    SHOWN.set(7);
    let token = HIDDEN.set("a secret too");
    let texts = [
        format!("{SHOWN:?}"),
        format!("{HIDDEN:?}"),
        format!("{:?}", copy_context()),
        format!("{:?}", copy_context().iter().collect::<Vec<_>>()),
        format!("{token:?} {:?}", HIDDEN.set("and this")),
    ];
    assert!(texts[0].contains("SHOWN") && texts[1].contains("HIDDEN"));
    assert_eq!(texts[2], "Context {HIDDEN: <redacted>, SHOWN: 7}");
    assert!(
        texts.iter().all(|text| !text.contains("secret")),
        "{texts:?}"
    );
    SHOWN.unset();
    assert_eq!(SHOWN.get(), 42);
    assert!(format!("{SHOWN:?}").contains("42"), "{SHOWN:?}");
}

pub(crate) fn cv_12_unset_can_be_undone() {
    let defaulted = ContextVar::<u8>::with_default("defaulted", || 1);
    let nothing = defaulted.unset();
    assert_eq!((defaulted.get(), nothing.old_value()), (1, None));
    defaulted.set(2);
    let token = defaulted.unset();
    assert_eq!((defaulted.get(), token.old_value()), (1, Some(&2)));
    assert_eq!(copy_context().len(), 0);
    defaulted.reset(token).unwrap();
    assert_eq!(defaulted.get(), 2);
    defaulted.reset(nothing).unwrap();
    assert_eq!((defaulted.get(), copy_context().len()), (1, 0));
}

pub(crate) fn cv_13_dropping_variable_and_contexts_frees_the_value() {
    let drops = Drops::new();
    let var: ContextVar<Counted> = ContextVar::named("dynamic".to_owned());
    let first = Context::new().with_value(&var, drops.value());
    let second = first.clone();
    drop(var);
    drop(first);
    assert_eq!(drops.count(), 0);
    // The binding is still there, although nobody can ask for it by its variable.
    assert_eq!(second.iter().next().unwrap().name(), "dynamic");
    drop(second);
    assert_eq!(drops.count(), 1);
}
