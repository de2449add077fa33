//! Writers that leave a string on its line and in its quotes, whatever it contains.

use std::fmt::{self, Write};

/// Escapes as `{:?}` does: quotes, control characters, separators of lines, and what is not seen or
/// changes the direction of what follows.
pub(super) struct Text<'a, W>(pub(super) &'a mut W);

impl<W: Write> Write for Text<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text, |out, c| match c {
            // It needs none within these quotes.
            '\'' => out.write_char(c),
            _ => write!(out, "{}", c.escape_debug()),
        })
    }
}

/// Writes what `f` writes, in quotes.
pub(crate) fn quoted<W: Write>(out: &mut W, f: impl FnOnce(&mut W) -> fmt::Result) -> fmt::Result {
    out.write_char('"')?;
    f(out)?;
    out.write_char('"')
}

/// Writes `text`, and by `special` what may have to be escaped.
pub(crate) fn escape<W: Write>(
    out: &mut W,
    text: &str,
    mut special: impl FnMut(&mut W, char) -> fmt::Result,
) -> fmt::Result {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    let mut rest = text;
    loop {
        let plain = rest.bytes().position(|byte| !is_plain(byte));
        let (plain, others) = rest.split_at(plain.unwrap_or(rest.len()));
        if !plain.is_empty() {
            out.write_str(plain)?;
        }
        let mut others = others.chars();
        match others.next() {
            Some(c) => special(out, c)?,
            None => return Ok(()),
        }
        rest = others.as_str();
    }
}
