//! A value as contexts keep it: behind a reference count, with what is needed to describe it
//! without its variable.

use std::any::Any;
use std::fmt;
use std::ptr;
use std::sync::Arc;

use crate::name::Name;
use crate::raw::DisposedOf;
use crate::reentrancy::{self, Activity};

/// How a variable that allows it shows its values.
pub(crate) type DebugValue<T> = fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result;

/// A bound value. The last reference is dropped by `teardown`, which bounds the recursion where
/// values contain contexts.
pub(crate) type Value = DisposedOf<Arc<dyn AnyValue>>;

/// A bound value and what its variable says of it.
pub(crate) struct Stored<T> {
    pub(crate) name: Name,
    /// `None` if the variable's values are redacted.
    pub(crate) debug: Option<DebugValue<T>>,
    pub(crate) value: T,
}

impl<T: Send + Sync + 'static> Stored<T> {
    #[inline]
    pub(crate) fn into_value(self) -> Value {
        DisposedOf::new(Arc::new(self))
    }
}

/// A [`Stored`] of any type.
pub(crate) trait AnyValue: Send + Sync {
    fn name(&self) -> &str;
    fn value(&self) -> &(dyn Any + Send + Sync);
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// The whole of it, to be downcast.
    fn into_stored(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<T: Send + Sync + 'static> AnyValue for Stored<T> {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn value(&self) -> &(dyn Any + Send + Sync) {
        &self.value
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.debug {
            Some(debug) => {
                let address = ptr::from_ref(self).addr();
                reentrancy::show(Activity::ShowValue(address), f, |f| debug(&self.value, f))
            }
            None => f.write_str("<redacted>"),
        }
    }

    fn into_stored(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// The value, which was stored by the variable whose key it was found under, and so has that
/// variable's type.
#[inline]
pub(crate) fn downcast<T: Send + Sync + 'static>(value: &dyn AnyValue) -> Option<&T> {
    value.value().downcast_ref()
}

/// Takes the value out if nobody else has it. Its type is that of its variable, as in [`downcast`].
pub(crate) fn into_own<T: Send + Sync + 'static>(value: Value) -> Result<T, Value> {
    let stored = Arc::clone(value.get_ref());
    // Not the last reference.
    drop(value);
    match stored.into_stored().downcast::<Stored<T>>() {
        Ok(stored) => Arc::try_unwrap(stored)
            .map(|stored| stored.value)
            .map_err(|stored| DisposedOf::new(stored as Arc<dyn AnyValue>)),
        Err(_) => unreachable!("a variable's values have its type"),
    }
}

/// Shows a value as its variable allows.
pub(crate) struct ShowValue<'a>(pub(crate) &'a dyn AnyValue);

impl fmt::Debug for ShowValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
