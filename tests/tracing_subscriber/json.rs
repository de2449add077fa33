//! `Json`.

use aiocontextvars::bridge::tracing_subscriber::Json;
use aiocontextvars::{Fields, context_var};
use serde_json::{Value, json};
use std::sync::LazyLock;
use tracing::{Dispatch, Event, Subscriber, info, info_span};
use tracing_subscriber::fmt::format::{self, Format, Writer};
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::lines::{Lines, logged};
use super::{FIELDS, ID, PEER, Peer, RATIO, TENANT};

pub(crate) fn json_by(format: Format<format::Json, ()>) -> impl FnOnce(Lines) -> Dispatch {
    |lines| {
        let subscriber = fmt::Subscriber::builder().json().with_writer(lines);
        Dispatch::new(subscriber.event_format(Json::new(format, &FIELDS)).finish())
    }
}

pub(crate) fn format() -> Format<format::Json, ()> {
    format::format().without_time().with_target(false).json()
}

pub(crate) fn objects(written: &str) -> Vec<Value> {
    let lines = written.strip_suffix('\n').unwrap().split('\n');
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn members_of_each_object() {
    let written = logged(json_by(format()), || {
        info!("without");
        ID.set(7);
        TENANT.set("acme".to_owned());
        RATIO.set(0.25);
        PEER.set(Peer("[::1]:80".to_owned()));
        info_span!("request", path = "/").in_scope(|| info!(paid = 3, "with"));
    });
    let span = json!({"name": "request", "path": "/"});
    let expected = [
        json!({"level": "INFO", "fields": {"message": "without"}}),
        json!({
            "id": 7, "tenant": "acme", "ratio": 0.25, "peer": "[::1]:80",
            "level": "INFO", "fields": {"message": "with", "paid": 3}, "span": span, "spans": [span],
        }),
    ];
    assert_eq!(objects(&written), expected);
    let head = r#"{"id":7,"tenant":"acme","ratio":0.25,"peer":"[::1]:80","level":"INFO","#;
    assert!(written.contains(head), "{written}");
}

#[test]
fn an_event_that_has_such_a_field_keeps_its_own() {
    let written = logged(json_by(format().flatten_event(true)), || {
        TENANT.set("acme".to_owned());
        ID.set(1);
        info!(tenant = "globex", "compared");
    });
    let expected = json!({
        "id": 1, "context.tenant": "acme", "level": "INFO", "message": "compared", "tenant": "globex",
    });
    assert_eq!(objects(&written), [expected]);
    // Each once.
    assert_eq!(written.matches(r#""tenant":"#).count(), 1);
}

#[test]
fn no_member_is_there_twice() {
    context_var! { static KIND: u64; static OTHER: u64; }
    static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
        let fields = Fields::new().with("type", &KIND).with("tenant", &TENANT);
        fields.with("context.tenant", &OTHER)
    });
    let make = |lines: Lines| {
        let format = Json::new(format().flatten_event(true), &FIELDS);
        let subscriber = fmt::Subscriber::builder().json().with_writer(lines);
        subscriber.event_format(format).finish()
    };
    let written = logged(make, || {
        KIND.set(1);
        TENANT.set("acme".to_owned());
        OTHER.set(2);
        info!(r#type = ?"its own", tenant = "globex");
        info!(r#type = "its own", context.r#type = 3);
    });
    let expected = [
        r#"{"context.type":1,"context.tenant":2,"level":"INFO","#,
        r#"{"tenant":"acme","context.tenant":2,"level":"INFO","#,
    ];
    for (line, expected) in written.lines().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
        let object: Value = serde_json::from_str(line).unwrap();
        for name in object.as_object().unwrap().keys() {
            assert_eq!(line.matches(&format!("\"{name}\":")).count(), 1, "{line}");
        }
    }
}

#[test]
fn formats_of_ones_own() {
    /// Writes this in two pieces.
    struct Fixed(&'static str, &'static str);
    impl<S, N> FormatEvent<S, N> for Fixed
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        N: for<'a> FormatFields<'a> + 'static,
    {
        fn format_event(
            &self,
            _: &FmtContext<'_, S, N>,
            mut writer: Writer<'_>,
            _: &Event<'_>,
        ) -> std::fmt::Result {
            writer.write_str(self.0)?;
            writer.write_str("")?;
            writer.write_str(self.1)
        }
    }
    let by = |format: Fixed, id: Option<u64>| {
        let make = |lines: Lines| {
            let format = Json::new(format, &FIELDS);
            let subscriber = fmt::Subscriber::builder().with_writer(lines);
            subscriber.event_format(format).finish()
        };
        logged(make, || {
            id.map(|id| ID.set(id));
            info!("whatever");
        })
    };
    assert_eq!(by(Fixed("{}", "\n"), Some(1)), "{\"id\":1}\n");
    assert_eq!(by(Fixed("{", "}\n"), Some(1)), "{\"id\":1}\n");
    assert_eq!(
        by(Fixed("{", "\"a\":{}}\n"), Some(1)),
        "{\"id\":1,\"a\":{}}\n"
    );
    assert_eq!(
        by(Fixed("{\"a\":", "{}}\n"), Some(1)),
        "{\"id\":1,\"a\":{}}\n"
    );
    assert_eq!(by(Fixed("{\"a\":", "{}}\n"), None), "{\"a\":{}}\n");
    assert_eq!(by(Fixed("[", "{}]\n"), Some(1)), "[{}]\n");
}

#[test]
#[should_panic(expected = "a line has a member `level` itself")]
fn names_that_lines_have_themselves() {
    context_var! { static LEVEL: u64; }
    static TAKEN: LazyLock<Fields> = LazyLock::new(|| Fields::new().with("level", &LEVEL));
    let _ = Json::new(format(), &TAKEN);
}
