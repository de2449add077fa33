//! The contracts of executors: [`Executor`], [`LocalExecutor`], [`Clock`], and [`Adapter`] for
//! those that this crate knows.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::ptr;
use std::rc::{self, Rc};
use std::sync::{Arc, Weak};

use futures_core::future::LocalBoxFuture;

use super::block::{self, BlockOnError};
use super::clock::{Clock, StdClock};
use super::platform;
use super::runnable::{Job, LocalRunnable, Runnable};
use super::task_list::TaskList;
use crate::current;

/// An executor: something that can run a closure.
///
/// Implement [`schedule`](Executor::schedule), wrap the executor in a
/// [`ContextAwareExecutor`](super::ContextAwareExecutor), and it has tasks, callbacks, timers and
/// blocking jobs that inherit the context that they are submitted from. Override
/// [`clock`](Executor::clock) and [`spawn_blocking`](Executor::spawn_blocking) if the executor has
/// its own; the defaults share one timer thread and one pool of blocking threads in the process,
/// started on first use. The pool has at most 500 threads, which end when they have been idle for
/// 10 seconds; more jobs than that wait for their turn.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use aiocontextvars::shim::{ContextAwareExecutor, Executor, Runnable};
/// use aiocontextvars::context_var;
///
/// context_var! { static LEVEL: u8; }
///
/// struct OneThread(mpsc::Sender<Runnable>);
///
/// impl Executor for OneThread {
///     fn schedule(&self, task: Runnable) {
///         // If the thread is gone, the runnable is dropped: its task is cancelled.
///         let _ = self.0.send(task);
///     }
/// }
///
/// let (sender, receiver) = mpsc::channel::<Runnable>();
/// std::thread::spawn(move || receiver.into_iter().for_each(|task| task.run()));
///
/// let executor = ContextAwareExecutor::new(OneThread(sender));
/// LEVEL.set(3);
/// let level = executor.block_on(executor.spawn(async { LEVEL.get() }));
/// assert_eq!(level.unwrap(), Some(3));
/// ```
pub trait Executor: Send + Sync + 'static {
    /// Arranges for [`Runnable::run`] to be called, soon, once and on any thread.
    ///
    /// Running it at once is allowed. Dropping it cancels its task, and so does a panic. Runnables
    /// are to be run roughly in the order in which they were scheduled: one thread that always runs
    /// the newest first starves the others while a task wakes itself, or two wake each other.
    ///
    /// May use the crate, also to send work to this very executor: no lock is held. It is called in
    /// the context of the code that spawns, schedules or wakes, and must leave that as it was. It
    /// must not block on the executor.
    fn schedule(&self, task: Runnable);

    /// The clock that timers on this executor follow. May use the crate, as the clock may.
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(StdClock)
    }

    /// Arranges for [`Job::run`] to be called on a thread that may block.
    ///
    /// A job that is dropped is cancelled, and so is one for which this panics. The default panics
    /// if the process has no thread for the job and can start none.
    fn spawn_blocking(&self, job: Job) {
        spawn_blocking(job);
    }

    /// What the crate knows of this executor beside what is above.
    #[doc(hidden)]
    fn hooks(&self) -> Hooks<'_, ExecutorName> {
        Hooks::new(QueueKey::address(self))
    }
}

/// Runs `job` on the blocking threads of executors that have none of their own.
pub(crate) fn spawn_blocking(job: Job) {
    if let Err(error) = platform::submit(move || job.run()) {
        panic!("{error}");
    }
}

/// An executor of tasks that stay on one thread.
///
/// # Waking from other threads
///
/// [`schedule_local`](LocalExecutor::schedule_local) is called on the executor's own thread only. A
/// wake-up from another thread, a timer's for example, unparks this one. An executor that has
/// nothing to run calls [`deliver_remote_wakes`](super::deliver_remote_wakes), and parks only if
/// there is still nothing to run. An executor that can poll futures itself, as the ones with an
/// adapter here do, should implement [`spawn_local`](LocalExecutor::spawn_local) as well: then its
/// tasks can be woken from anywhere.
///
/// # Examples
///
/// ```
/// use std::{cell::RefCell, collections::VecDeque, rc::Rc, thread, time::Duration};
/// use aiocontextvars::shim::{self, ContextAwareExecutor, LocalExecutor, LocalRunnable};
///
/// #[derive(Default)]
/// struct Steps(RefCell<VecDeque<LocalRunnable>>);
///
/// impl LocalExecutor for Steps {
///     fn schedule_local(&self, task: LocalRunnable) {
///         self.0.borrow_mut().push_back(task);
///     }
/// }
///
/// let steps = Rc::new(Steps::default());
/// let executor = ContextAwareExecutor::new(Rc::clone(&steps));
/// let task = executor.spawn_local(shim::sleep(Duration::from_millis(1)));
/// while !task.is_finished() {
///     let step = steps.0.borrow_mut().pop_front();
///     match step {
///         Some(step) => step.run(),
///         None => {
///             // Also before parking: a step that blocks may have used up the wake-up of this thread.
///             shim::deliver_remote_wakes();
///             if steps.0.borrow().is_empty() {
///                 thread::park();
///             }
///         }
///     }
/// }
/// ```
pub trait LocalExecutor: 'static {
    /// Arranges for [`LocalRunnable::run`] to be called, soon, once and on this thread, but not
    /// before this returns. Dropping it cancels its task. Roughly in the order in which they were
    /// scheduled, and it may use the crate: see [`Executor::schedule`].
    fn schedule_local(&self, task: LocalRunnable);

    /// Arranges for `task` to be polled to completion on this thread; dropping it cancels the task.
    ///
    /// # Errors
    ///
    /// Gives the task back if the executor can only run runnables, as the default does; they are
    /// then scheduled by [`schedule_local`](LocalExecutor::schedule_local).
    fn spawn_local(
        &self,
        task: LocalBoxFuture<'static, ()>,
    ) -> Result<(), LocalBoxFuture<'static, ()>> {
        Err(task)
    }

    /// The clock that timers on this executor follow.
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(StdClock)
    }

    /// What the crate knows of this executor beside what is above.
    #[doc(hidden)]
    fn hooks(&self) -> Hooks<'_, LocalName> {
        Hooks::new(QueueKey::address(self))
    }
}

