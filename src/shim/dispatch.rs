//! The runtimes as one: enums that the list in `shims/list.rs` generates, each with a variant for a
//! runtime.

use std::any::Any;
use std::sync::Arc;
use std::task::{self, Poll};

use super::adapters;
use super::block::BlockOnError;
use super::executor::Executor;
use super::join_task::{Abort, Cancel, JoinTask};
use super::outcome::Joined;
use super::runnable_join::RunnableJoin;
use super::runtime::Runtime;
use crate::runtimes::runtimes;

/// A runtime in [`RuntimeName`].
pub(crate) trait Listed: Runtime {
    /// See [`BY_NAME`](Runtime::BY_NAME).
    const NAME: Option<RuntimeName>;

    fn from_name(name: RuntimeName) -> Option<Self>;
    fn to_join<T: 'static>(join: Self::Join<T>) -> SpawnedJoin<T>;
}

/// What is done for whichever runtime a [`Native`] is of.
pub(crate) trait Visitor {
    type Output;

    #[track_caller]
    fn visit<R: Listed>(self, native: R::Native<'_>) -> Self::Output;
}

macro_rules! dispatch {
    ($(
        $(#[$doc:meta])*
        $module:ident $Variant:ident $feature:literal $target:meta $probe:tt
    )*) => {
        // The event loop is one among them, but for its handles: they are the largest, and all
        // would have room for one.
        dispatch!(@all $($module $Variant $feature)* event_loop EventLoop "");
        dispatch!(@joins $($module $Variant)*);
        $(dispatch!(@listed $module $Variant |join| SpawnedJoin::Native(NativeJoin::$Variant(join)));)*
        dispatch!(@listed event_loop EventLoop SpawnedJoin::OfEventLoop);
    };
    (@all $($module:ident $Variant:ident $feature:literal)*) => {
        /// A runtime that is found by its name, which takes no room.
        #[derive(Clone, Copy)]
        pub(crate) enum RuntimeName {
            $($Variant(adapters::$module::Runtime),)*
        }

        impl RuntimeName {
            /// The first one that says it runs on this thread.
            #[inline]
            pub(crate) fn of_thread() -> Option<RuntimeName> {
                $(
                    if let Some(runtime) = adapters::$module::Runtime::current() {
                        return Some(RuntimeName::$Variant(runtime));
                    }
                )*
                None
            }

            /// How many are compiled in.
            pub(crate) const COMPILED_IN: usize = 0
                $(+ <adapters::$module::Runtime as Runtime>::BY_NAME.is_some() as usize)*;

            /// The module of the first one that is compiled in and whose executor can be used from
            /// anywhere.
            pub(crate) const GLOBAL: Option<&str> = {
                let mut global = None;
                $({
                    type Adapter = adapters::$module::Runtime;
                    if global.is_none() && Adapter::BY_NAME.is_some() && !Adapter::IS_BY_THREAD {
                        global = Some(stringify!($module));
                    }
                })*
                global
            };

            /// The only one that is compiled in, if its executor can be used from anywhere.
            pub(crate) fn only_global() -> Option<RuntimeName> {
                if RuntimeName::COMPILED_IN != 1 {
                    return None;
                }
                let all = [
                    $(<adapters::$module::Runtime as Listed>::NAME,)*
                ];
                let mut all = all.into_iter().flatten();
                all.find(|name| !name.is_by_thread())
            }

            /// The executor of the process of the only one that is compiled in, if it has one.
            pub(crate) fn only_of_the_process() -> Result<Option<Arc<dyn Executor>>, BlockOnError> {
                if RuntimeName::COMPILED_IN != 1 {
                    return Ok(None);
                }
                $(
                    if let Some(runtime) = <adapters::$module::Runtime as Runtime>::BY_NAME {
                        return runtime.of_the_process();
                    }
                )*
                Ok(None)
            }

            #[inline]
            pub(crate) fn is_by_thread(self) -> bool {
                match self {
                    $(RuntimeName::$Variant(_) => <adapters::$module::Runtime as Runtime>::IS_BY_THREAD,)*
                }
            }

            /// Whether the runtime can be used by its name from here.
            #[inline]
            pub(crate) fn is_available(self) -> bool {
                match self {
                    $(RuntimeName::$Variant(_) => {
                        !self.is_by_thread() || adapters::$module::Runtime::current().is_some()
                    })*
                }
            }

            #[allow(unreachable_code, reason = "absent runtimes have no executor")]
            pub(crate) fn executor(self) -> Arc<dyn Executor> {
                match self {
                    $(RuntimeName::$Variant(runtime) => Arc::new(runtime.executor()),)*
                }
            }

            #[allow(unreachable_code, reason = "absent runtimes have no executor")]
            pub(crate) fn with_executor<R>(self, f: impl FnOnce(&dyn Executor) -> R) -> R {
                match self {
                    $(RuntimeName::$Variant(runtime) => f(&runtime.executor()),)*
                }
            }

            #[inline]
            #[allow(unreachable_code, reason = "absent runtimes have nothing native")]
            pub(crate) fn native(self) -> Native<'static> {
                match self {
                    $(RuntimeName::$Variant(runtime) => Native::$Variant(runtime.native()),)*
                }
            }
        }

        /// What a runtime spawns tasks on.
        #[derive(Clone, Copy)]
        pub(crate) enum Native<'a> {
            $($Variant(<adapters::$module::Runtime as Runtime>::Native<'a>),)*
        }

        impl<'a> Native<'a> {
            /// What an executor has said by [`Adapter::native`](super::executor::Adapter::native).
            pub(crate) fn of(any: &'a dyn Any) -> Option<Native<'a>> {
                $(
                    if let Some(native) = adapters::$module::Runtime::native_of(any) {
                        return Some(Native::$Variant(native));
                    }
                )*
                None
            }

            /// The name by which tasks find their way back there.
            pub(crate) fn name(self) -> Option<RuntimeName> {
                match self {
                    $(Native::$Variant(native) => {
                        let scope = adapters::$module::Runtime::scope(native);
                        scope.and(<adapters::$module::Runtime as Listed>::NAME)
                    })*
                }
            }

            #[inline]
            #[track_caller]
            pub(crate) fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self {
                    $(Native::$Variant(native) => {
                        visitor.visit::<adapters::$module::Runtime>(native)
                    })*
                }
            }
        }
    };
    (@joins $($module:ident $Variant:ident)*) => {
        /// The handle of a task, of whichever runtime.
        pub(crate) enum NativeJoin<T: 'static> {
            $($Variant(<adapters::$module::Runtime as Runtime>::Join<T>),)*
            Runnable(RunnableJoin<T>),
        }

        impl<T: 'static> JoinTask<T> for NativeJoin<T> {
            #[inline]
            fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
                match self {
                    $(NativeJoin::$Variant(task) => task.poll(cx),)*
                    NativeJoin::Runnable(task) => task.poll(cx),
                }
            }

            fn is_finished(&self) -> Option<bool> {
                match self {
                    $(NativeJoin::$Variant(task) => task.is_finished(),)*
                    NativeJoin::Runnable(task) => task.is_finished(),
                }
            }

            fn abort_handle(&self) -> Option<Arc<dyn Abort>> {
                match self {
                    $(NativeJoin::$Variant(task) => task.abort_handle(),)*
                    NativeJoin::Runnable(task) => task.abort_handle(),
                }
            }

            fn cancel(self) -> Cancel<T> {
                match self {
                    $(NativeJoin::$Variant(task) => task.cancel(),)*
                    NativeJoin::Runnable(task) => task.cancel(),
                }
            }
        }
    };
    (@listed $module:ident $Variant:ident $to_join:expr) => {
        impl Listed for adapters::$module::Runtime {
            const NAME: Option<RuntimeName> = match Self::BY_NAME {
                Some(runtime) => Some(RuntimeName::$Variant(runtime)),
                None => None,
            };

            #[inline]
            fn from_name(name: RuntimeName) -> Option<Self> {
                match name {
                    RuntimeName::$Variant(runtime) => Some(runtime),
                    #[allow(unreachable_patterns, reason = "the others may have no values")]
                    _ => None,
                }
            }

            #[inline]
            fn to_join<T: 'static>(join: Self::Join<T>) -> SpawnedJoin<T> {
                ($to_join)(join)
            }
        }
    };
}

runtimes!(dispatch);

/// The handle of a task that was spawned on a runtime.
pub(crate) enum SpawnedJoin<T: 'static> {
    Native(NativeJoin<T>),
    /// Kept apart: its output need not be `Send`.
    OfEventLoop(<adapters::event_loop::Runtime as Runtime>::Join<T>),
}
