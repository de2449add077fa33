//! [`Text`]: variables at the head of each line.

use std::fmt;

use ::tracing::{Event, Subscriber};
use ::tracing_subscriber::fmt::format::Writer;
use ::tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use ::tracing_subscriber::registry::LookupSpan;

use crate::fields::Fields;

/// Lines of another format, such as `tracing_subscriber::fmt::format()`, with the variables before
/// them: `request_id=7 tenant="acme" 2026-11-29T12:00:00Z  INFO …`.
///
/// They come first, so that no message can be taken for them: what stands before the line that the
/// format writes is ours. (A message is written by the format, which may leave line breaks in it:
/// what others have sent belongs into fields.)
///
/// To switch colours off, call `fmt().with_ansi(false)` before `event_format`, behind which the
/// builder has no such method. The format inside goes by it.
///
/// # Examples
///
/// See the [module](super).
#[derive(Clone, Debug)]
pub struct Text<E> {
    format: E,
    fields: &'static Fields,
}

impl<E> Text<E> {
    /// The lines of `format`, with these fields.
    ///
    /// # Examples
    ///
    /// See the [module](super).
    pub fn new(format: E, fields: &'static Fields) -> Text<E> {
        Text { format, fields }
    }
}

impl<S, N, E> FormatEvent<S, N> for Text<E>
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
        let mut written = Ok(());
        self.fields.for_each(|name, value| {
            written = written.and_then(|()| {
                writer.write_str(name)?;
                writer.write_char('=')?;
                value.write(&mut writer)?;
                writer.write_char(' ')
            });
        });
        written?;
        self.format.format_event(context, writer, event)
    }
}
