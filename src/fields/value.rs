//! [`FieldValue`]: the value of a field, and how it is written.

use std::fmt::{self, Write};

use super::escape::{Text, quoted};

/// The value of a field, borrowed from its variable.
///
/// `Display` writes it for a line of text: numbers and truth values as they are, all others in
/// quotes, as `{:?}` has strings. Whatever is in it, it is one value on one line, and a terminal
/// does not obey it.
///
/// # Examples
///
/// ```
/// use aiocontextvars::FieldValue;
///
/// assert_eq!(FieldValue::U64(7).to_string(), "7");
/// assert_eq!(FieldValue::Str("a \"b\"\n").to_string(), r#""a \"b\"\n""#);
/// assert_eq!(FieldValue::Display(&'\u{1b}').to_string(), r#""\u{1b}""#);
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum FieldValue<'a> {
    /// An unsigned integer.
    U64(u64),
    /// An integer.
    I64(i64),
    /// An unsigned integer of a type that is wide.
    U128(u128),
    /// An integer of a type that is wide.
    I128(i128),
    /// A number.
    F64(f64),
    /// A truth value.
    Bool(bool),
    /// A string.
    Str(&'a str),
    /// What is a string by its `Display`.
    Display(&'a dyn fmt::Display),
}

impl FieldValue<'_> {
    /// Writes it for a line of text, with as little as possible in between.
    pub(crate) fn write<W: Write>(&self, out: &mut W) -> fmt::Result {
        match *self {
            FieldValue::U64(number) => write_u64(out, number),
            FieldValue::I64(number) => write!(out, "{number}"),
            FieldValue::U128(number) => write!(out, "{number}"),
            FieldValue::I128(number) => write!(out, "{number}"),
            FieldValue::F64(number) => write!(out, "{number:?}"),
            FieldValue::Bool(truth) => out.write_str(if truth { "true" } else { "false" }),
            FieldValue::Str(text) => quoted(out, |out| Text(out).write_str(text)),
            FieldValue::Display(value) => quoted(out, |out| write!(Text(out), "{value}")),
        }
    }
}

/// Most fields are ids, and `fmt` takes several times as long.
fn write_u64<W: Write>(out: &mut W, number: u64) -> fmt::Result {
    let mut digits = [b'0'; 20];
    let (mut start, mut rest) = (digits.len(), number);
    while rest > 0 || start == digits.len() {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.write_str(std::str::from_utf8(&digits[start..]).map_err(|_| fmt::Error)?)
}

impl fmt::Display for FieldValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

impl fmt::Debug for FieldValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [FieldValue<'_>; 12] = [
        FieldValue::U64(0),
        FieldValue::U64(120),
        FieldValue::U64(u64::MAX),
        FieldValue::I64(-1),
        FieldValue::U128(u128::MAX),
        FieldValue::U128(1),
        FieldValue::I128(i128::MIN),
        FieldValue::F64(1e300),
        FieldValue::F64(f64::NAN),
        FieldValue::Bool(true),
        FieldValue::Str("a\"b\\c\n"),
        FieldValue::Display(&"a\"b\\c\n"),
    ];

    #[test]
    fn as_text() {
        let expected = [
            "0",
            "120",
            "18446744073709551615",
            "-1",
            "340282366920938463463374607431768211455",
            "1",
            "-170141183460469231731687303715884105728",
            "1e300",
            "NaN",
            "true",
            r#""a\"b\\c\n""#,
            r#""a\"b\\c\n""#,
        ];
        assert_eq!(ALL.map(|value| value.to_string()), expected);
    }

    #[test]
    fn every_character_stays_on_its_line() {
        let all: String = ('\0'..=char::MAX).collect();
        let text = FieldValue::Str(&all).to_string();
        let odd = |c: char| c.is_control() || "\u{2028}\u{2029}\u{202e}\u{2066}".contains(c);
        assert!(!text.contains(odd));
        assert_eq!(text.matches('"').count(), 2 + text.matches("\\\"").count());
        // In pieces, as a `Display` writes them.
        let pieces = FieldValue::Display(&format_args!("{}{}", "a\"", "b")).to_string();
        assert_eq!(pieces, FieldValue::Str("a\"b").to_string());
    }
}
