//! OpenTelemetry's baggage behind the variables, in one header.

use std::fmt::Write;

use aiocontextvars::propagation::{MAX_BYTES, MAX_MEMBERS, Propagator};
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;

/// Adds the baggage of `context` to a header, but for the keys that `propagator` lists, in the
/// order of the keys. A member that has no place, or that is no baggage by the specification, is
/// left out as a whole, and so is a property.
pub(crate) fn append(mut header: String, context: &Context, propagator: &Propagator) -> String {
    let mut members: Vec<_> = context.baggage().iter().collect();
    members.sort_by_key(|(key, _)| key.as_str());
    for (key, (value, metadata)) in members {
        let key = key.as_str().trim();
        if !is_token(key) || propagator.keys().any(|own| own == key) || has(&header, key) {
            continue;
        }
        let before = header.len();
        if before > 0 {
            header.push(',');
        }
        header.push_str(key);
        header.push('=');
        encode(value.as_str(), &mut header);
        let properties = metadata.as_str().split(';').map(trim);
        for property in properties.filter(|property| is_property(property)) {
            header.push(';');
            header.push_str(property);
        }
        if header.len() > MAX_BYTES || members_of(&header).count() > MAX_MEMBERS {
            header.truncate(before);
        }
    }
    header
}

fn members_of(header: &str) -> impl Iterator<Item = &str> {
    header.split(',').filter(|member| !member.is_empty())
}

/// Whether the header has this key, as one that was passed on.
fn has(header: &str, key: &str) -> bool {
    let keys = members_of(header).filter_map(|member| member.split_once('='));
    keys.into_iter().any(|(other, _)| other.trim() == key)
}

fn is_token(key: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !key.is_empty() && key.bytes().all(is_token)
}

fn is_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)
}

/// A `baggage-octet` that stands for itself. `%` and `=` have to be encoded, or are misread.
fn is_plain(byte: u8) -> bool {
    is_octet(byte) && !b"%=+".contains(&byte)
}

/// Properties are encoded already, and go as they are. One that is none by the specification would
/// cost its whole member, which whoever receives it leaves out.
fn is_property(property: &str) -> bool {
    let (key, value) = property.split_once('=').unwrap_or((property, ""));
    let value = trim(value);
    let mut escapes = value.split('%').skip(1);
    is_token(trim(key))
        && value.bytes().all(is_octet)
        && escapes.all(|escape| {
            let digits = escape.as_bytes().get(..2);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        })
}

/// Without optional whitespace, `OWS`.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        match is_plain(byte) {
            true => out.push(char::from(byte)),
            // Writing to a string does not fail.
            false => _ = write!(out, "%{byte:02X}"),
        }
    }
}
