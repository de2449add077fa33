//! Percent-encoding of values.

use std::borrow::Cow;
use std::fmt::{self, Write};

use super::ProblemKind;

/// Whether a byte may stand in a value: visible ASCII without `"`, `,`, `;` and `\`.
pub(super) const fn is_baggage_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

/// Whether a byte is sent as it is.
///
/// W3C Baggage requires `%` to be encoded. It allows `=` and `+`, but some decoders end the value
/// at a second `=`, and some turn `+` into a space.
const fn is_literal(byte: u8) -> bool {
    is_baggage_octet(byte) && !matches!(byte, b'%' | b'=' | b'+')
}

/// Writes a value in its encoded form, as long as it is no longer than it may be.
pub(super) struct Encoder<'a> {
    out: &'a mut String,
    /// How many bytes of the value may still come, before they are encoded.
    left: usize,
    is_too_long: bool,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(out: &'a mut String, max_len: usize) -> Encoder<'a> {
        Encoder {
            out,
            left: max_len,
            is_too_long: false,
        }
    }

    /// Whether there was more than may be. Also if a `Display` has not passed the error on.
    pub(super) fn is_too_long(&self) -> bool {
        self.is_too_long
    }
}

impl Write for Encoder<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(left) = self.left.checked_sub(text.len()) else {
            self.is_too_long = true;
            return Err(fmt::Error);
        };
        self.left = left;
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| !is_literal(byte)) {
            // What is before it is ASCII.
            let (literal, other) = rest.split_at(at);
            self.out.push_str(literal);
            let length = other.chars().next().map_or(other.len(), char::len_utf8);
            let (encoded, next) = other.split_at(length);
            encoded.bytes().for_each(|byte| push_escape(self.out, byte));
            rest = next;
        }
        self.out.push_str(rest);
        Ok(())
    }
}

fn push_escape(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    out.extend(['%', digit(byte >> 4), digit(byte & 0xF)]);
}

fn has_escapes(value: &str) -> bool {
    value.bytes().any(|byte| byte == b'%')
}

/// Whether each `%` is followed by two hexadecimal digits.
pub(super) fn is_encoded(value: &str) -> bool {
    !has_escapes(value)
        || value.split('%').skip(1).all(|escape| {
            let digits = escape.as_bytes().get(..2);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        })
}

/// The value of a member, of which [`is_encoded`] is true.
pub(super) fn decode(value: &str) -> Result<Cow<'_, str>, ProblemKind> {
    if !has_escapes(value) {
        return Ok(Cow::Borrowed(value));
    }
    let mut parts = value.split('%');
    let literal = parts.next().unwrap_or_default();
    let mut bytes = Vec::with_capacity(value.len());
    bytes.extend_from_slice(literal.as_bytes());
    for part in parts {
        let (escape, literal) = part.split_at_checked(2).ok_or(ProblemKind::Encoding)?;
        let byte = u8::from_str_radix(escape, 16).map_err(|_| ProblemKind::Encoding)?;
        bytes.push(byte);
        bytes.extend_from_slice(literal.as_bytes());
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Owned(text)),
        Err(_) => Err(ProblemKind::Encoding),
    }
}
