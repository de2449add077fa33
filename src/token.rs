//! [`Token`]: what `set` returns, to restore the value that it replaced.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::id::VarKey;
use crate::name::Name;
use crate::slot::Slot;
use crate::value::{self, ShowValue};
use crate::var::ContextVar;

/// Restores the value that a variable had before a `set`: PEP 567's `Token`.
///
/// Made by [`ContextVar::set`] and [`ContextVar::unset`], used up by [`ContextVar::reset`]. A token
/// is `Send` and may be kept for any time; it holds the old value and what is below the
/// guards that it was made under, and nothing else of the context in which it was made.
///
/// # Examples
///
/// A token works once: using it twice does not compile.
///
/// ```compile_fail,E0382
/// # use aiocontextvars::context_var;
/// context_var! { static LEVEL: u8; }
///
/// let token = LEVEL.set(1);
/// LEVEL.reset(token).unwrap();
/// LEVEL.reset(token).unwrap();
/// ```
pub struct Token<T> {
    pub(crate) replaced: Replaced,
    _value: PhantomData<fn() -> T>,
}

/// What a write has replaced: a token of any type. It is made where it stays, since moving it would
/// be a part of the time that a write takes.
pub(crate) struct Replaced {
    pub(crate) name: Name,
    pub(crate) var: VarKey,
    /// The id of the context that it was made in; 0 fits none.
    pub(crate) context: u64,
    pub(crate) old: Slot,
}

impl<T> Token<T> {
    #[inline]
    pub(crate) fn new(replaced: Replaced) -> Token<T> {
        Token {
            replaced,
            _value: PhantomData,
        }
    }

    /// The token of a write that did not take place.
    pub(crate) fn dead<D>(var: &ContextVar<T, D>) -> Token<T> {
        Token::new(Replaced {
            name: var.shared_name(),
            var: var.key(),
            context: 0,
            old: Slot::default(),
        })
    }

    /// The name of the variable.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::context_var;
    /// context_var! { static LEVEL: u8; }
    ///
    /// assert_eq!(LEVEL.set(1).var_name(), "LEVEL");
    /// ```
    pub fn var_name(&self) -> &str {
        self.replaced.name.as_str()
    }

    /// The value that was replaced; `None` stands for PEP 567's `Token.MISSING`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::context_var;
    /// context_var! { static LEVEL: u8; }
    ///
    /// assert_eq!(LEVEL.set(1).old_value(), None);
    /// assert_eq!(LEVEL.set(2).old_value(), Some(&1));
    /// ```
    pub fn old_value(&self) -> Option<&T>
    where
        T: Send + Sync + 'static,
    {
        value::downcast(&**self.replaced.old.value.as_ref()?)
    }
}

// The old value is immutable, as bindings are.
impl<T> UnwindSafe for Token<T> {}
impl<T> RefUnwindSafe for Token<T> {}

impl<T> fmt::Debug for Token<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Token");
        out.field("var", &self.var_name());
        if let Some(old) = &self.replaced.old.value {
            out.field("old_value", &ShowValue(&**old));
        }
        out.finish_non_exhaustive()
    }
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ResetErrorKind {
    /// The token was made by another variable.
    DifferentVar,
    /// The token was made in another context than the current one. A copy is another
    /// context.
    DifferentContext,
}

/// A token that [`ContextVar::reset`] refused. It is not used up.
///
/// # Examples
///
/// ```
/// # use aiocontextvars::{Context, context_var};
/// # context_var! { static ID: u64; }
/// # use aiocontextvars::{ResetErrorKind, copy_context};
/// let token = ID.set(7);
/// let error = copy_context().run(|| ID.reset(token)).unwrap_err();
/// assert_eq!(error.kind(), ResetErrorKind::DifferentContext);
/// ID.reset(error.into_token()).unwrap();
/// ```
pub struct ResetError<T> {
    kind: ResetErrorKind,
    token: Token<T>,
}

impl<T> ResetError<T> {
    pub(crate) fn new(kind: ResetErrorKind, token: Token<T>) -> ResetError<T> {
        ResetError { kind, token }
    }

    /// Why the token was refused.
    pub fn kind(&self) -> ResetErrorKind {
        self.kind
    }

    /// The token, which can still be used where it belongs.
    pub fn into_token(self) -> Token<T> {
        self.token
    }
}

impl<T> fmt::Debug for ResetError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResetError")
            .field("kind", &self.kind)
            .field("token", &self.token)
            .finish()
    }
}

impl<T> fmt::Display for ResetError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.token.var_name();
        match self.kind {
            ResetErrorKind::DifferentVar => write!(
                f,
                "the token of context variable `{name}` was given to a different variable"
            ),
            ResetErrorKind::DifferentContext => write!(
                f,
                "the token of context variable `{name}` was created in a different context; reset it \
                 where it was made, or use `scoped` or `scope` instead"
            ),
        }
    }
}

impl<T> Error for ResetError<T> {}