/// What the crate knows of an executor beside the methods of its trait. `N` is how frames name the
/// executor.
pub struct Hooks<'a, N> {
    /// What tells the executor's callback queue from others.
    pub(crate) queue: QueueKey,
    pub(crate) adapter: Option<&'a dyn Adapter>,
    pointer: Option<&'a dyn Pointer<N>>,
}

/// What this crate's adapter of an executor knows of it.
pub(crate) trait Adapter {
    /// What the executor's runtime spawns tasks on.
    fn native(&self) -> Option<&dyn Any> {
        None
    }

    /// The executor that work from its tasks goes to, if that is a value.
    fn executor(&self) -> Option<ExecutorName> {
        None
    }

    /// The local executor that this thread runs the executor's tasks on, if they all stay on one
    /// thread. Asked on any thread: `None` on all others.
    fn local(&self) -> Option<LocalName> {
        None
    }

    /// The list of its tasks, if the executor is an event loop of this thread.
    fn task_list(&self) -> Option<&Arc<TaskList>> {
        None
    }

    /// Whether the executor is a handle that owns no tasks, so that their frames can keep it alive.
    fn is_handle(&self) -> bool {
        false
    }

    /// Its callback queue, if the executor drives that itself.
    fn queue(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }

    /// Runs a future on the calling thread, and the executor with it if that is how it runs.
    ///
    /// # Errors
    ///
    /// If the executor cannot be run from here. The future has not been polled then.
    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError>;
}

/// A pointer to an executor, which can name it.
trait Pointer<N> {
    fn name(&self) -> N;
}

impl<'a, N> Hooks<'a, N> {
    /// For an executor without an adapter.
    pub(crate) fn new(queue: QueueKey) -> Hooks<'a, N> {
        Hooks {
            queue,
            adapter: None,
            pointer: None,
        }
    }

    /// For an executor with an adapter.
    pub(crate) fn adapted(queue: QueueKey, adapter: &'a dyn Adapter) -> Hooks<'a, N> {
        Hooks {
            adapter: Some(adapter),
            ..Hooks::new(queue)
        }
    }

    /// The same for a pointer to the executor.
    fn behind(self, pointer: &'a dyn Pointer<N>) -> Hooks<'a, N> {
        Hooks {
            pointer: self.pointer.or(Some(pointer)),
            ..self
        }
    }

    /// The name that a pointer gives to the executor.
    pub(crate) fn pointer_name(&self) -> Option<N> {
        self.pointer.map(Pointer::name)
    }
}

impl Hooks<'_, ExecutorName> {
    pub(crate) fn block_on(
        &self,
        future: Pin<&mut dyn Future<Output = ()>>,
    ) -> Result<(), BlockOnError> {
        match self.adapter {
            Some(adapter) => current::enter_run(|| adapter.block_on(future)),
            None => block::park_on(future),
        }
    }
}

impl Hooks<'_, LocalName> {
    pub(crate) fn block_on(
        &self,
        future: Pin<&mut dyn Future<Output = ()>>,
    ) -> Result<(), BlockOnError> {
        match self.adapter {
            Some(adapter) => current::enter_run(|| adapter.block_on(future)),
            None => Err(BlockOnError::unsupported()),
        }
    }
}

impl<N> fmt::Debug for Hooks<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

