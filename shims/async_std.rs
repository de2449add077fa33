//! The adapter for async-std.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};

use ::async_std::task::{self as native_task, JoinHandle as NativeHandle};
use futures_core::future::LocalBoxFuture;

use crate::shim::block::{self, BlockOnError};
use crate::shim::executor::{
    Adapter, Executor, ExecutorName, Hooks, LocalExecutor, LocalName, QueueKey,
};
use crate::shim::join_error::JoinError;
use crate::shim::join_task::{Cancel, JoinTask};
use crate::shim::outcome::{CatchPanic, Joined, Outcome};
use crate::shim::runnable::{Job, LocalRunnable, Runnable};
use crate::shim::runtime::{self, Spawned};

/// What the public module has beside its functions.
pub(crate) mod public {
    /// async-std's global executor.
    #[derive(Clone, Copy, Debug, Default)]
    #[non_exhaustive]
    pub struct Global;

    /// The part of async-std's executor that belongs to the calling thread, and runs inside
    /// `block_on` there.
    #[derive(Clone, Copy, Debug, Default)]
    #[non_exhaustive]
    pub struct Local;
}

pub(crate) use self::public::Global as NativeExecutor;
pub(crate) use self::public::Global as Runtime;
use self::public::{Global, Local};

impl runtime::Runtime for Global {
    const BY_NAME: Option<Global> = Some(Global);
    type Executor = Global;
    type Native<'a> = Global;
    type Scope = ();
    type Join<T: 'static> = Join<T>;

    fn current() -> Option<Global> {
        native_task::try_current().map(|_| Global)
    }

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

    #[inline]
    fn spawn<F>(_: Global, task: F) -> Spawned<Join<F::Output>, F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Spawned::Own(Join {
            task: native_task::spawn(CatchPanic::new(task)),
            cancel: |task| {
                Box::pin(async move {
                    let outcome = task.cancel().await;
                    outcome.map_or_else(|| Err(JoinError::cancelled()), Outcome::claim)
                })
            },
        })
    }
}

pub(crate) struct Join<T> {
    task: NativeHandle<Outcome<T>>,
    /// Found where the output is known to be `Send`.
    cancel: fn(NativeHandle<Outcome<T>>) -> Cancel<T>,
}

impl<T: 'static> JoinTask<T> for Join<T> {
    #[inline]
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        let outcome = ready!(Pin::new(&mut self.task).poll(cx));
        Poll::Ready(outcome.claim())
    }

    fn is_finished(&self) -> Option<bool> {
        None
    }

    fn cancel(self) -> Cancel<T> {
        (self.cancel)(self.task)
    }
}

impl Executor for Global {
    fn schedule(&self, task: Runnable) {
        drop(native_task::spawn(async move { task.run() }));
    }

    fn spawn_blocking(&self, job: Job) {
        drop(native_task::spawn_blocking(move || job.run()));
    }

    fn hooks(&self) -> Hooks<'_, ExecutorName> {
        Hooks::adapted(QueueKey::Numbered("async-std", 0), self)
    }
}

impl Adapter for Global {
    fn native(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        block::unless_refused(future, NO_LOCALS, |future| native_task::block_on(future))
    }
}

/// async-std says so by a panic.
const NO_LOCALS: &str =
    "async-std does not block on a thread whose locals are gone; block before its exit";

impl LocalExecutor for Local {
    fn schedule_local(&self, task: LocalRunnable) {
        drop(native_task::spawn_local(async move { task.run() }));
    }

    fn spawn_local(
        &self,
        task: LocalBoxFuture<'static, ()>,
    ) -> Result<(), LocalBoxFuture<'static, ()>> {
        drop(native_task::spawn_local(task));
        Ok(())
    }

    fn hooks(&self) -> Hooks<'_, LocalName> {
        // The executor is another one in each thread.
        thread_local!(static THREAD: u64 = crate::id::next());
        let key = QueueKey::Numbered("async-std local", THREAD.with(|thread| *thread));
        Hooks::adapted(key, self)
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
