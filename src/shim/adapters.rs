//! The adapters in `shims/`, mounted by the list. Those whose feature is off are represented by
//! `absent.rs`.

use crate::runtimes::runtimes;

macro_rules! adapters {
    ($(
        $(#[$doc:meta])*
        $module:ident $Variant:ident $feature:literal $target:meta $probe:tt
    )*) => {
        #[path = "../../shims"]
        mod mounted {
            $(
                #[cfg(all(feature = $feature, $target))]
                pub(crate) mod $module;
                #[cfg(not(all(feature = $feature, $target)))]
                #[path = "absent.rs"]
                #[allow(clippy::duplicate_mod, reason = "each is a type of its own")]
                pub(crate) mod $module;
            )*
        }
        pub(crate) use self::mounted::{$($module),*};

        /// The features that bring a runtime to this target.
        pub(crate) const RUNTIME_FEATURES: &[&[&str]] =
            &[$(if cfg!($target) { &[$feature] } else { &[] },)*];

        adapters!(@first [] $($module all(feature = $feature, $target);)*);
    };
    (@first [$($before:meta;)*] $module:ident $is_in:meta; $($rest:tt)*) => {
        #[cfg(all($is_in, not(any($($before),*))))]
        pub(crate) use self::$module::Runtime as FirstRuntime;
        adapters!(@first [$($before;)* $is_in;] $($rest)*);
    };
    (@first [$($before:meta;)*]) => {
        #[cfg(not(any($($before),*)))]
        pub(crate) use self::event_loop::Runtime as FirstRuntime;
    };
}

runtimes!(adapters);

pub(crate) use super::event_loop::tasks as event_loop;
