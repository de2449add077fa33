//! Several companions: order, registration, and captures that share.

use std::cell::{Cell, RefCell};

use aiocontextvars::companion::{self, AlreadyRegistered, Companion};
use aiocontextvars::{Context, ContextExt, context_var, inherit_context, shim};

use super::{Ambient, Current, Second, register_all};

context_var! { static ID: u64; }

std::thread_local! {
    static ENTERED: RefCell<Vec<(&'static str, Option<u64>)>> = const { RefCell::new(Vec::new()) };
}

/// Notes that a companion is entered, and what it finds there.
pub(crate) fn entered(name: &'static str) {
    ENTERED.with_borrow_mut(|entered| entered.push((name, ID.get())));
}

/// Has something current on a thread where a test says so, whose drop is noted.
pub(crate) struct Noted;

pub(crate) struct NotedValue;

std::thread_local! {
    static IS_NOTED: Cell<bool> = const { Cell::new(false) };
    static DROPPED: RefCell<Vec<(Option<u64>, Option<u64>)>> = const { RefCell::new(Vec::new()) };
}

impl Drop for NotedValue {
    fn drop(&mut self) {
        let current = (Current::number(), Second::number());
        DROPPED.with_borrow_mut(|dropped| dropped.push(current));
    }
}

impl Companion for Noted {
    type Value = NotedValue;

    fn capture(&self) -> Option<NotedValue> {
        IS_NOTED.get().then(|| NotedValue)
    }

    fn enter<R>(&self, _: &NotedValue, f: impl FnOnce() -> R) -> R {
        f()
    }
}

/// Calls `f` while [`Noted`] has something current.
pub(crate) fn noted<R>(f: impl FnOnce() -> R) -> R {
    IS_NOTED.set(true);
    let result = f();
    IS_NOTED.set(false);
    result
}

#[test]
fn each_makes_one_value() {
    register_all();
    let (one, two) = (Ambient::new(1), Ambient::new(2));
    let context = Current::around(&one, inherit_context);
    let inner = context.call(|| noted(inherit_context));
    assert_eq!(DROPPED.take(), []);
    // The one that is new is in front of it.
    let innermost = inner.call(|| noted(|| Second::around(&two, inherit_context)));
    assert_eq!(DROPPED.take(), []);
    let seen = innermost.call(|| (Current::number(), Second::number()));
    assert_eq!(seen, (Some(1), Some(2)));
    drop((inner, innermost));
    assert_eq!(DROPPED.take(), [(Some(1), None), (Some(1), Some(2))]);
    drop(context);
    assert_eq!((one.keepers(), two.keepers()), (0, 0));
}

#[test]
fn a_value_is_dropped_inside_of_those_before_it() {
    register_all();
    let (one, two, other) = (Ambient::new(1), Ambient::new(2), Ambient::new(3));
    let alone = noted(inherit_context);
    let context = Second::around(&two, || Current::around(&one, || noted(inherit_context)));
    let copy = context.clone();
    Current::around(&other, || drop((context, alone)));
    // What is current elsewhere has nothing to do with it.
    assert_eq!(DROPPED.take(), [(None, None)]);
    Current::around(&other, || drop(copy));
    assert_eq!(DROPPED.take(), [(Some(1), Some(2))]);
    let keepers = [one.keepers(), two.keepers(), other.keepers()];
    assert_eq!((keepers, Current::number()), ([0; 3], None));
}

#[test]
fn the_same_type_twice_is_an_error() {
    register_all();
    let error: AlreadyRegistered = companion::register(Current).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("Current") && text.contains("`main`"),
        "{text}"
    );
}

#[test]
fn entered_in_the_order_of_registration_inside_the_frame() {
    let (one, two) = (Ambient::new(1), Ambient::new(2));
    let context = Second::around(&two, || Current::around(&one, inherit_context));
    let context = context.with_value(&ID, 7);
    ENTERED.take();
    let seen = context.call(|| (Current::number(), Second::number()));
    assert_eq!(seen, (Some(1), Some(2)));
    // Their code sees the variables of the context.
    assert_eq!(ENTERED.take(), [("first", Some(7)), ("second", Some(7))]);
    assert_eq!((Current::number(), Second::number()), (None, None));
}

#[test]
fn each_is_captured_by_itself() {
    let (one, two) = (Ambient::new(1), Ambient::new(2));
    let first = Current::around(&one, inherit_context);
    let second = Second::around(&two, inherit_context);
    let numbers = || (Current::number(), Second::number());
    assert_eq!(
        (first.call(numbers), second.call(numbers)),
        ((Some(1), None), (None, Some(2)))
    );
    // What the thread has of the other is not its own.
    let seen = Second::around(&two, || first.call(numbers));
    assert_eq!(seen, (Some(1), None));
    drop((first, second));
    assert_eq!((one.keepers(), two.keepers()), (0, 0));
}

#[test]
fn what_is_current_already_is_not_entered_again_and_shared() {
    let one = Ambient::new(1);
    let mut context = Current::around(&one, inherit_context);
    assert_eq!(one.keepers(), 1);
    context.run(|| {
        ENTERED.take();
        let keepers = one.keepers();
        let same = inherit_context();
        let copies = [same.clone(), same.clone(), same];
        assert_eq!(one.keepers(), keepers);
        assert_eq!(copies[0].call(Current::number), Some(1));
        assert_eq!(ENTERED.take(), []);
        // A scope captures anew, and there is one more who keeps it.
        let scoped = ID.sync_scope(3, inherit_context);
        assert_eq!(one.keepers(), keepers + 1);
        assert_eq!(scoped.get(&ID), Some(&3));
    });
    drop(context);
    assert_eq!(one.keepers(), 0);
}

#[test]
fn a_context_keeps_its_companions_and_its_identity_through_writes() {
    let one = Ambient::new(1);
    let mut context = Current::around(&one, inherit_context);
    let token = context.run(|| ID.set(1));
    assert!(context.has_companions());
    // A copy is another context, with the same companions.
    let mut copy = context.clone();
    let token = copy.run(|| ID.reset(token)).unwrap_err().into_token();
    assert_eq!(
        (copy.run(Current::number), context.run(Current::number)),
        (Some(1), Some(1))
    );
    context.run(|| ID.reset(token)).unwrap();
    assert_eq!((context.get(&ID), copy.get(&ID)), (None, Some(&1)));
    let token = context.run(|| ID.set(2));
    let mut alone = context.without_companions();
    assert!(!alone.has_companions() && copy.has_companions());
    // It is the same context without them.
    alone.run(|| ID.reset(token)).unwrap();
    assert_eq!(alone.run(Current::number), None);
    drop((alone, copy));
    assert_eq!(one.keepers(), 0);
}

#[test]
fn a_context_that_is_given_to_somebody_brings_them_along() {
    let one = Ambient::new(1);
    let context = Current::around(&one, inherit_context).with_value(&ID, 7);
    let numbers = || (ID.get(), Current::number());
    let future = async move { numbers() }.in_context(context.clone());
    let seen = std::thread::spawn(|| shim::block_on(future))
        .join()
        .unwrap();
    assert_eq!(seen, (Some(7), Some(1)));
    let thread = shim::thread::spawn_in(context.clone(), numbers);
    assert_eq!(thread.join().unwrap(), (Some(7), Some(1)));
    let job = shim::block_on(async { shim::spawn_in(context, async move { numbers() }).await });
    assert_eq!(job.unwrap(), (Some(7), Some(1)));
    assert_eq!((one.keepers(), Current::number()), (0, None));
    assert_eq!(Context::new().without_companions().len(), 0);
}
