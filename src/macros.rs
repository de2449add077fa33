//! [`context_var!`](crate::context_var).

/// Declares context variables: statics of type [`ContextVar`](crate::ContextVar).
///
/// Attributes and visibility are kept. `= expr` gives a default, computed on first use: the static
/// is a `ContextVar<T, WithDefault>`, and its [`get`](crate::ContextVar::get) returns a `T`.
/// `#[debug]` and `#[local]` stand for [`ContextVar::debug`](crate::ContextVar::debug) and
/// [`ContextVar::local`](crate::ContextVar::local). The last semicolon is optional.
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
/// assert_eq!(TENANT.get(), "public");
/// assert_eq!(CONNECTION.name(), "CONNECTION");
/// ```
///
/// Attributes may depend on the configuration, and a raw identifier gives a plain name:
///
/// ```
/// # use aiocontextvars::context_var;
/// context_var! {
///     #[cfg_attr(debug_assertions, debug)]
///     static r#type: &'static str = "plain"
/// }
///
/// assert_eq!((r#type.name(), r#type.get()), ("type", "plain"));
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
        $visibility:vis static $name:ident : $type:ty $(= $default:expr)?
    );* $(;)?) => {$(
        $crate::__context_var! {
            [] [] $(#[$($attribute)*])*
            $visibility static $name: $type $(= $default)?;
        }
    )*};
}

/// Declares one item of [`context_var!`]. The first brackets have the attributes that are kept, the
/// second ones the methods that stand for ours.
#[doc(hidden)]
#[macro_export]
macro_rules! __context_var {
    ([$($kept:tt)*] [$($ours:tt)*] #[debug] $($rest:tt)*) => {
        $crate::__context_var! { [$($kept)*] [$($ours)* .debug()] $($rest)* }
    };
    ([$($kept:tt)*] [$($ours:tt)*] #[local] $($rest:tt)*) => {
        $crate::__context_var! { [$($kept)*] [$($ours)* .local()] $($rest)* }
    };
    // Of a conditional attribute that is ours there are two versions of the item, one of which is
    // compiled.
    ([$($kept:tt)*] [$($ours:tt)*] #[cfg_attr($condition:meta, debug $(, $($more:tt)*)?)] $($rest:tt)*) => {
        $crate::__context_var! {
            [$($kept)* #[cfg($condition)]] [$($ours)* .debug()]
            $(#[cfg_attr($condition, $($more)*)])? $($rest)*
        }
        $crate::__context_var! {
            [$($kept)* #[cfg(not($condition))]] [$($ours)*]
            $(#[cfg_attr($condition, $($more)*)])? $($rest)*
        }
    };
    ([$($kept:tt)*] [$($ours:tt)*] #[cfg_attr($condition:meta, local $(, $($more:tt)*)?)] $($rest:tt)*) => {
        $crate::__context_var! {
            [$($kept)* #[cfg($condition)]] [$($ours)* .local()]
            $(#[cfg_attr($condition, $($more)*)])? $($rest)*
        }
        $crate::__context_var! {
            [$($kept)* #[cfg(not($condition))]] [$($ours)*]
            $(#[cfg_attr($condition, $($more)*)])? $($rest)*
        }
    };
    // Ours may come after others.
    ([$($kept:tt)*] [$($ours:tt)*] #[cfg_attr($condition:meta, $other:meta, $($more:tt)+)] $($rest:tt)*) => {
        $crate::__context_var! {
            [$($kept)* #[cfg_attr($condition, $other)]] [$($ours)*]
            #[cfg_attr($condition, $($more)+)] $($rest)*
        }
    };
    ([$($kept:tt)*] [$($ours:tt)*] #[$($attribute:tt)*] $($rest:tt)*) => {
        $crate::__context_var! { [$($kept)* #[$($attribute)*]] [$($ours)*] $($rest)* }
    };
    ([$($kept:tt)*] [$($ours:tt)*] $visibility:vis static $name:ident : $type:ty;) => {
        $($kept)*
        $visibility static $name: $crate::ContextVar<$type> =
            $crate::ContextVar::new($crate::__name_of(::core::stringify!($name))) $($ours)*;
    };
    ([$($kept:tt)*] [$($ours:tt)*] $visibility:vis static $name:ident : $type:ty = $default:expr;) => {
        $($kept)*
        $visibility static $name: $crate::ContextVar<$type, $crate::WithDefault> =
            $crate::ContextVar::with_default(
                $crate::__name_of(::core::stringify!($name)),
                || $default,
            ) $($ours)*;
    };
}

/// The name in an identifier, which may be a raw one.
#[doc(hidden)]
pub const fn __name_of(identifier: &'static str) -> &'static str {
    if let [b'r', b'#', name @ ..] = identifier.as_bytes() {
        if let Ok(name) = std::str::from_utf8(name) {
            return name;
        }
    }
    identifier
}
