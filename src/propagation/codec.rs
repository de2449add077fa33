//! How the values of a variable become text, and text a value.

use std::fmt;

use super::ProblemKind;
use super::percent::Encoder;
use crate::context::Context;
use crate::id::VarKey;
use crate::value::Value;
use crate::var::ContextVar;

/// Writes the value that a context has. `None` if it has none.
pub(super) type Encode =
    Box<dyn Fn(&Context, &mut Encoder<'_>) -> Option<Result<(), ProblemKind>> + Send + Sync>;

/// Makes a value of text. `None` if it cannot.
pub(super) type Decode = Box<dyn Fn(&str) -> Option<(VarKey, Value)> + Send + Sync>;

pub(super) fn encode<T, D>(
    var: &'static ContextVar<T, D>,
    write: impl Fn(&T, &mut Encoder<'_>) -> fmt::Result + Send + Sync + 'static,
) -> Encode
where
    T: Send + Sync + 'static,
    D: 'static,
{
    Box::new(move |context, out| {
        let value = context.get(var)?;
        let written = write(value, out);
        Some(match written {
            _ if out.is_too_long() => Err(ProblemKind::ValueTooLong),
            Ok(()) => Ok(()),
            Err(fmt::Error) => Err(ProblemKind::Value),
        })
    })
}

pub(super) fn decode<T, D>(
    var: &'static ContextVar<T, D>,
    parse: impl Fn(&str) -> Option<T> + Send + Sync + 'static,
) -> Decode
where
    T: Send + Sync + 'static,
    D: 'static,
{
    Box::new(move |text| Some((var.key(), var.store(parse(text)?))))
}
