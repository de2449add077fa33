//! The list of the runtimes: the one place that names them all. `docs/add-a-runtime.md` in the
//! repository says how to add one.

/// Passes the list on to a macro. Of each runtime: the documentation of its module, the module,
/// which is its adapter's file in this folder too, the variant in enums, the feature, the targets
/// that have it, as `cfg` takes them; and how to ask which of its tasks runs on this thread, with
/// the type of the answer, if it can be asked.
///
/// `shim::spawn` compiles each future for the first one that is compiled in; for the others it
/// boxes the future and its output.
macro_rules! runtimes {
    ($then:ident) => {
        $then! {
            #[doc = include_str!("../docs/runtimes/tokio.md")]
            tokio Tokio "tokio" all() {
                ::tokio::task::try_id() => ::tokio::task::Id
            }
            #[doc = include_str!("../docs/runtimes/smol.md")]
            smol Smol "smol" all() {}
            #[doc = include_str!("../docs/runtimes/async-std.md")]
            async_std AsyncStd "async-std" all() {
                ::async_std::task::try_current().map(|task| task.id()) => ::async_std::task::TaskId
            }
            #[doc = include_str!("../docs/runtimes/wasm.md")]
            wasm Wasm "wasm" all(target_family = "wasm", target_os = "unknown") {}
        }
    };
}

/// The same for libraries whose threads run jobs. They are no runtimes: all that is asked of them
/// is whether this thread is one of theirs.
macro_rules! job_libraries {
    ($then:ident) => {
        $then! {
            rayon "rayon" { ::rayon::current_thread_index().map(drop) => () }
        }
    };
}

/// How a task is spawned on a local executor that the shim does not know, for messages.
pub(crate) const BARE_LOCAL_SPAWN: &str = "`tokio::task::spawn_local(future.in_current_context())` or \
                                `shim::tokio::task::spawn_local(future)`";

pub(crate) use {job_libraries, runtimes};
