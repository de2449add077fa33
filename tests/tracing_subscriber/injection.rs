//! Values that pretend to be more than one field, or more than one line.

use aiocontextvars::bridge::tracing_subscriber::{SpanFields, Text};
use tracing::{info, info_span};
use tracing_subscriber::fmt::format::{DefaultFields, JsonFields};
use tracing_subscriber::fmt::{self, format};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

use super::json::{json_by, objects};
use super::lines::{Lines, logged};
use super::{FIELDS, PEER, Peer, TENANT};

const HOSTILE: [&str; 12] = [
    "acme\nINFO forged=1",
    "acme\r\nINFO forged=1",
    "acme\" forged=\"1",
    "acme\\\" forged=1",
    "acme\\",
    "acme\",\"forged\":\"1",
    "acme\"}\n{\"forged\":\"1\"}",
    "\u{1b}[2J\u{1b}]0;forged\u{7}",
    "\u{9b}31m\u{85}\u{0}\u{8}\u{7f}",
    "acme\u{2028}INFO forged=1\u{2029}",
    "\u{202e}1=degrof\u{2066}",
    "\u{feff}\u{200b}\u{e0041}",
];

/// What ends a line for somebody, or is obeyed rather than shown.
fn is_obeyed(c: char) -> bool {
    let direction =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || direction || matches!(c, '\u{2028}' | '\u{2029}')
}

fn set(value: &str) {
    TENANT.set(value.to_owned());
    PEER.set(Peer(value.to_owned()));
}

/// Reads `"…"` as `{:?}` writes it, and returns what is behind it.
fn unquoted(text: &str) -> (String, &str) {
    let mut chars = text.strip_prefix('"').unwrap().chars();
    let mut value = String::new();
    loop {
        match chars.next().unwrap() {
            '"' => return (value, chars.as_str()),
            '\\' => value.push(match chars.next().unwrap() {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                'u' => {
                    let (digits, rest) = chars.as_str().split_once('}').unwrap();
                    let number = u32::from_str_radix(&digits[1..], 16).unwrap();
                    chars = rest.chars();
                    char::from_u32(number).unwrap()
                }
                c => c,
            }),
            c => value.push(c),
        }
    }
}

#[test]
fn in_text() {
    let make = |lines: Lines| {
        let format = format().without_time().with_target(false).with_ansi(false);
        let subscriber = fmt::Subscriber::builder()
            .with_ansi(false)
            .with_writer(lines);
        subscriber.event_format(Text::new(format, &FIELDS)).finish()
    };
    for value in HOSTILE {
        let written = logged(make, || {
            set(value);
            info!("line");
        });
        let line = written.strip_suffix('\n').unwrap();
        assert!(!line.contains(is_obeyed), "{line:?}");
        let (tenant, rest) = unquoted(line.strip_prefix("tenant=").unwrap());
        let (peer, rest) = unquoted(rest.strip_prefix(" peer=").unwrap());
        assert_eq!(
            (&*tenant, &*peer, rest),
            (value, value, "  INFO line"),
            "{line}"
        );
    }
}

#[test]
fn in_json() {
    for value in HOSTILE {
        let written = logged(json_by(super::json::format()), || {
            set(value);
            info!("line");
        });
        assert!(
            !written.strip_suffix('\n').unwrap().contains(is_obeyed),
            "{written:?}"
        );
        let [object] = &objects(&written)[..] else {
            panic!("{written}");
        };
        assert_eq!(
            (&object["tenant"], &object["peer"]),
            (&value.into(), &value.into())
        );
        assert_eq!(object.as_object().unwrap().len(), 4, "{written}");
    }
}

#[test]
fn in_spans() {
    let text = |lines: Lines| {
        let format = format().without_time().with_target(false);
        let writes = fmt::layer()
            .with_ansi(false)
            .event_format(format)
            .with_writer(lines);
        Registry::default()
            .with(writes)
            .with(SpanFields::new(DefaultFields::new(), &FIELDS))
    };
    let json = |lines: Lines| {
        let format = format().without_time().with_target(false).json();
        let writes = fmt::layer().json().event_format(format).with_writer(lines);
        Registry::default()
            .with(writes)
            .with(SpanFields::new(JsonFields::new(), &FIELDS))
    };
    for value in HOSTILE {
        let log = || {
            set(value);
            info_span!("request").in_scope(|| info!("line"));
        };
        let written = logged(text, log);
        let line = written.strip_suffix('\n').unwrap();
        assert!(!line.contains(is_obeyed), "{line:?}");
        let (tenant, rest) = unquoted(line.strip_prefix(" INFO request{tenant=").unwrap());
        let (peer, rest) = unquoted(rest.strip_prefix(" peer=").unwrap());
        assert_eq!(
            (&*tenant, &*peer, rest),
            (value, value, "}: line"),
            "{line}"
        );

        let written = logged(json, log);
        let span = &objects(&written)[0]["span"];
        assert_eq!(
            (&span["tenant"], &span["peer"]),
            (&value.into(), &value.into())
        );
    }
}
