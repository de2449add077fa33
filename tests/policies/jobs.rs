//! rayon's jobs and parallel iterators.

use std::sync::LazyLock;

use aiocontextvars::shim::rayon::on;
use aiocontextvars::{Context, ContextExt, context_var, shim};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{Answer, CONNECTION, Seen, at_once, called, given, inherits, see};

static POOL: LazyLock<ThreadPool> =
    LazyLock::new(|| ThreadPoolBuilder::new().num_threads(2).build().unwrap());

/// What all of them have seen.
fn same(seen: impl IntoIterator<Item = Seen>) -> Answer {
    let mut seen = seen.into_iter();
    let first = seen.next().unwrap();
    assert!(seen.all(|other| other == first));
    at_once(first)
}

#[rustfmt::skip]
pub(crate) fn inheriting() -> Vec<inherits::Hop> {
    vec![
        ("rayon::spawn", || called(shim::rayon::spawn)),
        ("rayon::join", || same(<[Seen; 2]>::from(shim::rayon::join(see, see)))),
        ("rayon::scope", || at_once(shim::rayon::scope(|_| see()))),
        ("rayon::broadcast", || same(shim::rayon::broadcast(|_| see()))),
        ("a pool's spawn", || called(|f| on(&POOL).spawn(f))),
        ("a pool's install", || at_once(on(&POOL).install(|context| context.call(see)))),
        ("rayon::apart", || at_once(shim::rayon::apart(|context| context.call(see)))),
        ("a pool's join", || same(<[Seen; 2]>::from(on(&POOL).join(see, see)))),
        ("a pool's scope", || at_once(on(&POOL).scope(|_| see()))),
        ("a pool's broadcast", || same(on(&POOL).broadcast(|_| see()))),
        ("rayon::Scope::spawn", || {
            // The scope's own copy has no local variable left: set anew.
            called(|f| shim::rayon::scope(|scope| {
                CONNECTION.set(2);
                scope.spawn(|_| f());
                CONNECTION.set(3);
            }))
        }),
        ("a parallel iterator in_current_context", || {
            let items = (0..100).into_par_iter().in_current_context();
            same(items.map(|_| see()).collect::<Vec<_>>())
        }),
    ]
}

#[rustfmt::skip]
pub(crate) fn given() -> Vec<given::Hop> {
    vec![
        ("rayon::spawn_in", |context| called(|f| shim::rayon::spawn_in(context, f))),
        ("a pool's spawn_in", |context| called(|f| on(&POOL).spawn_in(context, f))),
        ("rayon::Scope::spawn_in", |context| {
            called(|f| shim::rayon::scope(|scope| scope.spawn_in(context, |_| f())))
        }),
        ("a parallel iterator in_context", |context| {
            let items = (0..100).into_par_iter().in_context(context);
            same(items.map(|_| see()).collect::<Vec<_>>())
        }),
    ]
}

context_var! { static FACTOR: u64 = 1; }

/// Of a library that uses rayon directly.
fn sum_of(items: &[u64]) -> u64 {
    items.par_iter().sum()
}

/// In a job or task that has a context.
fn scaled_sum(items: &[u64]) -> u64 {
    let sum = shim::rayon::apart(|_| sum_of(items));
    sum * FACTOR.get()
}

/// On a pool, with parts that need the context.
fn sum_of_scaled(pool: &ThreadPool, items: &[u64]) -> u64 {
    shim::rayon::on(pool).install(|context: &Context| {
        let items = items.par_iter().in_context(context.clone());
        items.map(|item| item * FACTOR.get()).sum()
    })
}

#[test]
fn a_library_that_uses_rayon_is_called_apart() {
    let items: Vec<u64> = (0..1000).collect();
    let sums = FACTOR.sync_scope(3, || {
        let scaled = || scaled_sum(&items);
        (on(&POOL).join(scaled, scaled), sum_of_scaled(&POOL, &items))
    });
    assert_eq!(sums, ((1_498_500, 1_498_500), 1_498_500));
}
