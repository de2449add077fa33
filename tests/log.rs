//! `bridge::log`: variables as key-values of records.

use std::fmt::Write;
use std::sync::{LazyLock, Mutex};

use aiocontextvars::bridge::log::Logger;
use aiocontextvars::{Context, Fields, context_var};
use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, Log, Metadata, Record};

context_var! {
    static ID: u64;
    static WIDE: i128;
    static RATIO: f64;
    static ADMIN: bool;
    static TENANT: String;
    static PEER: char;
}

static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::new()
        .with("id", &ID)
        .with("wide", &WIDE)
        .with("ratio", &RATIO)
        .with("admin", &ADMIN)
        .with("tenant", &TENANT)
        .display("peer", &PEER)
});

/// Keeps its lines, as a logger writes them that does not know what is in the values.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Log for &Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        let mut line = record.args().to_string();
        record.key_values().visit(&mut Pairs(&mut line)).unwrap();
        // Whatever the order, and by its key.
        assert_eq!(
            record
                .key_values()
                .get(Key::from("id"))
                .map(|id| id.to_u64()),
            ID.get().map(Some)
        );
        self.0.lock().unwrap().push(line);
    }

    fn flush(&self) {
        self.0.lock().unwrap().push("flushed".to_owned());
    }
}

struct Pairs<'a>(&'a mut String);

impl VisitSource<'_> for Pairs<'_> {
    fn visit_pair(&mut self, key: Key<'_>, value: Value<'_>) -> Result<(), Error> {
        let kind = match (
            value.to_u64(),
            value.to_i128(),
            value.to_f64(),
            value.to_bool(),
        ) {
            (Some(_), ..) => "u",
            (_, Some(_), ..) => "i",
            (_, _, Some(_), _) => "f",
            (.., Some(_)) => "b",
            _ => "s",
        };
        write!(self.0, " {kind}:{key}={value}")?;
        Ok(())
    }
}

fn log_to(logger: &dyn Log, own: &[(&str, &str)]) {
    let args = format_args!("line");
    logger.log(
        &Record::builder()
            .level(Level::Info)
            .args(args)
            .key_values(&own)
            .build(),
    );
}

#[test]
fn as_what_they_are_or_in_quotes() {
    let lines = Lines::default();
    let structured = Logger::structured(&lines, &FIELDS);
    let text = Logger::text(&lines, &FIELDS);
    Context::new().run(|| {
        log_to(&structured, &[]);
        ID.set(7);
        WIDE.set(i128::MIN);
        RATIO.set(0.5);
        ADMIN.set(true);
        TENANT.set("acme\nINFO forged=1".to_owned());
        PEER.set('"');
        log_to(&structured, &[("own", "x")]);
        log_to(&text, &[("own", "x")]);
    });
    let numbers = "u:id=7 i:wide=-170141183460469231731687303715884105728 f:ratio=0.5 b:admin=true";
    let expected = [
        "line".to_owned(),
        format!("line s:own=x {numbers} s:tenant=acme\nINFO forged=1 s:peer=\""),
        format!(r#"line s:own=x {numbers} s:tenant="acme\nINFO forged=1" s:peer="\"""#),
    ];
    assert_eq!(*lines.0.lock().unwrap(), expected);
}

#[test]
fn a_records_own_value_stays() {
    let lines = Lines::default();
    Context::new().run(|| {
        TENANT.set("acme".to_owned());
        log_to(
            &Logger::structured(&lines, &FIELDS),
            &[("tenant", "globex")],
        );
    });
    assert_eq!(*lines.0.lock().unwrap(), ["line s:tenant=globex"]);
}

#[test]
fn what_is_not_enabled_is_not_read() {
    let lines = Lines::default();
    let logger = Logger::structured(&lines, &FIELDS);
    logger.log(&Record::builder().level(Level::Debug).build());
    assert!(!logger.enabled(&Metadata::builder().level(Level::Debug).build()));
    logger.flush();
    assert_eq!(*lines.0.lock().unwrap(), ["flushed"]);
}
