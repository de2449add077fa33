//! The values of options. The errors are messages.

use std::ops::RangeInclusive;

pub(crate) fn message(error: lexopt::Error) -> String {
    format!("{error}; see --help")
}

pub(crate) fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser
        .value()
        .map_err(message)?
        .into_string()
        .map_err(|value| format!("{value:?} is not Unicode"))
}

/// A number in `range`.
pub(crate) fn number(
    parser: &mut lexopt::Parser,
    name: &str,
    range: RangeInclusive<u64>,
) -> Result<u64, String> {
    let value = text(parser)?;
    match value.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!(
            "{name} takes a number from {} to {}, not `{value}`",
            range.start(),
            range.end()
        )),
    }
}
