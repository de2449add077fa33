//! Rows CV: variables.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::thread;

use aiocontextvars::{Context, ContextVar, context_var, copy_context};

use crate::conformance::fixtures::{Counted, Drops, ID, TENANT};

pub(crate) fn cv_01_three_constructors() {
    static PLAIN: ContextVar<u8> = ContextVar::new("");
    assert_eq!((PLAIN.name(), PLAIN.get()), ("", None));
    let with_default: ContextVar<u8> = ContextVar::with_default("with default", || 3);
    assert_eq!(with_default.get(), Some(3));
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
    let defaulted: ContextVar<u8> = ContextVar::with_default("defaulted", || 1);
    for set in [None, Some(9)] {
        if let Some(value) = set {
            plain.set(value);
            defaulted.set(value);
        }
        assert_eq!(plain.get(), set);
        assert_eq!(plain.try_get().ok(), set);
        assert_eq!(plain.get_or(5), set.unwrap_or(5));
        assert_eq!(plain.with(|value| value.copied()), set);
        assert_eq!(defaulted.get(), set.or(Some(1)));
        assert_eq!(defaulted.try_get().ok(), set.or(Some(1)));
        assert_eq!(defaulted.get_or(5), set.unwrap_or(5));
        assert_eq!(defaulted.with(|value| value.copied()), set.or(Some(1)));
    }
}

pub(crate) fn cv_05_defaults_are_no_bindings() {
    let defaulted: ContextVar<u8> = ContextVar::with_default("defaulted", || 1);
    assert_eq!(defaulted.get(), Some(1));
    assert_eq!(defaulted.get_or(2), 2);
    let context = copy_context();
    assert!(!context.contains(&defaulted));
    assert_eq!((context.len(), context.get(&defaulted)), (0, None));
}

pub(crate) fn cv_05_defaults_are_lazy_and_computed_once() {
    thread_local!(static CALLS: Cell<u32> = const { Cell::new(0) });
    let before = CALLS.get();
    let var: ContextVar<u32> = ContextVar::with_default("counting", || {
        CALLS.set(CALLS.get() + 1);
        7
    });
    var.set(1);
    assert_eq!((var.get(), var.get_or(2)), (Some(1), 1));
    assert_eq!(CALLS.get(), before, "computed although it was not needed");
    let token = var.unset();
    assert_eq!((var.get(), var.get()), (Some(7), Some(7)));
    assert_eq!(Context::new().run(|| var.get()), Some(7));
    assert_eq!(CALLS.get(), before + 1, "computed more than once");
    var.reset(token).unwrap();
    assert_eq!(var.get(), Some(1));
}

pub(crate) fn cv_05_a_default_that_reads_its_own_variable_sees_none() {
    context_var! {
        static LEFT: Vec<Option<u8>> = vec![RIGHT.get(), None];
        static RIGHT: u8 = LEFT.with(|left| if left.is_some() { 1 } else { 2 });
    }
    let expected = Some(vec![Some(2), None]);
    // Whoever asks first, in whatever order: both ends of the circle have a value in the end.
    assert_eq!(LEFT.get(), expected);
    assert_eq!(RIGHT.get(), Some(2));
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
    let var: ContextVar<Option<u8>> = ContextVar::with_default("optional", || Some(1));
    assert_eq!(var.get(), Some(Some(1)));
    let token = var.set(None);
    assert_eq!((var.get(), var.get_or(Some(2))), (Some(None), None));
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
        assert_eq!((ID.get(), TENANT.get().as_deref()), (None, Some("public")));
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
    assert_eq!(SHOWN.get(), Some(42));
    assert!(format!("{SHOWN:?}").contains("42"), "{SHOWN:?}");
}

pub(crate) fn cv_12_unset_can_be_undone() {
    let defaulted: ContextVar<u8> = ContextVar::with_default("defaulted", || 1);
    let nothing = defaulted.unset();
    assert_eq!((defaulted.get(), nothing.old_value()), (Some(1), None));
    defaulted.set(2);
    let token = defaulted.unset();
    assert_eq!((defaulted.get(), token.old_value()), (Some(1), Some(&2)));
    assert_eq!(copy_context().len(), 0);
    defaulted.reset(token).unwrap();
    assert_eq!(defaulted.get(), Some(2));
    defaulted.reset(nothing).unwrap();
    assert_eq!((defaulted.get(), copy_context().len()), (Some(1), 0));
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
