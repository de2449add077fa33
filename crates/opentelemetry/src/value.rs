//! The value of a field, as OpenTelemetry has it.

use aiocontextvars::FieldValue;
use opentelemetry::Value;

/// Integers have 64 bits and a sign there; those that do not fit are strings.
pub(crate) fn of(value: FieldValue<'_>) -> Value {
    let integer = |number: Option<i64>| number.map(Value::I64);
    let fits = match value {
        FieldValue::U64(number) => integer(number.try_into().ok()),
        FieldValue::I64(number) => integer(Some(number)),
        FieldValue::U128(number) => integer(number.try_into().ok()),
        FieldValue::I128(number) => integer(number.try_into().ok()),
        FieldValue::F64(number) => Some(Value::F64(number)),
        FieldValue::Bool(truth) => Some(Value::Bool(truth)),
        FieldValue::Str(text) => Some(text.to_owned().into()),
        FieldValue::Display(value) => Some(value.to_string().into()),
        _ => None,
    };
    fits.unwrap_or_else(|| value.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind() {
        let pairs: [(FieldValue<'_>, Value); 10] = [
            (FieldValue::U64(7), 7.into()),
            (FieldValue::U64(u64::MAX), "18446744073709551615".into()),
            (FieldValue::I64(-7), (-7).into()),
            (FieldValue::U128(7), 7.into()),
            (FieldValue::I128(-7), (-7).into()),
            (
                FieldValue::I128(i128::MIN),
                "-170141183460469231731687303715884105728".into(),
            ),
            (FieldValue::F64(0.5), 0.5.into()),
            (FieldValue::Bool(true), true.into()),
            (FieldValue::Str("a\n"), "a\n".into()),
            (FieldValue::Display(&"a\n"), "a\n".into()),
        ];
        for (value, expected) in pairs {
            assert_eq!(of(value), expected);
        }
    }
}
