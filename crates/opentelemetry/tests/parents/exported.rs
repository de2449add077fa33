//! Spans and log records, as OpenTelemetry exports them.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use aiocontextvars::{Fields, context_var};
use aiocontextvars_opentelemetry::{LogAttributes, SpanAttributes};
use opentelemetry::KeyValue;
use opentelemetry::logs::{Logger, LoggerProvider};
use opentelemetry::trace::{SpanId, Tracer, TracerProvider};
use opentelemetry_sdk::logs::{InMemoryLogExporter, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracer, SdkTracerProvider};

use crate::set_up;

context_var! { pub(crate) static REQUEST: u64; }

static FIELDS: LazyLock<Fields> = LazyLock::new(|| Fields::new().with("request", &REQUEST));

/// A pipeline of one test.
#[derive(Clone)]
pub(crate) struct Exported {
    pub(crate) tracer: SdkTracer,
    logger: SdkLogger,
    spans: InMemorySpanExporter,
    logs: InMemoryLogExporter,
}

/// What was found of a unit of work: the names of its span's parents from the root on, and the
/// number of the request.
pub(crate) type Found = BTreeMap<String, Vec<(String, u64)>>;

impl Exported {
    pub(crate) fn new() -> Exported {
        set_up();
        let (spans, logs) = (
            InMemorySpanExporter::default(),
            InMemoryLogExporter::default(),
        );
        let traces = SdkTracerProvider::builder()
            .with_span_processor(SpanAttributes::new(&FIELDS))
            .with_simple_exporter(spans.clone())
            .build();
        let records = SdkLoggerProvider::builder()
            .with_log_processor(LogAttributes::new(&FIELDS))
            .with_simple_exporter(logs.clone())
            .build();
        Exported {
            tracer: traces.tracer("test"),
            logger: records.logger("test"),
            spans,
            logs,
        }
    }

    /// Starts and ends a span here, and logs a record.
    pub(crate) fn note(&self, name: &'static str) {
        drop(self.tracer.start(name));
        self.logger.emit(self.logger.create_log_record());
    }

    /// The spans that have ended, by their names.
    pub(crate) fn found(&self) -> Found {
        let spans = self.spans.get_finished_spans().unwrap();
        let by_id: HashMap<SpanId, _> = spans
            .iter()
            .map(|span| (span.span_context.span_id(), span))
            .collect();
        let mut found = Found::new();
        for span in &spans {
            let mut path = Vec::new();
            let mut next = by_id.get(&span.parent_span_id);
            while let Some(parent) = next {
                assert_eq!(parent.span_context.trace_id(), span.span_context.trace_id());
                path.insert(0, parent.name.to_string());
                next = by_id.get(&parent.parent_span_id);
            }
            let [KeyValue { key, value, .. }] = &span.attributes[..] else {
                panic!("{span:?}");
            };
            assert_eq!(key.as_str(), "request");
            let number = value.as_str().parse().unwrap();
            found
                .entry(span.name.to_string())
                .or_default()
                .push((path.join("/"), number));
        }
        for parents in found.values_mut() {
            parents.sort();
        }
        found
    }

    /// The trace and the request of each record, and how many it has.
    pub(crate) fn records(&self) -> BTreeMap<(String, String), usize> {
        let mut records = BTreeMap::new();
        for log in self.logs.get_emitted_logs().unwrap() {
            let trace = log.record.trace_context().unwrap().trace_id.to_string();
            let request = log
                .record
                .attributes_iter()
                .find(|(key, _)| key.as_str() == "request");
            let request = format!("{:?}", request.unwrap().1);
            *records.entry((trace, request)).or_default() += 1;
        }
        records
    }
}
