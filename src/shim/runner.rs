//! [`Runner`]: several runs in one context, as asyncio's.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::block::{self, BlockOnError};
use super::context_aware::ContextAwareExecutor;
use super::event_loop::EventLoop;
use super::executor::{Executor, LocalExecutor};
use super::task::{TaskFuture, TaskScope};
use crate::current;
use crate::shared::SharedContext;
use crate::task_context::TaskContext;

/// Runs futures one after another in one context, so that each sees what the ones before it have
/// set. asyncio's `Runner`.
///
/// The context is a copy of the one that is current at the first use. What is set outside later is
/// not seen inside, and what is set inside stays inside. [`block_on`](super::block_on), in
/// contrast, takes a fresh copy at each call.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{context_var, shim::Runner};
///
/// context_var! { static VISITS: u32 = 0; }
///
/// let mut runner = Runner::new();
/// for n in 1..=3 {
///     let visits = runner.run(async {
///         VISITS.set(VISITS.get() + 1);
///         VISITS.get()
///     });
///     assert_eq!(visits, n);
/// }
/// assert_eq!(VISITS.get(), 0);
/// ```
pub struct Runner {
    block: Box<BlockFn>,
    /// The frame of the runs, unless `block` enters one.
    scope: Option<Rc<dyn Any>>,
    /// `None` before the first use.
    context: Option<SharedContext>,
}

type BlockFn = dyn FnMut(Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError>;

impl Runner {
    /// A runner with an event loop of its own. Tasks and callbacks that are left after a run go on
    /// in the next; they are dropped with the runner.
    ///
    /// # Examples
    ///
    /// See [`Runner`].
    pub fn new() -> Runner {
        let event_loop = EventLoop::new();
        let scope = event_loop.scope();
        Runner::with(move |future| event_loop.block(future), Some(Rc::new(scope)))
    }

    /// A runner on `executor`.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "futures-executor")] {
    /// use aiocontextvars::shim::{ContextAwareExecutor, Runner};
    /// use futures::executor::ThreadPool;
    ///
    /// let pool = ContextAwareExecutor::new(ThreadPool::new().unwrap());
    /// assert_eq!(Runner::on(pool).run(async { 1 }), 1);
    /// # }
    /// ```
    pub fn on<E: Executor>(executor: ContextAwareExecutor<E>) -> Runner {
        let scope = executor.on_executor().scope();
        Runner::with(
            move |future| executor.get_ref().hooks().block_on(future),
            Some(Rc::new(scope)),
        )
    }

    /// The same on a local executor, whose tasks run meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "smol")] {
    /// use std::rc::Rc;
    /// use aiocontextvars::shim::{self, ContextAwareExecutor, Runner};
    ///
    /// let executor = ContextAwareExecutor::new(Rc::new(smol::LocalExecutor::new()));
    /// let mut runner = Runner::on_local(executor);
    /// let output = runner.run(async { shim::spawn_local(async { 1 }).await });
    /// assert_eq!(output.unwrap(), 1);
    /// # }
    /// ```
    pub fn on_local<E: LocalExecutor>(executor: ContextAwareExecutor<E>) -> Runner {
        let scope = executor.scope();
        Runner::with(
            move |future| executor.get_ref().hooks().block_on(future),
            Some(Rc::new(scope)),
        )
    }

    /// A runner on whatever `block_on` runs futures on, as a runtime that has to be driven by its
    /// own `block_on`, or one that this crate does not know.
    ///
    /// The closure is called apart from the caller's context: what else the runtime runs there, as
    /// tasks that the shim did not spawn, finds no values and cannot set any.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "tokio")] {
    /// use aiocontextvars::shim::Runner;
    ///
    /// let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// let mut runner = Runner::from_block_on(move |future| runtime.block_on(future));
    /// assert_eq!(runner.run(async { tokio::spawn(async { 1 }).await.unwrap() }), 1);
    /// # }
    /// ```
    pub fn from_block_on(
        mut block_on: impl FnMut(Pin<&mut dyn Future<Output = ()>>) + 'static,
    ) -> Runner {
        Runner::with(
            move |future| {
                current::enter_run(|| block_on(future));
                Ok(())
            },
            None,
        )
    }

    fn with(
        block: impl FnMut(Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> + 'static,
        scope: Option<Rc<dyn Any>>,
    ) -> Runner {
        Runner {
            block: Box::new(block),
            scope,
            context: None,
        }
    }

    /// The context of the runs: a copy of the current one, taken now, if this is the first use.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{context_var, shim::Runner};
    ///
    /// context_var! { static ID: u64; }
    ///
    /// let mut runner = Runner::new();
    /// runner.run(async { ID.set(7); });
    /// assert_eq!(runner.context().get(&ID), Some(7));
    /// ```
    pub fn context(&mut self) -> &SharedContext {
        self.context
            .get_or_insert_with(|| current::inherit().share())
    }

    /// Runs `future` to completion on this thread, in the runner's context.
    ///
    /// # Panics
    ///
    /// Where [`try_run`](Self::try_run) gives an error.
    ///
    /// # Examples
    ///
    /// See [`Runner`].
    #[track_caller]
    pub fn run<F: Future>(&mut self, future: F) -> F::Output {
        let context = self.context().clone();
        self.run_in(context, future)
    }

    /// Runs `future` to completion on this thread, in `context`; the runner's own is not touched.
    ///
    /// # Panics
    ///
    /// Where [`try_run`](Self::try_run) gives an error.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{SharedContext, context_var, shim::Runner};
    ///
    /// context_var! { static ID: u64; }
    ///
    /// let (mut runner, other) = (Runner::new(), SharedContext::new());
    /// runner.run_in(&other, async { ID.set(7); });
    /// assert_eq!(other.get(&ID), Some(7));
    /// assert_eq!(runner.run(async { ID.get() }), None);
    /// ```
    #[track_caller]
    pub fn run_in<C: TaskContext, F: Future>(&mut self, context: C, future: F) -> F::Output {
        match self.try_run_in(context, future) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// If this thread may not block here, as in a task of an event loop. The future has not been
    /// polled then. Or if the closure of [`from_block_on`](Self::from_block_on) returns before the
    /// future has completed.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim::Runner;
    ///
    /// let nested = Runner::new().run(async { Runner::new().try_run(async {}) });
    /// assert!(nested.unwrap_err().to_string().contains("await"));
    /// ```
    pub fn try_run<F: Future>(&mut self, future: F) -> Result<F::Output, BlockOnError> {
        let context = self.context().clone();
        self.try_run_in(context, future)
    }

    fn try_run_in<C: TaskContext, F: Future>(
        &mut self,
        context: C,
        future: F,
    ) -> Result<F::Output, BlockOnError> {
        let scope = RunnerScope(self.scope.clone());
        let future = TaskFuture::to_block_on(context, scope, future);
        block::run(&mut self.block, future)
    }
}

/// The scope of the runner's executor, if it has one.
struct RunnerScope(Option<Rc<dyn Any>>);

impl TaskScope for RunnerScope {
    fn polled(&self) -> Option<&dyn Any> {
        self.0.as_deref()
    }
}

impl Default for Runner {
    fn default() -> Runner {
        Runner::new()
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}
