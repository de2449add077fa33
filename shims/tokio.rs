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
use crate::shim::executor::{Adapter, Executor, ExecutorName, Hooks};
use crate::shim::executor::{LocalExecutor, LocalName, QueueKey};
use crate::shim::join_error::JoinError;
use crate::shim::join_task::{Abort, Cancel, JoinTask};
use crate::shim::outcome::Joined;
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
        Spawned::Own(Join(::tokio::spawn(task)))
    }
}

pub(crate) struct Join<T>(native_task::JoinHandle<T>);

impl<T: 'static> JoinTask<T> for Join<T> {
    #[inline]
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        let joined = if coop::has_budget_remaining() {
            Pin::new(&mut self.0).poll(cx)
        } else {
            // tokio would wake at once, and again at each poll within the same budget.
            pin!(coop::unconstrained(&mut self.0)).poll(cx)
        };
        joined.map_err(error)
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
        time::clock(Some(self))
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

const NESTED: &str = "tokio does not block within a current-thread runtime or a `LocalSet`; await the future \
                      instead";

/// A task is where tokio surely refuses to block. It would do so by a panic. Blocking jobs have ids
/// too.
fn refuse_in_task() -> Result<(), BlockOnError> {
    if native_task::try_id().is_some() && !thread_state::is(|state| &state.in_job) {
        return Err(BlockOnError::new(NESTED));
    }
    Ok(())
}

/// The clock of a runtime, or of that of the thread.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
mod time {
    use super::*;

    use std::time::Instant;

    use ::tokio::runtime::EnterGuard;
    use futures_core::future::BoxFuture;

    pub(super) fn clock(handle: Option<&Handle>) -> Arc<dyn Clock> {
        Arc::new(TokioClock(handle.cloned()))
    }

    struct TokioClock(Option<Handle>);

    impl TokioClock {
        /// Enters the runtime, unless this thread is in it. There it could be in the middle of a
        /// spawn, which at a shutdown drops the task, and in which tokio refuses to enter. (So it
        /// does for a timer of another runtime's in such a destructor, by a panic.)
        fn enter(&self) -> Option<EnterGuard<'_>> {
            let handle = self.0.as_ref()?;
            let is_here = Handle::try_current().is_ok_and(|here| here.id() == handle.id());
            (!is_here).then(|| handle.enter())
        }
    }

    impl Clock for TokioClock {
        fn now(&self) -> Instant {
            let _entered = self.enter();
            ::tokio::time::Instant::now().into_std()
        }

        fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
            // Panics here, in the caller, if the runtime has no time driver.
            let _entered = self.enter();
            Box::pin(::tokio::time::sleep_until(at.into()))
        }
    }
}

/// tokio's follows that of the standard library, which has none for this target.
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
mod time {
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
        time::clock(None)
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

/// What takes threads.
#[cfg(not(target_family = "wasm"))]
mod threads {
    use super::*;

    use std::io;
    use std::sync::{Mutex, PoisonError};

    use ::tokio::runtime::{self as native, Builder};
    pub(super) use ::tokio::task::block_in_place;

    /// The runtime of the process.
    pub(super) fn of_the_process() -> Result<Option<Arc<dyn Executor>>, BlockOnError> {
        static RUNTIME: Started = Started::new();
        match Handle::try_current() {
            // The thread cannot enter a runtime any more.
            Err(error) if error.is_thread_local_destroyed() => Ok(None),
            _ => {
                let handle = RUNTIME.get(|| Builder::new_multi_thread().enable_all().build())?;
                Ok(Some(Arc::new(handle)))
            }
        }
    }

    /// A runtime that is started when it is first asked for, and never shut down.
    struct Started(Mutex<Option<native::Runtime>>);

    impl Started {
        const fn new() -> Started {
            Started(Mutex::new(None))
        }

        /// After a failure, the next one who asks tries again.
        fn get(
            &self,
            start: impl FnOnce() -> io::Result<native::Runtime>,
        ) -> Result<Handle, BlockOnError> {
            let mut runtime = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let runtime = match &mut *runtime {
                Some(runtime) => runtime,
                none => none.insert(start().map_err(|error| {
                    BlockOnError::new(format!("no tokio runtime can be started: {error}"))
                })?),
            };
            Ok(runtime.handle().clone())
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_runtime_that_cannot_be_started_is_an_error_and_tried_again() {
            let runtime = Started::new();
            let error = runtime
                .get(|| Err(io::Error::other("no threads")))
                .unwrap_err();
            assert!(
                error.to_string().ends_with("started: no threads"),
                "{error}"
            );
            let start = || Builder::new_current_thread().build();
            let id = runtime.get(start).unwrap().id();
            assert_eq!(runtime.get(|| unreachable!()).unwrap().id(), id);
        }
    }
}

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
