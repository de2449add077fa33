//! The members of a header, as the grammar of W3C Baggage has them:
//!
//! ```text
//! baggage-string = list-member *( OWS "," OWS list-member )
//! list-member    = key OWS "=" OWS value *( OWS ";" OWS property )
//! property       = key OWS "=" OWS value / key OWS
//! key            = token (RFC 7230, section 3.2.6)
//! value          = *baggage-octet
//! ```

use std::str;

use super::percent;
use super::{MAX_BYTES, MAX_MEMBERS, ProblemKind};

/// What a header says of one key.
pub(super) struct Member<'a> {
    pub(super) key: &'a str,
    /// Still encoded.
    pub(super) value: &'a str,
    /// What is behind the first `;`.
    properties: &'a str,
}

/// Why a member is none, and its key, if that is one.
pub(super) type Malformed<'a> = (Option<&'a str>, ProblemKind);

/// The members of a header, whitespace and empty ones left out: RFC 7230 has recipients ignore
/// empty elements of a list.
pub(super) fn split(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let members = header.split(|&byte| byte == b',').map(trim_bytes);
    members.filter(|member| !member.is_empty())
}

impl<'a> Member<'a> {
    pub(super) fn parse(member: &'a [u8]) -> Result<Member<'a>, Malformed<'a>> {
        let Ok(text) = str::from_utf8(member) else {
            let key = member.split(|&byte| byte == b'=').next();
            let key = key.and_then(|key| str::from_utf8(key).ok());
            return Err(match key.map(trim).filter(|key| is_token(key.as_bytes())) {
                Some(key) => (Some(key), ProblemKind::Encoding),
                None => (None, ProblemKind::Malformed),
            });
        };
        // Without a `=` it may be the end of a value whose comma was not encoded, and is not shown.
        let (key, rest) = text.split_once('=').ok_or((None, ProblemKind::Malformed))?;
        let key = trim(key);
        if !is_token(key.as_bytes()) {
            return Err((None, ProblemKind::Malformed));
        }
        let malformed = |kind| (Some(key), kind);
        let (value, properties) = split_once(rest, b';').unwrap_or((rest, ""));
        let value = octets(trim(value)).map_err(malformed)?;
        let member = Member {
            key,
            value,
            properties,
        };
        // Most members have none.
        let properties = (!properties.is_empty()).then(|| member.properties());
        for property in properties.into_iter().flatten() {
            let (key, value) = split_once(property, b'=').unwrap_or((property, ""));
            if !is_token(trim(key).as_bytes()) {
                return Err(malformed(ProblemKind::Malformed));
            }
            octets(trim(value)).map_err(malformed)?;
        }
        Ok(member)
    }

    fn properties(&self) -> impl Iterator<Item = &'a str> {
        let properties = self.properties.split_terminator(';').map(trim);
        properties.filter(|property| !property.is_empty())
    }

    /// Adds the member to a list of others, without whitespace.
    pub(super) fn push_to(&self, list: &mut String) {
        separate(list);
        list.extend([self.key, "=", self.value]);
        for property in self.properties() {
            list.push(';');
            list.extend(property.split(is_space));
        }
    }
}

/// Puts a comma behind what a list has.
pub(super) fn separate(list: &mut String) {
    if !list.is_empty() {
        list.push(',');
    }
}

/// The members of a list that [`Member::push_to`] has made, with their keys.
pub(super) fn members_of(list: &str) -> impl Iterator<Item = (&str, &str)> {
    let members = list.split(',').filter(|member| !member.is_empty());
    members.map(|member| (member.split('=').next().unwrap_or_default(), member))
}

/// What a message may still have.
pub(super) struct Room {
    members: usize,
    bytes: usize,
}

impl Room {
    pub(super) fn new() -> Room {
        Room {
            members: MAX_MEMBERS,
            // The first member has no comma before it.
            bytes: MAX_BYTES + 1,
        }
    }

    /// Takes room for a member of this length and its comma.
    pub(super) fn take(&mut self, length: usize) -> Result<(), ProblemKind> {
        if self.members == 0 {
            return Err(ProblemKind::TooManyMembers);
        }
        let left = self.bytes.checked_sub(length.saturating_add(1));
        self.bytes = left.ok_or(ProblemKind::TooManyBytes)?;
        self.members -= 1;
        Ok(())
    }
}

/// Whether this is a `token`, as keys are.
pub(super) const fn is_token(bytes: &[u8]) -> bool {
    let mut at = 0;
    while at < bytes.len() {
        let is_delimiter = matches!(
            bytes[at],
            b'"' | b'(' | b')' | b',' | b'/' | b':'..=b'@' | b'['..=b']' | b'{' | b'}'
        );
        if is_delimiter || !bytes[at].is_ascii_graphic() {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty()
}

/// A value, of a member or a property, and whether it is percent-encoded.
fn octets(text: &str) -> Result<&str, ProblemKind> {
    if !text.bytes().all(percent::is_baggage_octet) {
        return Err(ProblemKind::Malformed);
    }
    match percent::is_encoded(text) {
        true => Ok(text),
        false => Err(ProblemKind::Encoding),
    }
}

/// Optional whitespace, `OWS`.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

fn trim(text: &str) -> &str {
    // Most need no trimming, and looking at two bytes is cheaper.
    match text.as_bytes() {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => text.trim_matches(is_space),
        _ => text,
    }
}

/// What is before and behind the first of an ASCII character. For texts as short as these are,
/// cheaper than std's.
fn split_once(text: &str, separator: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|byte| byte == separator)?;
    Some((&text[..at], &text[at + 1..]))
}

fn trim_bytes(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
