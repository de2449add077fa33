//! json-subscriber: variables in each of its objects.

#[path = "common/requests.rs"]
mod common;

use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use aiocontextvars::{FieldValue, Fields};
use common::REQUEST;
use json_subscriber::JsonLayer;
use serde_json::Value;
use tracing_subscriber::prelude::*;

static FIELDS: LazyLock<Fields> = LazyLock::new(|| Fields::new().with("request", &REQUEST));

fn with_fields<W>(layer: &mut JsonLayer<tracing_subscriber::Registry, W>) {
    layer.add_multiple_dynamic_fields(|_, _, writer| {
        FIELDS.for_each(|name, value| {
            _ = match value {
                FieldValue::U64(number) => writer.write_field(name, number),
                FieldValue::Str(text) => writer.write_field(name, text),
                value => writer.write_field(name, value.to_string()),
            };
        });
    });
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_object_has_its_request() {
    let lines = Lines::default();
    let written = lines.clone();
    let mut layer = JsonLayer::new(move || written.clone());
    layer.with_flattened_event();
    with_fields(&mut layer);
    tracing_subscriber::registry().with(layer).init();
    common::serve(|_, work| work(), |hop| tracing::info!("{hop}"));
    let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let mut seen: Vec<_> = written
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let message = line["message"].as_str().unwrap().to_owned();
            (message, line["request"].as_u64().unwrap())
        })
        .collect();
    seen.sort();
    assert_eq!(seen, common::expected());
}
