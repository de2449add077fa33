//! [`LocalSet`]: tokio's, whose tasks inherit.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

use ::tokio::runtime;
use ::tokio::task::{self as native, JoinHandle, LocalEnterGuard};
use pin_project_lite::pin_project;

use crate::shim::adapters::tokio::Runtime;
use crate::shim::facade;

pin_project! {
    /// `tokio::task::LocalSet`, whose tasks each start in a copy of the context that is current
    /// where they are spawned.
    ///
    /// Its methods are tokio's, and so is what they return. In it,
    /// [`spawn_local`](super::spawn_local) inherits too; tokio's own spawns bare tasks. A
    /// future that is [run](Self::run_until) in it is part of the task that runs it, and shares its
    /// context.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use aiocontextvars::shim::tokio::task::LocalSet;
    /// use aiocontextvars::task_local;
    ///
    /// task_local! { static REQUEST_ID: u64; }
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// let local = LocalSet::new();
    /// let task = REQUEST_ID.sync_scope(7, || local.spawn_local(async { Rc::new(REQUEST_ID.get()) }));
    /// assert_eq!(*local.block_on(&runtime, task).unwrap(), 7);
    /// ```
    #[must_use = "its tasks are run while it is awaited, or a future is run in it"]
    pub struct LocalSet {
        #[pin]
        set: native::LocalSet,
    }
}

impl LocalSet {
    /// An empty set.
    pub fn new() -> LocalSet {
        LocalSet {
            set: native::LocalSet::new(),
        }
    }

    pub(super) fn native(&self) -> &native::LocalSet {
        &self.set
    }

    /// Sends what [`spawn_local`](super::spawn_local) spawns on this thread to the set, until the
    /// guard is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim::tokio::task::{self, LocalSet};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// let local = LocalSet::new();
    /// let entered = local.enter();
    /// let task = task::spawn_local(async { 1 });
    /// drop(entered);
    /// assert_eq!(local.block_on(&runtime, task).unwrap(), 1);
    /// ```
    pub fn enter(&self) -> LocalEnterGuard {
        self.set.enter()
    }

    /// Spawns a task on the set, in a copy of the current context, taken now. It runs when the set
    /// does.
    ///
    /// # Examples
    ///
    /// See [`LocalSet`].
    #[track_caller]
    pub fn spawn_local<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.set
            .spawn_local(facade::local_task::<Runtime, _>(future))
    }

    /// Runs `future` on `runtime` and on this thread, and the tasks of the set beside it.
    ///
    /// # Panics
    ///
    /// Inside of a runtime.
    ///
    /// # Examples
    ///
    /// See [`LocalSet`].
    #[track_caller]
    pub fn block_on<F: Future>(&self, runtime: &runtime::Runtime, future: F) -> F::Output {
        self.set.block_on(runtime, future)
    }

    /// Runs `future`, and the tasks of the set beside it.
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as `future`. The tasks stay in the set.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::shim::tokio::task::{self, LocalSet};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let one = LocalSet::new().run_until(async { task::spawn_local(async { 1 }).await }).await;
    /// assert_eq!(one.unwrap(), 1);
    /// # });
    /// ```
    pub async fn run_until<F: Future>(&self, future: F) -> F::Output {
        self.set.run_until(future).await
    }

    /// Tells the set from other sets and runtimes.
    pub fn id(&self) -> runtime::Id {
        self.set.id()
    }
}

/// Runs the tasks of the set until all have ended.
impl Future for LocalSet {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        self.project().set.poll(cx)
    }
}

impl Default for LocalSet {
    fn default() -> LocalSet {
        LocalSet::new()
    }
}

impl fmt::Debug for LocalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.set.fmt(f)
    }
}
