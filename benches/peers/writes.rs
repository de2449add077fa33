//! Setting, copying and entering.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aiocontextvars::{Context, copy_context};
use opentelemetry::Context as OtelContext;
use tokio_inherit_task_local::FutureInheritTaskLocal;

use crate::carriers::{
    DCONTEXT_ID, ID, INHERITED, TASK_LOCAL, VALUE, Value, context, otel, trace, with_dcontext,
    with_inheritable,
};
use crate::sampling::{Contest, Row, time};
use crate::threads::beside;

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "set_1",
        "set of the only variable, in a context that nobody shares",
        || {
            set(1)
                .peer("tokio_task_local", task_local)
                .peer("thread_local", |n| time(n, || PLAIN.set(black_box(VALUE))))
        },
    ),
    Row::new("set_100", "one of 100 variables", || {
        set(100).peer("self_1", ours(1))
    }),
    Row::new(
        "set_after_snapshot_1",
        "a copy, and a set while it is there",
        || set_after_snapshot(1),
    ),
    Row::new("set_after_snapshot_100", "one of 100 variables", || {
        set_after_snapshot(100).peer("self_1", ours_after_snapshot(1))
    }),
    Row::new("set_reset_1", "set and reset", || {
        let mut context = context(1);
        others(
            1,
            Contest::new(move |n| {
                context.run(|| time(n, || ID.reset(ID.set(black_box(VALUE))).is_ok()))
            }),
        )
        .peer("tokio_task_local", task_local)
        .python("contextvars", "set_reset", 1)
    }),
    Row::new("scoped_1", "a guard, made and dropped", || {
        let mut context = context(1);
        others(
            1,
            Contest::new(move |n| context.run(|| time(n, || ID.scoped(black_box(VALUE))))),
        )
        .peer("tokio_task_local", task_local)
        .python("contextvars", "set_reset", 1)
    }),
    Row::new(
        "snapshot_1",
        "a copy of the current context, made and dropped",
        || snapshot(1),
    ),
    Row::new("snapshot_8", "of 8 variables", || {
        snapshot(8).peer("self_1", copies(1))
    }),
    Row::new("snapshot_100", "of 100 variables", || {
        snapshot(100).peer("self_1", copies(1))
    }),
    Row::new("snapshot_100000", "of 100,000 variables", || {
        Contest::new(copies(100_000))
            .peer("self_1", copies(1))
            .peer("floor", counter)
    }),
    Row::new(
        "snapshot_two_threads",
        "a copy, while another thread copies the same context",
        || {
            let mut context = context(1);
            let shared = Arc::new(VALUE);
            Contest::new(move |n| {
                let mut copy = context.clone();
                let other = move |more: &dyn Fn() -> bool| {
                    copy.run(|| {
                        while more() {
                            drop(copy_context())
                        }
                    })
                };
                beside(other, || context.run(|| time(n, copy_context)))
            })
            .peer("self_1", copies(1))
            .peer("floor", move |n| {
                let other = |more: &dyn Fn() -> bool| {
                    while more() {
                        drop(black_box(Arc::clone(&shared)))
                    }
                };
                beside(other, || time(n, || Arc::clone(black_box(&shared))))
            })
        },
    )
    .long(),
    Row::new("run_1", "a context is entered and left", run),
];

