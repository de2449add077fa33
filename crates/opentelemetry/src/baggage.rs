//! OpenTelemetry's baggage behind the variables, in one header.

use std::fmt::Write;

use aiocontextvars::propagation::{MAX_BYTES, MAX_MEMBERS, Propagator};
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;

/// Adds the baggage of `context` to a header, but for the keys that `propagator` lists, in the
/// order of the keys. A member that has no place, or that is no baggage by the specification, is
/// left out as a whole.
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
        let metadata = metadata.as_str().trim();
        if !metadata.is_empty() && metadata.chars().all(is_of_properties) {
            header.push(';');
            header.push_str(metadata);
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

/// A `baggage-octet` that stands for itself. `%` and `=` have to be encoded, or are misread.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\%=+".contains(&byte)
}

/// Properties are written already; only what would end them, or the header, is refused.
fn is_of_properties(c: char) -> bool {
    c.is_ascii() && !c.is_ascii_control() && !"\",\\".contains(c)
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
