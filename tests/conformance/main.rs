//! The rows of [`aiocontextvars_conformance`] on the executors that the crate knows, each as a
//! test.

mod executors;
mod main_loop;

use aiocontextvars_conformance as conformance;
use aiocontextvars_conformance::__rows as rows;

/// A test for each row, which is found in a table.
macro_rules! tests {
    ([$table:expr] $($module:ident { $($row:ident)* })*) => {$($(
        #[test]
        fn $row() {
            crate::conformance::run_alone(stringify!($row), &$table);
        }
    )*)*};
}

mod plain_thread {
    crate::rows!(plain, tests, [crate::conformance::on_a_thread()]);
    crate::rows!(thread, tests, [crate::conformance::on_a_thread()]);
}

macro_rules! suite {
    ($($(#[$attribute:meta])* $name:ident;)*) => {$(
        $(#[$attribute])*
        mod $name {
            use crate::executors::$name::Harness;

            crate::rows!(plain, tests, [crate::conformance::in_a_task::<Harness>()]);
            crate::rows!(generic, tests, [crate::conformance::generic::<Harness>()]);
            crate::rows!(typed, tests, [crate::conformance::typed::<Harness>()]);
            crate::rows!(wrapped, tests, [crate::conformance::wrapped::<Harness>()]);
        }
    )*};
}

/// The rows in which another thread submits work.
macro_rules! remote_suite {
    ($($(#[$attribute:meta])* $name:ident;)*) => {
        suite! { $($(#[$attribute])* $name;)* }

        mod from_other_threads {$(
            $(#[$attribute])*
            mod $name {
                use crate::executors::$name::Harness;

                crate::rows!(remote, tests, [crate::conformance::remote::<Harness>()]);
            }
        )*}
    };
}

remote_suite! {
    event_loop_handle;
    #[cfg(feature = "tokio")]
    tokio_multi_thread;
    #[cfg(feature = "tokio")]
    tokio_current_thread;
    #[cfg(feature = "async-std")]
    async_std_global;
    #[cfg(feature = "smol")]
    smol_global;
    #[cfg(feature = "smol")]
    smol_executor;
    #[cfg(feature = "rayon")]
    rayon_thread_pool;
    #[cfg(feature = "futures-executor")]
    futures_thread_pool;
    from_schedule;
    thread_pool;
    gui_main_loop;
}

suite! {
    event_loop;
    #[cfg(feature = "tokio")]
    tokio_local_set;
    #[cfg(feature = "smol")]
    smol_local_executor;
    #[cfg(feature = "futures-executor")]
    futures_local_pool;
}

/// The rows about an executor's end, for those that have one.
macro_rules! ending {
    ($($(#[$attribute:meta])* $name:ident;)*) => {
        mod ending {$(
            $(#[$attribute])*
            mod $name {
                use crate::executors::$name::Harness;

                crate::rows!(ending, tests, [crate::conformance::ending::<Harness>()]);
            }
        )*}
    };
}

ending! {
    event_loop;
    event_loop_handle;
    #[cfg(feature = "tokio")]
    tokio_multi_thread;
    #[cfg(feature = "tokio")]
    tokio_current_thread;
    #[cfg(feature = "tokio")]
    tokio_local_set;
    #[cfg(feature = "smol")]
    smol_executor;
    #[cfg(feature = "smol")]
    smol_local_executor;
    #[cfg(feature = "futures-executor")]
    futures_local_pool;
}
