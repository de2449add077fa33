//! The adapter for tokio: multi-thread and current-thread runtimes, and `LocalSet`.

use std::any::Any;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Poll};

use ::tokio::runtime::{Handle, RuntimeFlavor};
use ::tokio::task::{self as native_task, LocalSet, coop};
use futures_core::future::LocalBoxFuture;

use crate::id::BuildIdHasher;
use crate::shim::block::{self, BlockOnError};
use crate::shim::clock::Clock;
use crate::shim::executor::{
    Adapter, Executor, ExecutorName, Hooks, LocalExecutor, LocalName, QueueKey,
};
use crate::shim::join_error::JoinError;
use crate::shim::join_task::{Abort, Cancel, JoinTask};
use crate::shim::outcome::{Joined, ToClaim, Unclaimed};
use crate::shim::runnable::{Job, LocalRunnable, Runnable};
use crate::shim::runtime::{self, Spawned};
use crate::shim::thread_state;

/// What the public module has beside its functions.
pub(crate) mod public {
    pub mod task;
}

pub(crate) type NativeExecutor = Handle;

/// The runtime of the thread.
#[derive(Clone, Copy)]
pub(crate) struct Runtime;

impl runtime::Runtime for Runtime {
    const BY_NAME: Option<Runtime> = Some(Runtime);
    const IS_BY_THREAD: bool = true;
    const POLLS_BY_OUTPUT: bool = true;
    type Executor = Handle;
    /// Without a handle, the runtime of the thread.
    type Native<'a> = Option<&'a Handle>;
    type Scope = ();
    type Join<T: 'static> = Join<T>;

    #[inline]
    fn current() -> Option<Runtime> {
        // A `LocalSet` that is dropped outside of its runtime drops its tasks under their ids, so
        // that those do not tell.
        Handle::try_current().is_ok().then_some(Runtime)
    }

    fn of_the_process(self) -> Result<Option<Arc<dyn Executor>>, BlockOnError> {
        threads::of_the_process()
    }

    #[track_caller]
    fn executor(self) -> Handle {
        Handle::current()
    }

    #[inline]
    fn native(self) -> Option<&'static Handle> {
        None
    }

    fn native_of(any: &dyn Any) -> Option<Option<&Handle>> {
        // A `LocalSet` belongs to the runtime of its thread.
        any.downcast_ref()
            .map(Some)
            .or_else(|| any.is::<Runtime>().then_some(None))
    }

    #[inline]
    fn scope(_: Option<&Handle>) -> Option<()> {
        Some(())
    }

    #[inline]
    #[track_caller]
    fn spawn<F>(handle: Option<&Handle>, task: F) -> Spawned<Join<F::Output>, F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let task = ToClaim::new(task);
        Spawned::Own(Join(match handle {
            Some(handle) => handle.spawn(task),
            None => ::tokio::spawn(task),
        }))
    }

    // `spawn` would compile each future for a handle too.
    #[inline]
    #[track_caller]
    fn spawn_by_name<F>(self, task: F) -> Spawned<Join<F::Output>, F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Spawned::Own(Join(::tokio::spawn(ToClaim::new(task))))
    }
}

pub(crate) struct Join<T>(native_task::JoinHandle<Unclaimed<T>>);

impl<T: 'static> JoinTask<T> for Join<T> {
    #[inline]
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        let joined = if coop::has_budget_remaining() {
            Pin::new(&mut self.0).poll(cx)
        } else {
            // tokio would wake at once, and again at each poll within the same budget.
            pin!(coop::unconstrained(&mut self.0)).poll(cx)
        };
        joined.map_ok(Unclaimed::claim).map_err(error)
    }

    fn is_finished(&self) -> Option<bool> {
        Some(self.0.is_finished())
    }

    fn abort_handle(&self) -> Option<Arc<dyn Abort>> {
        Some(Arc::new(self.0.abort_handle()))
    }

    fn cancel(self) -> Cancel<T> {
        unreachable!("tokio's tasks have an abort handle")
    }
}

