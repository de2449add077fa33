//! [`context_var!`](crate::context_var).

/// Declares context variables: statics of type [`ContextVar`](crate::ContextVar).
///
/// Attributes and visibility are kept. `= expr` gives a default, computed on first use. `#[debug]` and
/// `#[local]` stand for [`ContextVar::debug`](crate::ContextVar::debug) and
/// [`ContextVar::local`](crate::ContextVar::local).
///
/// # Examples
///
/// ```
/// use aiocontextvars::context_var;
///
/// context_var! {
///     /// Id of the request being served.
///     pub static REQUEST_ID: u64;
///     #[debug]
///     static TENANT: String = "public".to_owned();
///     #[debug] #[local] static CONNECTION: u32;
/// }
///
/// assert_eq!(REQUEST_ID.get(), None);
/// assert_eq!(TENANT.get().as_deref(), Some("public"));
/// assert_eq!(CONNECTION.name(), "CONNECTION");
/// ```
///
/// Each item has a name and a type:
///
/// ```compile_fail
/// aiocontextvars::context_var! { static NAMELESS; }
/// ```
#[macro_export]
macro_rules! context_var {
    ($(
        $(#[$($attribute:tt)*])*
        $visibility:vis static $name:ident : $type:ty $(= $default:expr)?;
    )*) => {$(
        $crate::__context_var! {
            [] [] $(#[$($attribute)*])*
            $visibility static $name: $type $(= $default)?;
        }
    )*};
}

/// Sorts the attributes of one item into those that are kept and those that are ours.
#[doc(hidden)]
#[macro_export]
macro_rules! __context_var {
    ([$($kept:tt)*] [$($ours:tt)*] #[debug] $($rest:tt)*) => {
        $crate::__context_var! { [$($kept)*] [$($ours)* .debug()] $($rest)* }
    };
    ([$($kept:tt)*] [$($ours:tt)*] #[local] $($rest:tt)*) => {
        $crate::__context_var! { [$($kept)*] [$($ours)* .local()] $($rest)* }
    };
    ([$($kept:tt)*] [$($ours:tt)*] #[$($attribute:tt)*] $($rest:tt)*) => {
        $crate::__context_var! { [$($kept)* #[$($attribute)*]] [$($ours)*] $($rest)* }
    };
    ([$($kept:tt)*] [$($ours:tt)*] $visibility:vis static $name:ident : $type:ty;) => {
        $($kept)*
        $visibility static $name: $crate::ContextVar<$type> =
            $crate::ContextVar::new(::core::stringify!($name)) $($ours)*;
    };
    ([$($kept:tt)*] [$($ours:tt)*] $visibility:vis static $name:ident : $type:ty = $default:expr;) => {
        $($kept)*
        $visibility static $name: $crate::ContextVar<$type> =
            $crate::ContextVar::with_default(::core::stringify!($name), || $default) $($ours)*;
    };
}
