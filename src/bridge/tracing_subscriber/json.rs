//! [`Json`]: variables as members of each line's object.

use std::fmt::{self, Write};

use ::tracing::{Event, Subscriber};
use ::tracing_subscriber::fmt::format::Writer;
use ::tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use ::tracing_subscriber::registry::LookupSpan;

use crate::fields::escape::{escape, quoted};
use crate::fields::{FieldValue, Fields};

/// What the lines of `tracing_subscriber::fmt::format().json()` have themselves.
const TAKEN: [&str; 11] = [
    "fields",
    "filename",
    "level",
    "line_number",
    "message",
    "span",
    "spans",
    "target",
    "threadId",
    "threadName",
    "timestamp",
];

/// Lines of a format that writes objects, such as `tracing_subscriber::fmt::format().json()`, with
/// the variables as their first members: `{"request_id":7,"tenant":"acme","timestamp":…}`.
///
/// Where an event has a field of the same name, its own keeps the name, and the variable's is
/// `context.tenant`: with `flatten_event` one object would have both. If that is taken as well, the
/// variable is left out.
///
/// Numbers are numbers; those that do not fit into 64 bits, and what is no finite number, are
/// strings. A line that does not begin with `{` is left as it is.
///
/// # Examples
///
/// ```
/// use std::sync::LazyLock;
/// use aiocontextvars::bridge::tracing_subscriber::Json;
/// use aiocontextvars::{Fields, context_var};
/// use tracing::info;
/// use tracing_subscriber::fmt;
///
/// context_var! { static REQUEST_ID: u64; }
///
/// static FIELDS: LazyLock<Fields> =
///     LazyLock::new(|| Fields::new().with("request_id", &REQUEST_ID));
///
/// fmt().json().event_format(Json::new(fmt::format().json(), &FIELDS)).init();
/// REQUEST_ID.set(7);
/// // {"request_id":7,"timestamp":"…","level":"INFO","fields":{"message":"paid"},"target":"…"}
/// info!("paid");
/// ```
#[derive(Clone, Debug)]
pub struct Json<E> {
    format: E,
    fields: &'static Fields,
}

impl<E> Json<E> {
    /// The lines of `format`, with these fields.
    ///
    /// # Panics
    ///
    /// If a field has the name of a member that such lines have themselves, such as `level`.
    ///
    /// # Examples
    ///
    /// See [`Json`].
    #[track_caller]
    pub fn new(format: E, fields: &'static Fields) -> Json<E> {
        if let Some(name) = fields.names().find(|name| TAKEN.contains(name)) {
            panic!("a line has a member `{name}` itself; give the field another name");
        }
        Json { format, fields }
    }
}

impl<S, N, E> FormatEvent<S, N> for Json<E>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    E: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Line {
            out: &mut writer,
            fields: self.fields,
            event,
            part: Part::Start,
        };
        self.format
            .format_event(context, Writer::new(&mut line), event)
    }
}

/// Adds the members to what is written, after the first brace.
struct Line<'a, 'w> {
    out: &'a mut Writer<'w>,
    fields: &'static Fields,
    event: &'a Event<'a>,
    part: Part,
}

enum Part {
    Start,
    /// Ours are written, and whether others follow is not known.
    Ours,
    Rest,
}

impl Write for Line<'_, '_> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match self.part {
            Part::Rest => self.out.write_str(text),
            _ if text.is_empty() => Ok(()),
            _ => self.begin(text),
        }
    }
}

impl Line<'_, '_> {
    fn begin(&mut self, text: &str) -> fmt::Result {
        let rest = match (&self.part, text.strip_prefix('{')) {
            (Part::Start, Some(rest)) => {
                self.out.write_char('{')?;
                self.part = match self.write_ours()? {
                    true => Part::Ours,
                    false => Part::Rest,
                };
                rest
            }
            (Part::Start, None) => {
                self.part = Part::Rest;
                text
            }
            _ => text,
        };
        if let (Part::Ours, Some(first)) = (&self.part, rest.chars().next()) {
            self.part = Part::Rest;
            if first != '}' {
                self.out.write_char(',')?;
            }
        }
        self.out.write_str(rest)
    }

