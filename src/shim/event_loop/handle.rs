//! [`LoopHandle`]: an event loop, to other threads.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::Shared;
use crate::shim::call_handle::CallHandle;
use crate::shim::clock::Clock;
use crate::shim::context_aware::ContextAwareExecutor;
use crate::shim::executor::{Executor, ExecutorName, Hooks};
use crate::shim::join::JoinHandle;
use crate::shim::platform::Instant;
use crate::shim::runnable::Runnable;
use crate::task_context::TaskContext;

/// A handle to an [`EventLoop`](super::EventLoop), for other threads and for
/// [`ContextAwareExecutor`].
///
/// A handle that outlives its loop is harmless: what it submits is dropped.
///
/// # Examples
///
/// ```
/// use aiocontextvars::event_loop::EventLoop;
///
/// let event_loop = EventLoop::new();
/// let handle = event_loop.handle();
/// std::thread::spawn(move || handle.call_soon_threadsafe({
///     let handle = handle.clone();
///     move || handle.stop()
/// }));
/// event_loop.run_forever();
/// ```
#[derive(Clone)]
pub struct LoopHandle(pub(super) Arc<Shared>);

impl Executor for LoopHandle {
    fn schedule(&self, task: Runnable) {
        self.0.schedule(task);
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.0.clock()
    }

    fn hooks(&self) -> Hooks<'_, ExecutorName> {
        self.0.hooks()
    }
}

impl LoopHandle {
    fn aware(&self) -> ContextAwareExecutor<LoopHandle> {
        ContextAwareExecutor::new(self.clone())
    }

    /// Spawns a task on the loop, in a copy of the calling thread's context, taken now.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, event_loop::EventLoop, shim};
    /// # context_var! { static ID: u64; }
    /// # let event_loop = EventLoop::new();
    /// let handle = event_loop.handle();
    /// let spawned = std::thread::spawn(move || {
    ///     ID.set(7);
    ///     handle.spawn(async { ID.get() })
    /// });
    /// let task = spawned.join().unwrap();
    /// assert_eq!(event_loop.run_until_complete(task).unwrap(), Some(7));
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.aware().spawn(future)
    }

    /// Spawns a task on the loop, in `context`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, event_loop::EventLoop, shim};
    /// # context_var! { static ID: u64; }
    /// # let event_loop = EventLoop::new();
    /// let handle = event_loop.handle();
    /// let task = handle.spawn_in(Context::new().with_value(&ID, 8), async { ID.get() });
    /// assert_eq!(event_loop.run_until_complete(task).unwrap(), Some(8));
    /// ```
    #[track_caller]
    pub fn spawn_in<C: TaskContext, F>(&self, context: C, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.aware().spawn_in(context, future)
    }

    /// Schedules `f` from any thread, in a copy of that thread's context, taken now, and
    /// wakes the loop.
    ///
    /// # Examples
    ///
    /// See [`LoopHandle`].
    #[track_caller]
    pub fn call_soon_threadsafe(&self, f: impl FnOnce() + Send + 'static) -> CallHandle {
        self.aware().call_soon(f)
    }

    /// Schedules `f` from any thread, in `context`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, event_loop::EventLoop, shim};
    /// # context_var! { static ID: u64; }
    /// # let event_loop = EventLoop::new();
    /// let handle = event_loop.handle();
    /// handle.call_soon_threadsafe_in(Context::new(), || assert_eq!(ID.get(), None));
    /// event_loop.run_until_complete(shim::yield_now());
    /// ```
    #[track_caller]
    pub fn call_soon_threadsafe_in<C: TaskContext>(
        &self,
        context: C,
        f: impl FnOnce() + Send + 'static,
    ) -> CallHandle {
        self.aware().call_soon_in(context, f)
    }

    /// The loop's present moment.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var, event_loop::EventLoop, shim};
    /// # context_var! { static ID: u64; }
    /// # let event_loop = EventLoop::new();
    /// let handle = event_loop.handle();
    /// let before = event_loop.time();
    /// assert!(handle.time() >= before);
    /// ```
    pub fn time(&self) -> Instant {
        self.0.clock.now()
    }

    /// Makes the run that is under way, or the next one, return after this turn.
    ///
    /// # Examples
    ///
    /// See [`LoopHandle`].
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Whether the loop has been closed or dropped: what is submitted is dropped.
    ///
    /// # Examples
    ///
    /// See [`EventLoop::close`](super::EventLoop::close).
    pub fn is_closed(&self) -> bool {
        self.0.tasks.is_closed()
    }
}

impl fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopHandle").finish_non_exhaustive()
    }
}
