//! slog: variables in each of its records.

#[path = "common/requests.rs"]
mod common;

use std::fmt;
use std::mem;
use std::sync::{Arc, LazyLock, Mutex};

use aiocontextvars::{FieldValue, Fields};
use common::REQUEST;
use slog::{Drain, KV, Key, Logger, Never, OwnedKV, OwnedKVList, Record, Serializer};

static FIELDS: LazyLock<Fields> = LazyLock::new(|| Fields::new().with("request", &REQUEST));

struct Variables;

impl KV for Variables {
    fn serialize(&self, _: &Record<'_>, serializer: &mut dyn Serializer) -> slog::Result {
        let mut result = Ok(());
        FIELDS.for_each(|name, value| {
            let emitted = match value {
                FieldValue::U64(number) => serializer.emit_u64(name, number),
                FieldValue::Str(text) => serializer.emit_str(name, text),
                value => serializer.emit_arguments(name, &format_args!("{value}")),
            };
            result = mem::replace(&mut result, Ok(())).and(emitted);
        });
        result
    }
}

/// Keeps each record's message and request.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(String, u64)>>>);

impl Drain for Seen {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let mut request = Request(None);
        values.serialize(record, &mut request).unwrap();
        let message = record.msg().to_string();
        self.0.lock().unwrap().push((message, request.0.unwrap()));
        Ok(())
    }
}

struct Request(Option<u64>);

impl Serializer for Request {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        panic!("{key} is {value}");
    }

    fn emit_u64(&mut self, key: Key, value: u64) -> slog::Result {
        assert_eq!((key, self.0.replace(value)), ("request", None));
        Ok(())
    }
}

#[test]
fn each_record_has_its_request() {
    let seen = Seen::default();
    let logger = Logger::root(seen.clone(), OwnedKV(Variables));
    common::serve(|_, work| work(), move |hop| slog::info!(logger, "{hop}"));
    let mut seen = mem::take(&mut *seen.0.lock().unwrap());
    seen.sort();
    assert_eq!(seen, common::expected());
}