/// How frames name an executor that is a value.
#[derive(Clone)]
pub enum ExecutorName {
    Static(&'static dyn Executor),
    /// Weak, because an executor that owns its tasks would otherwise keep itself alive through
    /// them.
    Weak(Weak<dyn Executor>),
}

/// How frames name a local executor.
#[derive(Clone)]
pub enum LocalName {
    Static(&'static dyn LocalExecutor),
    Rc(rc::Weak<dyn LocalExecutor>),
    Weak(Weak<dyn LocalExecutor>),
    /// For handles that do not keep the executor alive themselves.
    Strong(Arc<dyn LocalExecutor>),
}

/// A local executor that is known to be alive.
#[derive(Clone)]
pub(crate) enum LocalRef {
    Static(&'static dyn LocalExecutor),
    Rc(Rc<dyn LocalExecutor>),
    Arc(Arc<dyn LocalExecutor>),
}

impl LocalName {
    pub(crate) fn upgrade(&self) -> Option<LocalRef> {
        match self {
            LocalName::Static(local) => Some(LocalRef::Static(*local)),
            LocalName::Rc(local) => local.upgrade().map(LocalRef::Rc),
            LocalName::Weak(local) => local.upgrade().map(LocalRef::Arc),
            LocalName::Strong(local) => Some(LocalRef::Arc(Arc::clone(local))),
        }
    }

    /// Does not upgrade: to drop the reference might be to destroy the executor.
    pub(crate) fn is_alive(&self) -> bool {
        match self {
            LocalName::Static(_) | LocalName::Strong(_) => true,
            LocalName::Rc(local) => local.strong_count() > 0,
            LocalName::Weak(local) => local.strong_count() > 0,
        }
    }
}

impl Deref for LocalRef {
    type Target = dyn LocalExecutor;

    fn deref(&self) -> &(dyn LocalExecutor + 'static) {
        match self {
            LocalRef::Static(local) => *local,
            LocalRef::Rc(local) => &**local,
            LocalRef::Arc(local) => &**local,
        }
    }
}

impl fmt::Debug for ExecutorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExecutorName { .. }")
    }
}

impl fmt::Debug for LocalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalName { .. }")
    }
}

/// What tells the callback queue of one executor from others.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum QueueKey {
    /// An executor that is a value. Those without a size share addresses, but not with others of
    /// their type. Unless the executor is a static, a driver keeps the address from being another's,
    /// as its task has a reference. A reservation does not: with nothing else left of an executor,
    /// one at its address takes the queue over.
    Value(TypeId, usize),
    /// An executor of a runtime with a number of its own, or the only one.
    Numbered(&'static str, u64),
}

impl QueueKey {
    /// For an executor that is a value.
    pub(crate) fn address<E: ?Sized + 'static>(executor: &E) -> QueueKey {
        QueueKey::Value(TypeId::of::<E>(), ptr::from_ref(executor).addr())
    }
}

/// Forwards each method of an executor to what `self` points to; `$name` names that.
macro_rules! forward_executor {
    ([$($generics:tt)*] $pointer:ty, $this:ident => $name:expr) => {
        impl<$($generics)*> Executor for $pointer {
            fn schedule(&self, task: Runnable) {
                (**self).schedule(task);
            }

            fn clock(&self) -> Arc<dyn Clock> {
                (**self).clock()
            }

            fn spawn_blocking(&self, job: Job) {
                (**self).spawn_blocking(job);
            }

            fn hooks(&self) -> Hooks<'_, ExecutorName> {
                (**self).hooks().behind(self)
            }
        }

        impl<$($generics)*> Pointer<ExecutorName> for $pointer {
            fn name(&self) -> ExecutorName {
                let $this = self;
                $name
            }
        }
    };
}

forward_executor!([E: Executor] Arc<E>, this => ExecutorName::Weak(Arc::downgrade(this) as Weak<dyn Executor>));
forward_executor!([E: Executor] &'static E, this => ExecutorName::Static(*this));
forward_executor!([] Arc<dyn Executor>, this => ExecutorName::Weak(Arc::downgrade(this)));
forward_executor!([] &'static dyn Executor, this => ExecutorName::Static(*this));

/// The same for a local executor.
macro_rules! forward_local_executor {
    ($pointer:ty, $this:ident => $name:expr) => {
        impl<E: LocalExecutor> LocalExecutor for $pointer {
            fn schedule_local(&self, task: LocalRunnable) {
                (**self).schedule_local(task);
            }

            fn spawn_local(
                &self,
                task: LocalBoxFuture<'static, ()>,
            ) -> Result<(), LocalBoxFuture<'static, ()>> {
                (**self).spawn_local(task)
            }

            fn clock(&self) -> Arc<dyn Clock> {
                (**self).clock()
            }

            fn hooks(&self) -> Hooks<'_, LocalName> {
                (**self).hooks().behind(self)
            }
        }

        impl<E: LocalExecutor> Pointer<LocalName> for $pointer {
            fn name(&self) -> LocalName {
                let $this = self;
                $name
            }
        }
    };
}

forward_local_executor!(Rc<E>, this => LocalName::Rc(Rc::downgrade(this) as rc::Weak<dyn LocalExecutor>));
forward_local_executor!(Arc<E>, this => LocalName::Weak(Arc::downgrade(this) as Weak<dyn LocalExecutor>));
forward_local_executor!(&'static E, this => LocalName::Static(*this));
