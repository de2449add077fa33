//! The adapter for the event loop of JavaScript, in browsers and in what has the same functions.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;

use futures_core::future::LocalBoxFuture;
use wasm_bindgen_futures::spawn_local;

use crate::id;
use crate::shim::block::BlockOnError;
use crate::shim::executor::{
    Adapter, Executor, ExecutorName, Hooks, LocalExecutor, LocalName, QueueKey,
};
use crate::shim::join_task::NoJoin;
use crate::shim::outcome::CatchPanic;
use crate::shim::runnable::{LocalRunnable, Runnable};
use crate::shim::runnable_join::RunnableJoin;
use crate::shim::runtime::{self, Spawned};

/// What the public module has beside its functions.
pub(crate) mod public {
    /// The event loop of the calling thread: the page's or a worker's.
    #[derive(Clone, Copy, Debug, Default)]
    #[non_exhaustive]
    pub struct Global;

    /// The same for what stays on the thread.
    #[derive(Clone, Copy, Debug, Default)]
    #[non_exhaustive]
    pub struct Local;
}

pub(crate) use self::public::Global as NativeExecutor;
pub(crate) use self::public::Global as Runtime;
use self::public::{Global, Local};

impl runtime::Runtime for Global {
    const BY_NAME: Option<Global> = Some(Global);
    /// Each worker has its own.
    const IS_BY_THREAD: bool = true;
    type Executor = Global;
    type Native<'a> = Global;
    type Scope = ();
    type Join<T: 'static> = NoJoin<T>;

    /// All code runs in a turn of it.
    #[inline]
    fn current() -> Option<Global> {
        Some(Global)
    }

    #[inline]
    fn executor(self) -> Global {
        self
    }

    fn local_executor() -> Option<LocalName> {
        Some(LocalName::Static(&Local))
    }

    #[inline]
    fn native(self) -> Global {
        self
    }

    fn native_of(any: &dyn Any) -> Option<Global> {
        any.downcast_ref().copied()
    }

    #[inline]
    fn scope(_: Global) -> Option<()> {
        Some(())
    }

    fn spawn<F>(_: Global, task: F) -> Spawned<NoJoin<F::Output>, F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let schedule = |runnable| Global.schedule(Runnable(runnable));
        let (runnable, task) = async_task::spawn(CatchPanic::new(task), schedule);
        runnable.schedule();
        Spawned::Runnable(RunnableJoin::new(task))
    }
}

/// A key for the callback queue of this thread's event loop.
fn queue(name: &'static str) -> QueueKey {
    QueueKey::Numbered(name, id::thread() as u64)
}

impl Executor for Global {
    fn schedule(&self, task: Runnable) {
        spawn_local(async move { task.run() });
    }

    fn hooks(&self) -> Hooks<'_, ExecutorName> {
        Hooks::adapted(queue("wasm"), self)
    }
}

impl Adapter for Global {
    fn native(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn local(&self) -> Option<LocalName> {
        Some(LocalName::Static(&Local))
    }

    fn block_on(&self, _: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        Err(BlockOnError::new(
            "the event loop of JavaScript goes on only when this call has returned; await the future, or spawn it by \
             `shim::wasm::spawn_local`",
        ))
    }
}

impl LocalExecutor for Local {
    fn schedule_local(&self, task: LocalRunnable) {
        spawn_local(async move { task.run() });
    }

    fn spawn_local(
        &self,
        task: LocalBoxFuture<'static, ()>,
    ) -> Result<(), LocalBoxFuture<'static, ()>> {
        spawn_local(task);
        Ok(())
    }

    fn hooks(&self) -> Hooks<'_, LocalName> {
        Hooks::adapted(queue("wasm local"), self)
    }
}

impl Adapter for Local {
    fn native(&self) -> Option<&dyn Any> {
        Some(&Global)
    }

    fn local(&self) -> Option<LocalName> {
        Some(LocalName::Static(&Local))
    }

    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        Adapter::block_on(&Global, future)
    }
}