thread_local! {
    static PLAIN: Cell<u64> = const { Cell::new(VALUE) };
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

fn ours(variables: usize) -> impl FnMut(u32) -> f64 {
    let mut context = context(variables);
    move |n| context.run(|| time(n, || ID.set(black_box(VALUE))))
}

fn task_local(n: u32) -> f64 {
    time(n, || {
        TASK_LOCAL.sync_scope(black_box(VALUE), || black_box(()))
    })
}

/// What the peers have for a change of a value: a scope with another one.
fn others(variables: usize, contest: Contest) -> Contest {
    contest
        .peer("opentelemetry", move |n| {
            let _outer = otel(variables).attach();
            time(n, || {
                OtelContext::current_with_value(Value::<0>(black_box(VALUE))).attach()
            })
        })
        .peer("tokio_inherit", move |n| {
            with_inheritable(variables, || {
                time(n, || {
                    INHERITED.sync_scope(black_box(VALUE), || black_box(()))
                })
            })
        })
        .peer("dcontext", move |n| {
            with_dcontext(variables, || {
                time(n, || {
                    dcontext::set_context_variable(black_box(DCONTEXT_ID), black_box(VALUE))
                })
            })
        })
        .peer("floor", allocation)
}

/// An allocation of what a stored value takes, and its end.
fn allocation(n: u32) -> f64 {
    time(n, || Box::new(black_box([VALUE; 4])))
}

fn set(variables: usize) -> Contest {
    others(variables, Contest::new(ours(variables))).python("contextvars", "set", variables)
}

fn ours_after_snapshot(variables: usize) -> impl FnMut(u32) -> f64 {
    let mut context = context(variables);
    move |n| {
        context.run(|| {
            time(n, || {
                let kept = black_box(copy_context());
                (ID.set(black_box(VALUE)), kept)
            })
        })
    }
}

fn set_after_snapshot(variables: usize) -> Contest {
    Contest::new(ours_after_snapshot(variables))
        .peer("opentelemetry", move |n| {
            let _outer = otel(variables).attach();
            time(n, || {
                let kept = black_box(OtelContext::current());
                (
                    OtelContext::current_with_value(Value::<0>(black_box(VALUE))).attach(),
                    kept,
                )
            })
        })
        .peer("dcontext", move |n| {
            with_dcontext(variables, || {
                time(n, || {
                    let kept = black_box(dcontext::fork());
                    dcontext::set_context_variable(black_box(DCONTEXT_ID), black_box(VALUE));
                    kept
                })
            })
        })
        .peer("floor", allocation)
        .python("contextvars", "set_after_snapshot", variables)
}

fn copies(variables: usize) -> impl FnMut(u32) -> f64 {
    let mut context = context(variables);
    move |n| context.run(|| time(n, copy_context))
}

/// An atomic increment and a decrement, of a counter that no other thread touches.
fn counter(n: u32) -> f64 {
    let counter = AtomicUsize::new(0);
    time(n, || {
        black_box(black_box(&counter).fetch_add(1, Ordering::Relaxed));
        black_box(&counter).fetch_sub(1, Ordering::Release)
    })
}

fn snapshot(variables: usize) -> Contest {
    Contest::new(copies(variables))
        .peer("opentelemetry", move |n| {
            let _outer = otel(variables).attach();
            time(n, OtelContext::current)
        })
        .peer("tokio_inherit", move |n| {
            with_inheritable(variables, || {
                time(n, || std::future::ready(()).inherit_task_local())
            })
        })
        .peer("dcontext", move |n| {
            with_dcontext(variables, || time(n, dcontext::fork))
        })
        .peer("tracing", |n| {
            trace();
            tracing::info_span!("request").in_scope(|| time(n, tracing::Span::current))
        })
        .peer("floor", counter)
        .python("contextvars", "snapshot", variables)
}

fn run() -> Contest {
    let mut context: Context = context(1);
    Contest::new(move |n| time(n, || black_box(&mut context).run(|| black_box(()))))
        .peer("tokio_task_local", task_local)
        .peer("opentelemetry", |n| {
            let context = otel(1);
            time(n, || black_box(&context).clone().attach())
        })
        .peer("tracing", |n| {
            trace();
            let span = tracing::info_span!("request");
            time(n, || black_box(&span).in_scope(|| black_box(())))
        })
        .peer("fastrace", |n| {
            trace();
            let span = fastrace::Span::root("request", fastrace::prelude::SpanContext::random());
            time(n, || black_box(&span).set_local_parent())
        })
        // Two exchanges in a thread-local.
        .peer("floor", |n| {
            time(n, || {
                let before = CURRENT.with(|cell| black_box(cell).replace(black_box(1)));
                CURRENT.with(|cell| black_box(cell).replace(before))
            })
        })
        .python("contextvars", "run", 1)
}
