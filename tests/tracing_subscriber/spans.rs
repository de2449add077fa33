//! `SpanFields`.

use std::sync::LazyLock;

use aiocontextvars::bridge::tracing_subscriber::SpanFields;
use aiocontextvars::{Fields, context_var};
use serde_json::json;
use tracing::{info, info_span};
use tracing_subscriber::fmt::format::{DefaultFields, JsonFields};
use tracing_subscriber::fmt::{self, format};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

use super::json::objects;
use super::lines::{Lines, logged};
use super::{FIELDS, ID, PEER, Peer, RATIO, TENANT};

fn in_spans() {
    ID.set(7);
    TENANT.set("acme".to_owned());
    let request = info_span!("request", path = "/");
    RATIO.set(0.5);
    PEER.set(Peer("a \"b\"\n".to_owned()));
    request.in_scope(|| {
        // Its own stays.
        info_span!("part", tenant = "globex").in_scope(|| info!("line"));
    });
}

#[test]
fn in_text() {
    let format = || format().without_time().with_target(false);
    let expected = " INFO request{path=\"/\" id=7 tenant=\"acme\"}:\
                    part{tenant=\"globex\" id=7 ratio=0.5 peer=\"a \\\"b\\\"\\n\"}: line\n";
    let after = |lines: Lines| {
        let writes = fmt::layer()
            .with_ansi(false)
            .event_format(format())
            .with_writer(lines);
        let fields = SpanFields::new(DefaultFields::new(), &FIELDS);
        Registry::default().with(writes).with(fields)
    };
    assert_eq!(logged(after, in_spans), expected);
    let before = |lines: Lines| {
        let writes = fmt::layer()
            .with_ansi(false)
            .event_format(format())
            .with_writer(lines);
        let fields = SpanFields::new(DefaultFields::new(), &FIELDS);
        Registry::default().with(fields).with(writes)
    };
    assert_eq!(logged(before, in_spans), expected);
}

#[test]
fn in_json() {
    let make = |lines: Lines| {
        let format = format().without_time().with_target(false).json();
        let format = format.with_span_list(false);
        let writes = fmt::layer().json().event_format(format).with_writer(lines);
        let fields = SpanFields::new(JsonFields::new(), &FIELDS);
        Registry::default().with(writes).with(fields)
    };
    let written = logged(make, || {
        in_spans();
        info_span!("bare").in_scope(|| info!("line"));
    });
    let part = json!({
        "name": "part", "tenant": "globex", "id": 7, "ratio": 0.5, "peer": "a \"b\"\n",
    });
    let bare = json!({
        "name": "bare", "tenant": "acme", "id": 7, "ratio": 0.5, "peer": "a \"b\"\n",
    });
    let line = |span| json!({"level": "INFO", "fields": {"message": "line"}, "span": span});
    assert_eq!(objects(&written), [line(part), line(bare)]);
}

#[test]
#[should_panic(expected = "formats have a way of their own with `message`")]
fn names_that_formats_write_without_quotes() {
    context_var! { static MESSAGE: String; }
    static FIELDS: LazyLock<Fields> = LazyLock::new(|| Fields::new().with("message", &MESSAGE));
    let _ = SpanFields::new(DefaultFields::new(), &FIELDS);
}
