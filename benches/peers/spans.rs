//! What it costs that the span follows: companions beside tracing's own wrapper.
//!
//! These rows come last, because from then on a companion is registered in the process.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Once;
use std::task::{Context, Waker};

use aiocontextvars::bridge::tracing::CurrentSpan;
use aiocontextvars::{ContextExt, companion};
use tokio::runtime::Runtime;
use tracing::{Instrument, info_span};

use crate::carriers::{Bare, Tracing, context, trace};
use crate::polls::{Waiting, polls};
use crate::sampling::{Contest, Row, Side, time};
use crate::spawning::{Spawn, current_thread, ours, tokio_carried, tokio_runs};

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "spawn_in_span",
        "spawn + yield + join in a span, 10 variables; tracing is tokio::spawn(f.in_current_span()); self_anew captures it each time",
        spawns,
    )
    .long(),
    Row::new(
        "poll_in_span",
        "what is added to a poll by a span; self_none has captured that there was none",
        added_to_a_poll,
    ),
];

fn register() {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| companion::register(CurrentSpan).expect("it is registered once"));
    trace();
}

fn spawns() -> Contest {
    register();
    let runtime = current_thread();
    Contest::new(in_span(&runtime, true))
        .peer("bare", tokio_carried(&runtime, Bare {}))
        .peer("tracing", tokio_carried(&runtime, Tracing {}))
        .peer("self_anew", in_span(&runtime, false))
}

/// The spawner's own context has the span, or it is current beside it.
fn in_span(runtime: &Rc<Runtime>, captured: bool) -> impl FnMut(u32) -> f64 + use<> {
    let runtime = Rc::clone(runtime);
    move |n| {
        let request = info_span!("request");
        let tasks = ours(n, Spawn::Tokio);
        if captured {
            let inherited = context(10).run(|| request.in_scope(aiocontextvars::inherit_context));
            tokio_runs(&runtime, tasks.in_context(inherited))
        } else {
            tokio_runs(&runtime, tasks.in_context(context(10)).instrument(request))
        }
    }
}

fn added_to_a_poll() -> Contest {
    register();
    Contest::of(Side::new(own_polls(true)).over(polls(Bare {})))
        .side("tracing", Side::new(polls(Tracing {})).over(polls(Bare {})))
        .side(
            "self_none",
            Side::new(own_polls(false)).over(polls(Bare {})),
        )
}

fn own_polls(in_span: bool) -> impl FnMut(u32) -> f64 {
    let make = || Box::pin(Waiting.in_current_context());
    let mut future = match in_span {
        true => info_span!("request").in_scope(make),
        false => make(),
    };
    move |n| {
        let mut cx = Context::from_waker(Waker::noop());
        time(n, || black_box(future.as_mut()).poll(black_box(&mut cx)))
    }
}
