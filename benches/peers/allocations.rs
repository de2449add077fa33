//! How often an operation allocates.

use std::rc::Rc;
use std::task::{Context, Waker};

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::{ContextExt, copy_context, shim};
use opentelemetry::Context as OtelContext;
use smol::LocalExecutor;

use crate::allocator;
use crate::carriers::{ID, Otel, Ours, VALUE, Value, carried, context, otel, with_dcontext};
use crate::sampling::{Contest, Row, Side, Unit};
use crate::spawning::{Turn, current_thread, tokio_runs};

pub(crate) const ROWS: &[Row] = &[
    Row::new("allocs_get", "allocations of a get", || {
        Contest::new(|n| context(1).run(|| allocations(n, || ID.get())))
            .peer("floor", |_| 0.0)
            .peer("opentelemetry", |n| {
                let _outer = otel(1).attach();
                allocations(n, || {
                    OtelContext::map_current(|context| {
                        context.get::<Value<0>>().map(|value| value.0)
                    })
                })
            })
    })
    .counts(Unit::Allocations),
    Row::new(
        "allocs_snapshot",
        "of a copy of a context with 100 variables",
        || {
            Contest::new(|n| context(100).run(|| allocations(n, copy_context)))
                .peer("floor", |_| 0.0)
                .peer("opentelemetry", |n| {
                    let _outer = otel(100).attach();
                    allocations(n, OtelContext::current)
                })
                .peer("dcontext", |n| {
                    with_dcontext(100, || allocations(n, dcontext::fork))
                })
        },
    )
    .counts(Unit::Allocations),
    Row::new("allocs_poll", "of a poll, with 100 variables", || {
        fn polls(future: impl Future<Output = ()>, n: u32) -> f64 {
            let mut future = Box::pin(future);
            allocations(n, || {
                future
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
            })
        }
        let waiting = std::future::pending::<()>;
        Contest::new(move |n| polls(carried(Ours { variables: 100 }, waiting()), n))
            .peer("floor", |_| 0.0)
            .peer("opentelemetry", move |n| {
                polls(carried(Otel { variables: 100 }, waiting()), n)
            })
    })
    .counts(Unit::Allocations),
    Row::new(
        "allocs_set_1",
        "of a set, in a context that nobody shares",
        || allocations_of_set(1),
    )
    .counts(Unit::Allocations),
    Row::new("allocs_set_100", "of a set, one of 100 variables", || {
        allocations_of_set(100)
    })
    .counts(Unit::Allocations),
    Row::new(
        "allocs_spawn_tokio",
        "of spawn + yield + join, beyond those of the bare runtime, which are theirs",
        || {
            let runtime = current_thread();
            let (first, second) = (Rc::clone(&runtime), Rc::clone(&runtime));
            let ours = Side::new(move |n| tokio_runs(&runtime, ours(n).in_context(context(10))));
            Contest::of(ours.over(move |n| tokio_runs(&first, tokio_bare(n))))
                .peer("bare", move |n| tokio_runs(&second, tokio_bare(n)))
        },
    )
    .counts(Unit::Allocations),
    Row::new("allocs_spawn_smol", "the same on smol", || {
        let run = |n| smol::block_on(context(10).run(|| shim::smol::spawn(ours(n)))).unwrap();
        let bare = |n| smol::block_on(smol::spawn(counted(n, || smol::spawn(Turn::default()))));
        Contest::of(Side::new(run).over(bare)).peer("bare", bare)
    })
    .counts(Unit::Allocations),
    Row::new("allocs_spawn_async_std", "the same on async-std", || {
        use async_std::task::{block_on, spawn};
        let run = |n| block_on(context(10).run(|| shim::async_std::spawn(ours(n)))).unwrap();
        let bare = |n| block_on(spawn(counted(n, || spawn(Turn::default()))));
        Contest::of(Side::new(run).over(bare)).peer("bare", bare)
    })
    .counts(Unit::Allocations),
    Row::new(
        "allocs_spawn_event_loop",
        "the same on the event loop, beyond smol's LocalExecutor",
        || {
            let run = |n| context(10).run(|| EventLoop::new().run_until_complete(ours(n)));
            let bare = |n| {
                let executor = LocalExecutor::new();
                smol::future::block_on(executor.run(counted(n, || executor.spawn(Turn::default()))))
            };
            Contest::of(Side::new(run).over(bare)).peer("smol_local", bare)
        },
    )
    .counts(Unit::Allocations),
];

fn allocations<R>(n: u32, mut operation: impl FnMut() -> R) -> f64 {
    // What is done once is not counted.
    drop(operation());
    allocator::start();
    for _ in 0..n {
        drop(operation());
    }
    allocator::stop().allocations
}

fn allocations_of_set(variables: usize) -> Contest {
    Contest::new(move |n| context(variables).run(|| allocations(n, || ID.set(VALUE))))
        .peer("floor", |n| allocations(n, || Box::new(VALUE)))
        .peer("opentelemetry", move |n| {
            let _outer = otel(variables).attach();
            allocations(n, || {
                OtelContext::current_with_value(Value::<0>(VALUE)).attach()
            })
        })
}

/// Allocations of `n` tasks, one after the other.
async fn counted<F: Future>(n: u32, spawn: impl Fn() -> F) -> f64 {
    spawn().await;
    allocator::start();
    for _ in 0..n {
        spawn().await;
    }
    allocator::stop().allocations
}

async fn ours(n: u32) -> f64 {
    counted(n, || shim::spawn(Turn::default())).await
}

async fn tokio_bare(n: u32) -> f64 {
    counted(n, || tokio::spawn(Turn::default())).await
}
