//! `log`: variables as key-values of each record.
//!
//! ```
//! use std::sync::LazyLock;
//! use aiocontextvars::bridge::log::Logger;
//! use aiocontextvars::{Fields, context_var};
//! # use log::kv::{Error, Key, Value, VisitSource};
//! # struct Stderr;
//! # struct Print;
//! # impl VisitSource<'_> for Print {
//! #     fn visit_pair(&mut self, key: Key<'_>, value: Value<'_>) -> Result<(), Error> {
//! #         eprint!(" {key}={value}");
//! #         Ok(())
//! #     }
//! # }
//! # impl log::Log for Stderr {
//! #     fn enabled(&self, _: &log::Metadata<'_>) -> bool { true }
//! #     fn log(&self, record: &log::Record<'_>) {
//! #         eprint!("{}", record.args());
//! #         record.key_values().visit(&mut Print).unwrap();
//! #         eprintln!();
//! #     }
//! #     fn flush(&self) {}
//! # }
//!
//! context_var! {
//!     static REQUEST_ID: u64;
//!     static TENANT: String;
//! }
//!
//! static FIELDS: LazyLock<Fields> =
//!     LazyLock::new(|| Fields::new().with("request_id", &REQUEST_ID).with("tenant", &TENANT));
//!
//! // In `main`, around any logger that shows key-values.
//! log::set_boxed_logger(Box::new(Logger::text(Stderr, &FIELDS)))?;
//! log::set_max_level(log::LevelFilter::Info);
//! REQUEST_ID.set(7);
//! TENANT.set("acme".to_owned());
//! // paid request_id=7 tenant="acme"
//! log::info!("paid");
//! # Ok::<(), log::SetLoggerError>(())
//! ```

use ::log::kv::{Error, Key, Source, Value, VisitSource};
use ::log::{Log, Metadata, Record};

use crate::fields::{FieldValue, Fields};

/// A logger around another one, whose records have the variables as key-values.
///
/// They come after those of the record. One of the record's own of the same name stays, and the
/// variable's is left out.
///
/// # Examples
///
/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Logger<L> {
    logger: L,
    fields: &'static Fields,
    quotes: bool,
}

impl<L: Log> Logger<L> {
    /// Around a logger that writes values as they are, as most do that write text (`env_logger`
    /// with the feature `kv` among them): strings are given to it in quotes and escaped, so that
    /// each stays one value on its line.
    ///
    /// # Examples
    ///
    /// See the [module](self).
    pub fn text(logger: L, fields: &'static Fields) -> Logger<L> {
        Logger {
            logger,
            fields,
            quotes: true,
        }
    }

    /// Around a logger that writes values in a form of its own, such as JSON, or keeps them:
    /// strings are given to it as what they are. It has to escape them.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::LazyLock;
    /// use aiocontextvars::Fields;
    /// use aiocontextvars::bridge::log::Logger;
    ///
    /// static FIELDS: LazyLock<Fields> = LazyLock::new(Fields::new);
    ///
    /// # fn json_logger() -> Box<dyn log::Log> { Box::new(log::logger()) }
    /// let logger = Logger::structured(json_logger(), &FIELDS);
    /// log::set_boxed_logger(Box::new(logger))?;
    /// # Ok::<(), log::SetLoggerError>(())
    /// ```
    pub fn structured(logger: L, fields: &'static Fields) -> Logger<L> {
        Logger {
            logger,
            fields,
            quotes: false,
        }
    }

    /// Reads the field at `index` and those after it, each within the call that lends the value of
    /// the one before.
    fn log_with(&self, record: &Record<'_>, index: usize, before: &KeyValues<'_>) {
        if index == self.fields.names().len() {
            return self
                .logger
                .log(&record.to_builder().key_values(before).build());
        }
        let mut is_read = false;
        self.fields.read(index, |name, value| {
            is_read = true;
            let quotes = self.quotes;
            let field = KeyValues::Field(before, name, Shown { value, quotes });
            self.log_with(record, index + 1, &field);
        });
        if !is_read {
            self.log_with(record, index + 1, before);
        }
    }
}

impl<L: Log> Log for Logger<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.log_with(record, 0, &KeyValues::Own(record.key_values()));
        }
    }

    fn flush(&self) {
        self.logger.flush();
    }
}

/// The record's own key-values, and the fields behind them.
enum KeyValues<'a> {
    Own(&'a dyn Source),
    Field(&'a KeyValues<'a>, &'static str, Shown<'a>),
}

struct Shown<'a> {
    value: FieldValue<'a>,
    quotes: bool,
}

impl Source for KeyValues<'_> {
    fn visit<'v>(&'v self, visitor: &mut dyn VisitSource<'v>) -> Result<(), Error> {
        match self {
            KeyValues::Own(own) => own.visit(visitor),
            KeyValues::Field(before, name, value) => {
                before.visit(visitor)?;
                let key = Key::from(*name);
                match before.get(key.clone()) {
                    Some(_) => Ok(()),
                    None => visitor.visit_pair(key, value.to_value()),
                }
            }
        }
    }
}

impl Shown<'_> {
    fn to_value(&self) -> Value<'_> {
        match &self.value {
            FieldValue::U64(number) => Value::from(*number),
            FieldValue::I64(number) => Value::from(*number),
            FieldValue::U128(number) => Value::from(*number),
            FieldValue::I128(number) => Value::from(*number),
            FieldValue::F64(number) => Value::from(*number),
            FieldValue::Bool(truth) => Value::from(*truth),
            value if self.quotes => Value::from_dyn_display(value),
            FieldValue::Str(text) => Value::from(*text),
            FieldValue::Display(value) => Value::from_dyn_display(*value),
        }
    }
}
