//! `Text`.

use aiocontextvars::bridge::tracing::CurrentSpan;
use aiocontextvars::bridge::tracing_subscriber::Text;
use aiocontextvars::shim::event_loop::EventLoop;
use aiocontextvars::{Carried, Context, companion, shim};
use tracing::{Dispatch, info, info_span};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::fmt::{self, format};

use super::lines::{Lines, logged};
use super::{FIELDS, ID, PEER, Peer, RATIO, TENANT};

fn text(lines: Lines) -> Dispatch {
    text_with(lines, FmtSpan::NONE)
}

/// With a line for each of these events of spans, too.
fn text_with(lines: Lines, spans: FmtSpan) -> Dispatch {
    let format = format().without_time().with_target(false);
    let subscriber = fmt::Subscriber::builder()
        .with_ansi(false)
        .with_span_events(spans)
        .with_writer(lines);
    Dispatch::new(subscriber.event_format(Text::new(format, &FIELDS)).finish())
}

#[test]
fn before_each_line() {
    let written = logged(text, || {
        info!("without");
        ID.set(7);
        TENANT.set("acme".to_owned());
        RATIO.set(0.25);
        PEER.set(Peer("[::1]:80".to_owned()));
        info_span!("request", path = "/").in_scope(|| info!(paid = 3, "with"));
    });
    let expected = " INFO without\n\
                    id=7 tenant=\"acme\" ratio=0.25 peer=\"[::1]:80\"  INFO request{path=\"/\"}: with paid=3\n";
    assert_eq!(written, expected);
}

#[test]
fn the_values_are_those_of_the_code_that_logs() {
    let written = logged(text, || {
        EventLoop::new().run_until_complete(async {
            ID.set(1);
            let task = shim::spawn(async { info!("task") });
            ID.set(2);
            task.await.unwrap();
            info!("main");
            ID.scope(3, async { info!("scope") }).await;
        });
    });
    assert_eq!(
        written,
        "id=1  INFO task\nid=2  INFO main\nid=3  INFO scope\n"
    );
}

#[test]
fn other_formats() {
    let compact = |lines: Lines| {
        let format = format().without_time().with_target(false).compact();
        let subscriber = fmt::Subscriber::builder()
            .with_ansi(false)
            .with_writer(lines);
        subscriber.event_format(Text::new(format, &FIELDS)).finish()
    };
    let written = logged(compact, || {
        ID.set(7);
        info_span!("request").in_scope(|| info!("line"));
    });
    assert_eq!(written, "id=7  INFO request: line\n");
}

/// What `f` logs, with a line for each span that closes, in which its times are left out.
fn logged_with_ends(f: impl FnOnce()) -> String {
    // Another test may have registered it.
    let _ = companion::register(CurrentSpan);
    let written = logged(|lines| text_with(lines, FmtSpan::CLOSE), f);
    let without_times = |line: &str| match line.split_once(": close ") {
        Some((span, _)) => format!("{span}: close\n"),
        None => format!("{line}\n"),
    };
    written.lines().map(without_times).collect()
}

#[test]
fn a_span_closes_in_the_context_that_has_kept_it_open() {
    let in_request = |id| Context::new().with_value(&ID, id);
    let dropped_elsewhere = logged_with_ends(|| {
        let message = in_request(1).run(|| info_span!("sent").in_scope(|| Carried::new(())));
        in_request(2).run(|| {
            info_span!("other").in_scope(|| {
                drop(message);
                info!("handled");
            });
        });
    });
    assert_eq!(
        dropped_elsewhere,
        "id=1  INFO sent: close\nid=2  INFO other: handled\nid=2  INFO other: close\n"
    );
    let task_ends_last = logged_with_ends(|| {
        EventLoop::new().run_until_complete(async {
            ID.set(3);
            let task = info_span!("request").in_scope(|| {
                shim::spawn(async {
                    shim::yield_now().await;
                    info!("task");
                })
            });
            task.await.unwrap();
        });
    });
    assert_eq!(
        task_ends_last,
        "id=3  INFO request: task\nid=3  INFO request: close\n"
    );
}
