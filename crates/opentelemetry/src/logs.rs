//! [`LogAttributes`]: variables as attributes of log records.

use std::time::Duration;

use aiocontextvars::Fields;
use opentelemetry::logs::{AnyValue, LogRecord};
use opentelemetry::{InstrumentationScope, Value};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};

use crate::value;

/// Adds the variables to each log record, as attributes: their values in the code that logs.
///
/// Processors see a record one after the other, so this one is to be added before the one that
/// exports. A record that has an attribute of the same name keeps its own.
///
/// # Examples
///
/// ```
/// use std::sync::LazyLock;
/// use aiocontextvars::{Fields, context_var};
/// use aiocontextvars_opentelemetry::LogAttributes;
/// use opentelemetry::logs::{Logger, LoggerProvider};
/// use opentelemetry_sdk::logs::{InMemoryLogExporter, SdkLoggerProvider};
///
/// context_var! { static TENANT: String; }
///
/// static FIELDS: LazyLock<Fields> = LazyLock::new(|| Fields::new().with("tenant", &TENANT));
///
/// let exporter = InMemoryLogExporter::default();
/// let provider = SdkLoggerProvider::builder()
///     .with_log_processor(LogAttributes::new(&FIELDS))
///     .with_simple_exporter(exporter.clone())
///     .build();
/// let logger = provider.logger("example");
/// TENANT.set("acme".to_owned());
/// logger.emit(logger.create_log_record());
/// let records = exporter.get_emitted_logs().unwrap();
/// let (key, value) = records[0].record.attributes_iter().next().unwrap();
/// assert_eq!((key.as_str(), value), ("tenant", &"acme".into()));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LogAttributes {
    fields: &'static Fields,
}

impl LogAttributes {
    /// These variables.
    ///
    /// # Examples
    ///
    /// See [`LogAttributes`].
    pub fn new(fields: &'static Fields) -> LogAttributes {
        LogAttributes { fields }
    }
}

impl LogProcessor for LogAttributes {
    fn emit(&self, record: &mut SdkLogRecord, _: &InstrumentationScope) {
        self.fields.for_each(|name, value| {
            let mut own = record.attributes_iter();
            if own.all(|(key, _)| key.as_str() != name) {
                drop(own);
                record.add_attribute(name, any(value::of(value)));
            }
        });
    }

    // It keeps nothing.

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn any(value: Value) -> AnyValue {
    match value {
        Value::Bool(truth) => truth.into(),
        Value::I64(number) => number.into(),
        Value::F64(number) => number.into(),
        value => AnyValue::String(value.as_str().into_owned().into()),
    }
}
