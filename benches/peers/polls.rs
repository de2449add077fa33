//! What carrying values adds to a poll.

use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::carriers::{
    Bare, Carrier, Dcontext, EightTaskLocals, Fastrace, Inherit, Otel, Ours, TaskLocal, Tracing,
    carried, collected,
};
use crate::sampling::{Contest, Row, Side, time};

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "poll_1",
        "what is added to a poll, beyond that of the bare future in the same pair; the floor is a poll of that",
        || contest(1).peer("floor", polls(Bare {})),
    ),
    Row::new(
        "poll_8",
        "the same with 8 variables; tokio_task_local is one, and tokio_task_local_8 are 8 scopes",
        || {
            contest(8)
                .side("self_1", added(Ours { variables: 1 }))
                .side("tokio_task_local_8", added(EightTaskLocals {}))
        },
    ),
    Row::new(
        "poll_100",
        "with 100 variables; tokio_task_local is one",
        || contest(100).side("self_1", added(Ours { variables: 1 })),
    ),
];

/// Never ready, and nothing that a compiler could look into.
pub(crate) struct Waiting;

impl Future for Waiting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        black_box(Poll::Pending)
    }
}

pub(crate) fn polls(carrier: impl Carrier) -> impl FnMut(u32) -> f64 {
    let mut future = Box::pin(carried(carrier, Waiting));
    move |n| {
        let mut cx = Context::from_waker(Waker::noop());
        time(n, || black_box(future.as_mut()).poll(black_box(&mut cx)))
    }
}

fn added(carrier: impl Carrier) -> Side {
    Side::new(polls(carrier)).over(polls(Bare {}))
}

fn contest(variables: usize) -> Contest {
    Contest::of(added(Ours { variables }))
        .side("tokio_task_local", added(TaskLocal {}))
        .side("tokio_inherit", added(Inherit { variables }))
        .side("dcontext", added(Dcontext { variables }))
        .side("opentelemetry", added(Otel { variables }))
        .side("tracing", added(Tracing {}))
        .side(
            "fastrace",
            Side::new(collected(polls(Fastrace {}))).over(polls(Bare {})),
        )
}
