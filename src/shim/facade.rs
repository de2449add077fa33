//! The functions of each runtime's module.

use std::future::Future;

use super::destination;
use super::dispatch::Listed;
use super::executor_ref::ScopeExecutor;
use super::join::JoinHandle;
use super::local;
use super::runtime::Runtime;
use super::scope::{ExecutorScope, LocalScope, RuntimeScope, ThreadScope};
use super::spawning;
use super::task::TaskFuture;
use super::thread_state;
use crate::current;
use crate::with_context::ContextExt;

/// The public functions of the module of a runtime, in which this stands.
#[allow(unused_macros, reason = "there may be no runtime")]
macro_rules! functions {
    ($module:ident) => {
        #[allow(
            unused_imports,
            unreachable_pub,
            reason = "the adapter may have nothing public"
        )]
        pub use crate::shim::adapters::$module::public::*;

        use crate::shim::adapters::$module::{NativeExecutor, Runtime};
        use crate::shim::runtime::Runtime as _;
        use crate::shim::{ContextAwareExecutor, JoinHandle};

        /// Spawns a task on the runtime, in a copy of the current context, taken now.
        ///
        /// # Panics
        ///
        /// Outside of a runtime, if it has no global executor.
        ///
        /// # Examples
        ///
        /// See the [module](self).
        #[track_caller]
        pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
        where
            F: ::std::future::Future + Send + 'static,
            F::Output: Send + 'static,
        {
            crate::shim::facade::spawn_on_runtime::<Runtime, _>(future)
        }

        /// Spawns a task that stays on this thread, in a copy of the current context, taken now: on
        /// the runtime's own executor for such tasks, if there is one, and else on the local
        /// executor that is entered.
        ///
        /// # Panics
        ///
        /// If there is none; see
        /// [`ContextAwareExecutor::enter_local`](crate::shim::ContextAwareExecutor::enter_local).
        ///
        /// # Examples
        ///
        /// See the [module](self).
        #[track_caller]
        pub fn spawn_local<F>(future: F) -> JoinHandle<F::Output>
        where
            F: ::std::future::Future + 'static,
            F::Output: 'static,
        {
            crate::shim::facade::spawn_local_on_runtime::<Runtime, _>(future)
        }

        /// Runs `f` on the runtime's blocking threads, in a copy of the current context, taken now.
        ///
        /// # Panics
        ///
        /// Outside of a runtime, if it has no global executor.
        ///
        /// # Examples
        ///
        /// See [`shim::spawn_blocking`](crate::shim::spawn_blocking).
        #[track_caller]
        pub fn spawn_blocking<T: Send + 'static>(
            f: impl FnOnce() -> T + Send + 'static,
        ) -> JoinHandle<T> {
            executor().spawn_blocking(f)
        }

        /// Runs `future` on this thread and on the runtime, in a copy of the current context.
        ///
        /// # Panics
        ///
        /// Outside of a runtime, if it has no global executor, and where
        /// [`ContextAwareExecutor::try_block_on`](crate::shim::ContextAwareExecutor::try_block_on)
        /// gives an error.
        ///
        /// # Examples
        ///
        /// See the [module](self).
        #[track_caller]
        pub fn block_on<F: ::std::future::Future>(future: F) -> F::Output {
            executor().block_on(future)
        }

        /// The runtime's executor, wrapped: that of this thread, or the global one.
        ///
        /// # Panics
        ///
        /// Outside of a runtime, if it has no global executor.
        ///
        /// # Examples
        ///
        /// See [`ContextAwareExecutor`](crate::shim::ContextAwareExecutor).
        #[track_caller]
        pub fn executor() -> ContextAwareExecutor<NativeExecutor> {
            match Runtime::BY_NAME {
                Some(runtime) => ContextAwareExecutor::new(runtime.executor()),
                None => unreachable!("runtimes with a module have a name"),
            }
        }
    };
}

#[allow(unused_imports, reason = "as above")]
pub(crate) use functions;

/// Spawns on the runtime that its name means here.
#[inline]
#[track_caller]
#[allow(dead_code, reason = "there may be no runtime")]
pub(super) fn spawn_on_runtime<R: Listed, F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    match R::BY_NAME.map(|name| (name, R::scope(name.native()))) {
        Some((name, Some(scope))) => {
            destination::spawn_by_name(name, scope, current::inherit(), future)
        }
        _ => unreachable!("runtimes with a module have a name"),
    }
}

/// The same for tasks that stay on this thread.
#[track_caller]
#[allow(dead_code, reason = "there may be no runtime")]
pub(super) fn spawn_local_on_runtime<R: Listed, F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: 'static> + 'static,
{
    let Some(local) = R::local_executor() else {
        return spawning::spawn_local(future);
    };
    let executor = R::NAME.map_or(ScopeExecutor::None, ScopeExecutor::Runtime);
    let scope = ExecutorScope::new(executor, None);
    local::spawn(LocalScope { scope, local }, current::inherit(), future)
}

/// What is spawned for `future` on the runtime by its own means, which give its own handle: a task
/// in a copy of the current context, taken now.
#[inline]
#[allow(dead_code, reason = "there may be no runtime")]
pub(crate) fn task<R, F>(future: F) -> impl Future<Output = F::Output>
where
    R: Listed + Runtime<Scope = ()>,
    F: Future,
{
    TaskFuture::to_spawn(current::inherit(), RuntimeScope::<R>(()), future)
}

/// The same for a task that stays on its thread, on which the runtime may or may not run.
#[inline]
#[allow(dead_code, reason = "as above")]
pub(crate) fn local_task<R, F>(future: F) -> impl Future<Output = F::Output>
where
    R: Listed + Runtime<Scope = ()>,
    F: Future,
{
    TaskFuture::to_spawn(current::inherit(), ThreadScope::<R>::NEW, future)
}

/// The same for a blocking job.
#[allow(dead_code, reason = "as above")]
pub(crate) fn job<T>(f: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let bound = f.in_context(current::inherit());
    move || {
        let _job = thread_state::mark(|state| &state.in_job, true);
        bound.call_once()
    }
}
