//! A value as contexts keep it: behind a reference count, with what is needed to describe it
//! without its variable.

use std::any::Any;
use std::fmt;
use std::ptr;

use triomphe::Arc;
use unsize::{CoerceUnsize, Coercion};

use crate::name::Name;
use crate::raw::DisposedOf;
use crate::reentrancy::{self, Activity};

/// How a variable that allows it shows its values.
pub(crate) type DebugValue<T> = fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result;

/// A bound value. The last reference is dropped by `teardown`, which bounds the recursion where
/// values contain contexts.
///
/// Without weak references, which would be an atomic operation more for each value that is dropped.
pub(crate) type Value = DisposedOf<Arc<dyn AnyValue>>;

/// A bound value and what its variable says of it.
pub(crate) struct Stored<T> {
    pub(crate) name: Name,
    /// `None` if the variable's values are redacted.
    pub(crate) debug: Option<DebugValue<T>>,
    /// `None` once it has been taken out, when nobody else has it.
    pub(crate) value: Option<T>,
}

impl<T: Send + Sync + 'static> Stored<T> {
    #[inline]
    pub(crate) fn into_value(self) -> Value {
        DisposedOf::new(Arc::new(self).unsize(Coercion!(to dyn AnyValue)))
    }
}

// It is never pinned.
impl<T> Unpin for Stored<T> {}

/// A [`Stored`] of any type.
pub(crate) trait AnyValue: Send + Sync + Unpin {
    fn name(&self) -> &str;
    /// Where the value is: an `Option` of its type.
    fn place(&self) -> &dyn Any;
    fn place_mut(&mut self) -> &mut dyn Any;
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl<T: Send + Sync + 'static> AnyValue for Stored<T> {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn place(&self) -> &dyn Any {
        &self.value
    }

    fn place_mut(&mut self) -> &mut dyn Any {
        &mut self.value
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.debug, &self.value) {
            (Some(debug), Some(value)) => {
                let address = ptr::from_ref(self).addr();
                reentrancy::show(Activity::ShowValue(address), f, |f| debug(value, f))
            }
            _ => f.write_str("<redacted>"),
        }
    }
}

/// The value, which was stored by the variable whose key it was found under, and so has that
/// variable's type.
#[inline]
pub(crate) fn downcast<T: Send + Sync + 'static>(value: &dyn AnyValue) -> Option<&T> {
    value.place().downcast_ref::<Option<T>>()?.as_ref()
}

/// Takes the value out if nobody else has it. Its type is that of its variable, as in [`downcast`].
pub(crate) fn into_own<T: Send + Sync + 'static>(mut value: Value) -> Result<T, Value> {
    let own = Arc::get_mut(value.get_mut());
    let place = own.and_then(|own| own.place_mut().downcast_mut::<Option<T>>());
    place.and_then(Option::take).ok_or(value)
}

/// Shows a value as its variable allows.
pub(crate) struct ShowValue<'a>(pub(crate) &'a dyn AnyValue);

impl fmt::Debug for ShowValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
