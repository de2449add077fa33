//! [`Field`]: types whose values are fields as what they are.

use std::borrow::Cow;
use std::num;
use std::sync::Arc;

use super::FieldValue;

/// A type whose values can be fields of log records as what they are: numbers, truth values and
/// strings.
///
/// # Examples
///
/// For a type of one's own:
///
/// ```
/// use aiocontextvars::{Field, FieldValue, Fields, context_var};
///
/// #[derive(Clone)]
/// struct Tenant {
///     name: String,
/// }
///
/// impl Field for Tenant {
///     fn value(&self) -> FieldValue<'_> {
///         self.name.value()
///     }
/// }
///
/// context_var! { static TENANT: Tenant; }
///
/// TENANT.set(Tenant { name: "acme".to_owned() });
/// let fields = Fields::new().with("tenant", &TENANT);
/// fields.for_each(|_, value| assert!(matches!(value, FieldValue::Str("acme"))));
/// ```
pub trait Field {
    /// The value, as a record has it.
    ///
    /// # Examples
    ///
    /// See [`Field`].
    fn value(&self) -> FieldValue<'_>;
}

macro_rules! fields {
    ($($kind:ident($wide:ty): $($narrow:ty)*;)*) => {$($(
        impl Field for $narrow {
            #[inline]
            fn value(&self) -> FieldValue<'_> {
                FieldValue::$kind(*self as $wide)
            }
        }
    )*)*};
}

fields! {
    U64(u64): u8 u16 u32 u64 usize;
    I64(i64): i8 i16 i32 i64 isize;
    U128(u128): u128;
    I128(i128): i128;
    F64(f64): f32 f64;
    Bool(bool): bool;
}

macro_rules! numbers_but_zero {
    ($($number:ident)*) => {$(
        impl Field for num::$number {
            #[inline]
            fn value(&self) -> FieldValue<'_> {
                match self.get().value() {
                    FieldValue::U64(number) => FieldValue::U64(number),
                    FieldValue::I64(number) => FieldValue::I64(number),
                    FieldValue::U128(number) => FieldValue::U128(number),
                    FieldValue::I128(number) => FieldValue::I128(number),
                    _ => unreachable!("an integer is shown as one"),
                }
            }
        }
    )*};
}

numbers_but_zero! {
    NonZeroU8 NonZeroU16 NonZeroU32 NonZeroU64 NonZeroUsize NonZeroU128
    NonZeroI8 NonZeroI16 NonZeroI32 NonZeroI64 NonZeroIsize NonZeroI128
}

impl Field for str {
    #[inline]
    fn value(&self) -> FieldValue<'_> {
        FieldValue::Str(self)
    }
}

impl Field for String {
    #[inline]
    fn value(&self) -> FieldValue<'_> {
        FieldValue::Str(self)
    }
}

impl Field for Cow<'_, str> {
    #[inline]
    fn value(&self) -> FieldValue<'_> {
        FieldValue::Str(self)
    }
}

impl Field for char {
    #[inline]
    fn value(&self) -> FieldValue<'_> {
        FieldValue::Display(self)
    }
}

macro_rules! pointers {
    ($($pointer:ty)*) => {$(
        impl<T: Field + ?Sized> Field for $pointer {
            #[inline]
            fn value(&self) -> FieldValue<'_> {
                (**self).value()
            }
        }
    )*};
}

pointers! { &T Box<T> Arc<T> }
