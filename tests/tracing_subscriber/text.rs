//! `Text`.

use aiocontextvars::bridge::tracing_subscriber::Text;
use aiocontextvars::shim;
use aiocontextvars::shim::event_loop::EventLoop;
use tracing::{Dispatch, info, info_span};
use tracing_subscriber::fmt::{self, format};

use super::lines::{Lines, logged};
use super::{FIELDS, ID, PEER, Peer, RATIO, TENANT};

fn text(lines: Lines) -> Dispatch {
    let format = format().without_time().with_target(false);
    let subscriber = fmt::Subscriber::builder()
        .with_ansi(false)
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
