//! The adapters in `shims/`, mounted by the list. Those whose feature is off are represented by
//! `absent.rs`.

use crate::runtimes::runtimes;

macro_rules! adapters {
    ($(
        $(#[$doc:meta])*
        $module:ident $Variant:ident $feature:literal $probe:tt
    )*) => {
        #[path = "../../shims"]
        mod mounted {
            $(
                #[cfg(feature = $feature)]
                pub(crate) mod $module;
                #[cfg(not(feature = $feature))]
                #[path = "absent.rs"]
                #[allow(clippy::duplicate_mod, reason = "each is a type of its own")]
                pub(crate) mod $module;
            )*
        }
        pub(crate) use self::mounted::{$($module),*};

        adapters!(@first [] $($module $feature)*);
    };
    (@first [$($before:literal)*] $module:ident $feature:literal $($rest:tt)*) => {
        #[cfg(all(feature = $feature, not(any($(feature = $before),*))))]
        pub(crate) use self::$module::Runtime as FirstRuntime;
        adapters!(@first [$($before)* $feature] $($rest)*);
    };
    (@first [$($before:literal)*]) => {
        #[cfg(not(any($(feature = $before),*)))]
        pub(crate) use self::event_loop::Runtime as FirstRuntime;
    };
}

runtimes!(adapters);

pub(crate) use super::event_loop::tasks as event_loop;