impl Abort for native_task::AbortHandle {
    fn abort(&self) {
        native_task::AbortHandle::abort(self);
    }

    fn is_finished(&self) -> bool {
        native_task::AbortHandle::is_finished(self)
    }
}

#[cold]
fn error(error: native_task::JoinError) -> JoinError {
    match error.try_into_panic() {
        Ok(payload) => JoinError::panicked(payload),
        Err(_cancelled) => JoinError::cancelled(),
    }
}

fn number(id: &impl Hash) -> u64 {
    BuildIdHasher::default().hash_one(id)
}

impl Executor for Handle {
    fn schedule(&self, task: Runnable) {
        self.spawn(async move { task.run() });
    }

    fn clock(&self) -> Arc<dyn Clock> {
        clock::clock(Some(self))
    }

    fn spawn_blocking(&self, job: Job) {
        drop(Handle::spawn_blocking(self, move || job.run()));
    }

    fn hooks(&self) -> Hooks<'_, ExecutorName> {
        Hooks::adapted(QueueKey::Numbered("tokio", number(&self.id())), self)
    }
}

impl Adapter for Handle {
    fn native(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        let in_place = Handle::try_current()
            .is_ok_and(|current| current.runtime_flavor() == RuntimeFlavor::MultiThread);
        if !in_place {
            refuse_in_task()?;
        }
        block::unless_refused(future, NESTED, |future| {
            if in_place {
                threads::block_in_place(|| Handle::block_on(self, future));
            } else {
                Handle::block_on(self, future);
            }
        })
    }
}

const NESTED: &str = "tokio does not block within a current-thread runtime or a `LocalSet`, nor while the \
                      thread's locals are destroyed; await the future instead";

/// A task is where tokio surely refuses to block. It would do so by a panic. Blocking jobs have ids
/// too.
fn refuse_in_task() -> Result<(), BlockOnError> {
    if native_task::try_id().is_some() && !thread_state::is(|state| &state.in_job) {
        return Err(BlockOnError::new(NESTED));
    }
    Ok(())
}

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
mod clock;

/// tokio's clock follows that of the standard library, which has none for this target.
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
mod clock {
    use super::*;

    use crate::shim::clock::StdClock;

    pub(super) fn clock(_: Option<&Handle>) -> Arc<dyn Clock> {
        Arc::new(StdClock)
    }
}

impl LocalExecutor for LocalSet {
    fn schedule_local(&self, task: LocalRunnable) {
        drop(LocalSet::spawn_local(self, async move { task.run() }));
    }

    fn spawn_local(
        &self,
        task: LocalBoxFuture<'static, ()>,
    ) -> Result<(), LocalBoxFuture<'static, ()>> {
        drop(LocalSet::spawn_local(self, task));
        Ok(())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        clock::clock(None)
    }

    fn hooks(&self) -> Hooks<'_, LocalName> {
        Hooks::adapted(
            QueueKey::Numbered("tokio local set", number(&self.id())),
            self,
        )
    }
}

impl Adapter for LocalSet {
    fn native(&self) -> Option<&dyn Any> {
        Some(&Runtime)
    }

    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        let handle = Handle::try_current().map_err(|_| {
            BlockOnError::new(
                "a `LocalSet` needs a tokio runtime: enter one, as with `Runtime::enter`",
            )
        })?;
        refuse_in_task()?;
        block::unless_refused(future, NESTED, |future| {
            handle.block_on(self.run_until(future));
        })
    }
}

#[cfg(not(target_family = "wasm"))]
mod threads;

/// The same without threads: `block_on` runs an event loop.
#[cfg(target_family = "wasm")]
mod threads {
    use super::*;

    pub(super) fn of_the_process() -> Result<Option<Arc<dyn Executor>>, BlockOnError> {
        Ok(None)
    }

    pub(super) fn block_in_place(_: impl FnOnce()) {
        unreachable!("no runtime is a multi-thread one");
    }
}