    /// Whether there are any.
    fn write_ours(&mut self) -> Result<bool, fmt::Error> {
        let own = self.event.metadata().fields();
        // A raw identifier is written without its mark.
        let own = || {
            let names = own.iter().map(|field| field.name());
            names.map(|name| name.strip_prefix("r#").unwrap_or(name))
        };
        let (mut written, mut any) = (Ok(()), false);
        self.fields.for_each(|name, value| {
            let is_taken = own().any(|own| own == name);
            if is_taken {
                let mut others = own().chain(self.fields.names());
                if others.any(|other| other.strip_prefix("context.") == Some(name)) {
                    return;
                }
            }
            let start = match (any, is_taken) {
                (false, false) => "\"",
                (false, true) => "\"context.",
                (true, false) => ",\"",
                (true, true) => ",\"context.",
            };
            any = true;
            written = written.and_then(|()| {
                self.out.write_str(start)?;
                // There is nothing to be escaped in it.
                self.out.write_str(name)?;
                self.out.write_str("\":")?;
                write_value(self.out, value)
            });
        });
        written.map(|()| any)
    }
}

/// Writes the value in JSON.
fn write_value<W: Write>(out: &mut W, value: FieldValue<'_>) -> fmt::Result {
    match value {
        FieldValue::Str(text) => quoted(out, |out| Escaped(out).write_str(text)),
        FieldValue::Display(value) => quoted(out, |out| write!(Escaped(out), "{value}")),
        // Readers have no room for these.
        FieldValue::U128(number) if u64::try_from(number).is_err() => write!(out, "\"{number}\""),
        FieldValue::I128(number) if i64::try_from(number).is_err() => write!(out, "\"{number}\""),
        // And no number for this.
        FieldValue::F64(number) if !number.is_finite() => write!(out, "\"{number}\""),
        value => value.write(out),
    }
}

/// Escapes what JSON asks for, and also what `{:?}` escapes.
struct Escaped<'a, W>(&'a mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text, |out, c| match c {
            '"' => out.write_str("\\\""),
            '\\' => out.write_str("\\\\"),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            _ if c.escape_debug().len() == 1 => out.write_char(c),
            _ => {
                let mut units = [0; 2];
                let mut units = c.encode_utf16(&mut units).iter();
                units.try_for_each(|unit| write!(out, "\\u{unit:04x}"))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written(value: FieldValue<'_>) -> String {
        let mut out = String::new();
        write_value(&mut out, value).unwrap();
        out
    }

    fn read(value: FieldValue<'_>) -> Value {
        serde_json::from_str(&written(value)).unwrap()
    }

    #[test]
    fn values() {
        let pairs = [
            (FieldValue::U64(u64::MAX), json!(u64::MAX)),
            (FieldValue::I64(-1), json!(-1)),
            (FieldValue::U128(u128::MAX), json!(u128::MAX.to_string())),
            (FieldValue::U128(1), json!(1)),
            (FieldValue::I128(i128::MIN), json!(i128::MIN.to_string())),
            (FieldValue::I128(-1), json!(-1)),
            (FieldValue::F64(1e300), json!(1e300)),
            (FieldValue::F64(1.0), json!(1.0)),
            (FieldValue::F64(f64::NAN), json!("NaN")),
            (FieldValue::F64(f64::NEG_INFINITY), json!("-inf")),
            (FieldValue::Bool(true), json!(true)),
            (FieldValue::Str("a\"b\\c\n"), json!("a\"b\\c\n")),
            (FieldValue::Display(&"a\"b\\c\n"), json!("a\"b\\c\n")),
        ];
        for (value, expected) in pairs {
            assert_eq!(read(value), expected);
        }
    }

    #[test]
    fn every_character_is_read_back_from_one_line() {
        let all: String = ('\0'..=char::MAX).collect();
        let written = written(FieldValue::Str(&all));
        let odd = |c: char| c.is_control() || "\u{2028}\u{2029}\u{202e}\u{2066}".contains(c);
        assert!(!written.contains(odd));
        assert_eq!(read(FieldValue::Str(&all)), json!(all));
    }
}
