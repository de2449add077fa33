//! [`Runtime`]: what the adapter of a runtime owes the shim.
//!
//! The list of the runtimes is in `shims/list.rs`. One whose feature is off is represented by
//! `shims/absent.rs`, which has no values, so that nothing else need know which of them there are.
//! `docs/add-a-runtime.md` in the repository adds one.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use super::block::BlockOnError;
use super::executor::{Executor, LocalName};
use super::join_task::JoinTask;
use super::runnable_join::RunnableJoin;

/// A runtime, by its name: as the scopes of its tasks know it.
#[allow(
    dead_code,
    reason = "what is used depends on which runtimes are compiled in"
)]
pub(crate) trait Runtime: Copy + 'static {
    /// The name, if its tasks may know it by that. Each runtime on the list that is compiled in has
    /// one; its stand-in and the event loop have none.
    const BY_NAME: Option<Self>;

    /// Whether the name means the runtime of the thread, which may be another one elsewhere, and
    /// not a global executor.
    const IS_BY_THREAD: bool = false;

    /// Whether all of its tasks with the same output are polled by the same code, which is faster
    /// to compile than code for each future. Slower where the runtime inlines the polls of a task.
    const POLLS_BY_OUTPUT: bool = false;

    /// The runtime, if it says that it runs on this thread.
    fn current() -> Option<Self>;

    /// Its executor, as users wrap it.
    type Executor: Executor;

    /// The executor that its name means here.
    ///
    /// # Panics
    ///
    /// If the name is that of the thread's, and there is none here, with the runtime's own message.
    fn executor(self) -> Self::Executor;

    /// An executor of the process, made by the first call, for a thread that has no other. `None`
    /// if this thread cannot use it.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    fn of_the_process(self) -> Result<Option<Arc<dyn Executor>>, BlockOnError> {
        Ok(Some(Arc::new(self.executor())))
    }

    /// The local executor that its own `spawn_local` goes to, if that is not the one that is
    /// entered.
    fn local_executor() -> Option<LocalName> {
        None
    }

    /// What it spawns tasks on.
    type Native<'a>: Copy;

    /// What its name means here.
    fn native(self) -> Self::Native<'static>;

    /// What an executor has said by [`Adapter::native`](super::executor::Adapter::native), if it is
    /// of this runtime.
    fn native_of(any: &dyn Any) -> Option<Self::Native<'_>>;

    /// What a task keeps to find its way back, if that is not the value of its executor.
    type Scope: Send + 'static;

    /// That for a task that is spawned there.
    fn scope(native: Self::Native<'_>) -> Option<Self::Scope>;

    /// The executor's scope that is meant. `None`: that of the runtime's name.
    fn scope_of(_: &Self::Scope) -> Option<&dyn Any> {
        None
    }

    /// Its own handle of a task.
    type Join<T: 'static>: JoinTask<T>;

    /// Spawns a task.
    #[track_caller]
    fn spawn<F>(native: Self::Native<'_>, task: F) -> Spawned<Self::Join<F::Output>, F::Output>
    where
        F: Future<Output: Send> + Send + 'static;

    /// Spawns a task on what its name means here.
    #[inline]
    #[track_caller]
    fn spawn_by_name<F>(self, task: F) -> Spawned<Self::Join<F::Output>, F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Self::spawn(self.native(), task)
    }

    /// Spawns the task that `make` makes of its scope, for a runtime that has more to do with that.
    /// Not asked where the runtime is found by its name.
    #[inline]
    #[track_caller]
    fn spawn_in<F>(
        native: Self::Native<'_>,
        scope: Self::Scope,
        make: impl FnOnce(Self::Scope) -> F,
    ) -> Spawned<Self::Join<F::Output>, F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Self::spawn(native, make(scope))
    }
}

/// The handle of a task: the runtime's own, or that of `async-task`.
#[allow(dead_code, reason = "as above")]
pub(crate) enum Spawned<J, T> {
    Own(J),
    Runnable(RunnableJoin<T>),
}
