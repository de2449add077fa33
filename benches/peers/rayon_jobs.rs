//! Jobs of rayon's, in a context with 10 variables, beside bare ones. An operation is a job, not an
//! item, but in the last row.
//!
//! All but that take place on a pool of one thread: what two of them take depends on how they meet
//! more than on what is compared.

use std::hint::black_box;
use std::rc::Rc;
use std::time::Instant;

use aiocontextvars::{ContextExt, shim};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::carriers::context;
use crate::sampling::{Contest, Row, nanoseconds};

pub(crate) const ROWS: &[Row] = &[
    Row::new("rayon_spawn", "a job of a scope of a hundred", || {
        let batch = 100;
        contest(
            1,
            move |n| {
                batches(n, batch, || {
                    shim::rayon::scope(|scope| (0..batch).for_each(|_| scope.spawn(|_| job())))
                })
            },
            move |n| {
                batches(n, batch, || {
                    rayon::scope(|scope| (0..batch).for_each(|_| scope.spawn(|_| job())))
                })
            },
        )
    })
    .long(),
    Row::new("rayon_join", "a join of two jobs, by job", || {
        contest(
            1,
            |n| batches(n, 2, || _ = black_box(shim::rayon::join(result, result))),
            |n| batches(n, 2, || _ = black_box(rayon::join(result, result))),
        )
    })
    .long(),
    Row::new(
        "rayon_par_iter",
        "a job of a parallel iterator with a thousand jobs of an item each",
        || {
            let items = || (0..1024_u32).into_par_iter().with_max_len(1);
            contest(
                1,
                move |n| batches(n, 1024, || items().in_current_context().for_each(consume)),
                move |n| batches(n, 1024, || items().for_each(consume)),
            )
        },
    )
    .long(),
    Row::new(
        "rayon_par_iter_items",
        "a parallel iterator over 100,000 items on two threads, by item",
        || {
            let items = || (0..100_000_u32).into_par_iter();
            contest(
                2,
                move |n| {
                    batches(n, 100_000, || {
                        items().in_current_context().for_each(consume)
                    })
                },
                move |n| batches(n, 100_000, || items().for_each(consume)),
            )
        },
    )
    .long(),
];

fn job() {
    black_box(());
}

fn result() -> u64 {
    black_box(1)
}

fn consume(item: u32) {
    black_box(item);
}

/// Does it so often that there are `n` operations, of which it has `size`.
fn batches(n: u32, size: u32, batch: impl Fn()) -> f64 {
    let times = n.div_ceil(size);
    let start = Instant::now();
    for _ in 0..times {
        batch();
    }
    nanoseconds(start) * f64::from(n) / f64::from(times * size)
}

/// Both in the same pool, and in the same context.
fn contest(
    threads: usize,
    ours: impl Fn(u32) -> f64 + Copy + Send + 'static,
    bare: impl Fn(u32) -> f64 + Copy + Send + 'static,
) -> Contest {
    let builder = ThreadPoolBuilder::new().num_threads(threads);
    let pool = Rc::new(builder.build().expect("the threads start"));
    let same = Rc::clone(&pool);
    Contest::new(move |n| inside(&pool, move || ours(n)))
        .peer("bare", move |n| inside(&same, move || bare(n)))
}

fn inside(pool: &ThreadPool, measure: impl FnOnce() -> f64 + Send) -> f64 {
    context(10).run(|| shim::rayon::on(pool).install(|context| context.call(measure)))
}
