//! What variables in a log line cost: an event as `tracing-subscriber` formats it, with two of them.

use std::io;
use std::sync::LazyLock;

use aiocontextvars::bridge::tracing_subscriber::{Json, Text};
use aiocontextvars::{Context, Fields, context_var};
use tracing::{Dispatch, dispatcher, info, info_span};
use tracing_subscriber::fmt::{self, format};

use crate::carriers::{VALUE, context};
use crate::sampling::{Contest, Row, Side, time};

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "event_text",
        "what two variables add to a line of text; span_fields is a span around it that has them",
        text,
    ),
    Row::new(
        "event_json",
        "what two variables add to a line of JSON; span_fields is a span around it that has them",
        json,
    ),
];

context_var! {
    static REQUEST_ID: u64;
    static TENANT: String;
}

static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::new()
        .with("request_id", &REQUEST_ID)
        .with("tenant", &TENANT)
});

/// A context with the two, among others.
fn request() -> Context {
    let mut context = context(10);
    context.run(|| {
        REQUEST_ID.set(VALUE);
        TENANT.set("acme".to_owned());
    });
    context
}

/// Events of this subscriber, in a span that has the same as fields or in none.
fn events(dispatch: Dispatch, in_span: bool) -> impl FnMut(u32) -> f64 {
    let mut request = request();
    move |n| {
        dispatcher::with_default(&dispatch, || {
            request.run(|| {
                let run = || time(n, || info!("paid"));
                match in_span {
                    true => {
                        info_span!("request", request_id = VALUE, tenant = "acme").in_scope(run)
                    }
                    false => run(),
                }
            })
        })
    }
}

fn text() -> Contest {
    let builder = || {
        fmt::Subscriber::builder()
            .with_ansi(false)
            .with_writer(io::sink)
    };
    let format = || format().without_time();
    let plain = move || Dispatch::new(builder().event_format(format()).finish());
    let ours = builder()
        .event_format(Text::new(format(), &FIELDS))
        .finish();
    let ours = Side::new(events(Dispatch::new(ours), false)).over(events(plain(), false));
    let spans = Side::new(events(plain(), true)).over(events(plain(), false));
    Contest::of(ours).side("span_fields", spans)
}

fn json() -> Contest {
    let builder = || fmt::Subscriber::builder().json().with_writer(io::sink);
    let format = || format().without_time().json().with_span_list(false);
    let plain = move || Dispatch::new(builder().event_format(format()).finish());
    let ours = builder()
        .event_format(Json::new(format(), &FIELDS))
        .finish();
    let ours = Side::new(events(Dispatch::new(ours), false)).over(events(plain(), false));
    let spans = Side::new(events(plain(), true)).over(events(plain(), false));
    Contest::of(ours).side("span_fields", spans)
}
