//! The adapter for smol: its global executor, and `Executor` and `LocalExecutor` as values.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use ::smol::{Executor as SmolExecutor, LocalExecutor as SmolLocalExecutor, Timer};
use futures_core::future::{BoxFuture, LocalBoxFuture};

use crate::shim::block::{self, BlockOnError};
use crate::shim::clock::Clock;
use crate::shim::executor::{
    Adapter, Executor, ExecutorName, Hooks, LocalExecutor, LocalName, QueueKey,
};
use crate::shim::join_task::NoJoin;
use crate::shim::outcome::CatchPanic;
use crate::shim::runnable::{Job, LocalRunnable, Runnable};
use crate::shim::runnable_join::RunnableJoin;
use crate::shim::runtime::{self, Spawned};

/// What the public module has beside its functions.
pub(crate) mod public {
    /// smol's global executor.
    #[derive(Clone, Copy, Debug, Default)]
    #[non_exhaustive]
    pub struct Global;
}

use self::public::Global;
pub(crate) use self::public::Global as NativeExecutor;
pub(crate) use self::public::Global as Runtime;

impl runtime::Runtime for Global {
    const BY_NAME: Option<Global> = Some(Global);
    type Executor = Global;
    /// Without an executor, the global one.
    type Native<'a> = Option<&'a SmolExecutor<'static>>;
    type Scope = ();
    type Join<T: 'static> = NoJoin<T>;

    fn current() -> Option<Global> {
        None
    }

    fn executor(self) -> Global {
        self
    }

    #[inline]
    fn native(self) -> Option<&'static SmolExecutor<'static>> {
        None
    }

    fn native_of(any: &dyn Any) -> Option<Option<&SmolExecutor<'static>>> {
        any.downcast_ref()
            .map(Some)
            .or_else(|| any.is::<Global>().then_some(None))
    }

    #[inline]
    fn scope(executor: Option<&SmolExecutor<'static>>) -> Option<()> {
        executor.is_none().then_some(())
    }

    #[inline]
    fn spawn<F>(
        executor: Option<&SmolExecutor<'static>>,
        task: F,
    ) -> Spawned<NoJoin<F::Output>, F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let task = CatchPanic::new(task);
        Spawned::Runnable(RunnableJoin::new(match executor {
            Some(executor) => executor.spawn(task),
            None => ::smol::spawn(task),
        }))
    }

    // `spawn` would compile each future for an executor that is a value too.
    #[inline]
    fn spawn_by_name<F>(self, task: F) -> Spawned<NoJoin<F::Output>, F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Spawned::Runnable(RunnableJoin::new(::smol::spawn(CatchPanic::new(task))))
    }
}

impl Executor for Global {
    fn schedule(&self, task: Runnable) {
        ::smol::spawn(async move { task.run() }).detach();
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SmolClock)
    }

    fn spawn_blocking(&self, job: Job) {
        ::smol::unblock(move || job.run()).detach();
    }

    fn hooks(&self) -> Hooks<'_, ExecutorName> {
        Hooks::adapted(QueueKey::Numbered("smol", 0), self)
    }
}

impl Adapter for Global {
    fn native(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        block::unless_refused(future, NO_LOCALS, |future| ::smol::block_on(future))
    }
}

/// smol says so by a panic.
const NO_LOCALS: &str =
    "smol does not block on a thread whose locals are gone; block before its exit";

impl Executor for SmolExecutor<'static> {
    fn schedule(&self, task: Runnable) {
        self.spawn(async move { task.run() }).detach();
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SmolClock)
    }

    fn spawn_blocking(&self, job: Job) {
        Global.spawn_blocking(job);
    }

    fn hooks(&self) -> Hooks<'_, ExecutorName> {
        Hooks::adapted(QueueKey::address(self), self)
    }
}

impl Adapter for SmolExecutor<'static> {
    fn native(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        block::unless_refused(future, NO_LOCALS, |future| {
            ::smol::block_on(self.run(future));
        })
    }
}

struct SmolClock;

impl Clock for SmolClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            Timer::at(at).await;
        })
    }
}

impl LocalExecutor for SmolLocalExecutor<'static> {
    fn schedule_local(&self, task: LocalRunnable) {
        self.spawn(async move { task.run() }).detach();
    }

    fn spawn_local(
        &self,
        task: LocalBoxFuture<'static, ()>,
    ) -> Result<(), LocalBoxFuture<'static, ()>> {
        self.spawn(task).detach();
        Ok(())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SmolClock)
    }

    fn hooks(&self) -> Hooks<'_, LocalName> {
        Hooks::adapted(QueueKey::address(self), self)
    }
}

impl Adapter for SmolLocalExecutor<'static> {
    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        block::unless_refused(future, NO_LOCALS, |future| {
            ::smol::block_on(self.run(future));
        })
    }
}
