//! Variables with a default and without, side by side.

use aiocontextvars::{ContextVar, WithDefault};

pub(crate) enum AnyVar<T: 'static> {
    Plain(ContextVar<T>),
    Defaulted(ContextVar<T, WithDefault>),
}

impl<T: Clone + Send + Sync> AnyVar<T> {
    pub(crate) fn get(&self) -> Option<T> {
        match self {
            AnyVar::Plain(var) => var.get(),
            AnyVar::Defaulted(var) => Some(var.get()),
        }
    }
}

/// `on!(any, |var| …)`: what is the same for both kinds, done with the variable.
macro_rules! on {
    ($any:expr, |$var:ident| $do:expr) => {
        match $any {
            $crate::any_var::AnyVar::Plain($var) => $do,
            $crate::any_var::AnyVar::Defaulted($var) => $do,
        }
    };
}

pub(crate) use on;
