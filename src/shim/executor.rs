//! The traits an executor implements, and the units of work it is handed.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::{self, Rc};
use std::sync::{Arc, Weak};
use std::time::Instant;

use futures_core::future::{BoxFuture, LocalBoxFuture};

use super::block::{self, BlockOnError};
use super::entered::{FrameExecutor, FrameLocal};
use super::local::deliver_remote_wakes;
use super::native::Native;
use super::queue::{Queue, QueueKey, queue_for};
use super::time::StdClock;

/// An executor: something that can run a closure.
///
/// Implement [`schedule`](Executor::schedule), wrap the executor in a
/// [`ContextAwareExecutor`](super::ContextAwareExecutor), and it has tasks, callbacks, timers and
/// blocking jobs that inherit the context of whoever submits them. Override [`clock`](Executor::clock)
/// and [`spawn_blocking`](Executor::spawn_blocking) if the executor has its own; the defaults share one
/// timer thread and one pool of blocking threads in the process, started on first use.
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
    /// Running it at once is allowed. Dropping it cancels its task, and so does a panic. Steps are to be run roughly in the
    /// order in which they were scheduled: one thread that always runs the newest first never comes to the others while a
    /// task wakes itself, or two wake each other.
    ///
    /// May use the crate, also to send work to this very executor: no lock is held. It is called in the context of
    /// whoever spawns, schedules or wakes, and must leave that as it was. It must not block on the executor.
    fn schedule(&self, task: Runnable);

    /// The clock that timers on this executor follow. May use the crate, as the clock may.
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(StdClock)
    }

    /// Arranges for [`Job::run`] to be called on a thread that may block.
    fn spawn_blocking(&self, job: Job) {
        spawn_blocking(job);
    }

    /// The native way to spawn, for executors that have an adapter in this crate.
    #[doc(hidden)]
    fn native(&self) -> Native<'_> {
        Native::None
    }

    /// How the frames of tasks on this executor name it, if not weakly by its wrapper.
    #[doc(hidden)]
    fn frame(&self) -> Option<FrameExecutor> {
        None
    }

    /// The local executor that this thread runs this one's tasks on, if they all stay on one.
    #[doc(hidden)]
    fn local(&self) -> Option<FrameLocal> {
        None
    }

    /// The executor's callback queue.
    #[doc(hidden)]
    fn queue(&self) -> Arc<Queue> {
        queue_for(self.queue_key(), || self.clock())
    }

    /// What tells this executor's callback queue from others.
    #[doc(hidden)]
    fn queue_key(&self) -> QueueKey {
        QueueKey::address(self)
    }

    /// Runs a future on the calling thread, driving the executor if that is how it runs.
    #[doc(hidden)]
    fn block_on(&self, future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        block::park_on(future)
    }
}

/// The blocking threads of executors that have none of their own.
pub(crate) fn spawn_blocking(job: Job) {
    blocking::unblock(move || job.run()).detach();
}

/// Forwards every method to what `self` points to; `$frame` names it for the frames of its tasks.
macro_rules! forward_executor {
    ([$($generics:tt)*] $pointer:ty, $this:ident => $frame:expr) => {
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

            fn native(&self) -> Native<'_> {
                (**self).native()
            }

            fn frame(&self) -> Option<FrameExecutor> {
                let $this = self;
                Some((**self).frame().unwrap_or_else(|| $frame))
            }

            fn local(&self) -> Option<FrameLocal> {
                (**self).local()
            }

            fn queue(&self) -> Arc<Queue> {
                (**self).queue()
            }

            fn queue_key(&self) -> QueueKey {
                (**self).queue_key()
            }

            fn block_on(
                &self,
                future: Pin<&mut dyn Future<Output = ()>>,
            ) -> Result<(), BlockOnError> {
                (**self).block_on(future)
            }
        }
    };
}

// Weak, because an executor that owns its tasks would otherwise keep itself alive through them.
forward_executor!([E: Executor] Arc<E>, this => FrameExecutor::Weak(Arc::downgrade(this) as Weak<dyn Executor>));
forward_executor!([E: Executor] &'static E, this => FrameExecutor::Static(*this));
forward_executor!([] Arc<dyn Executor>, this => FrameExecutor::Weak(Arc::downgrade(this)));
forward_executor!([] &'static dyn Executor, this => FrameExecutor::Static(*this));

/// An executor of tasks that stay on one thread.
///
/// # Waking from other threads
///
/// [`schedule_local`](LocalExecutor::schedule_local) is called on the executor's own thread only. A wake-up from
/// another thread, a timer's for example, unparks this one. An executor that has nothing to run calls
/// [`deliver_remote_wakes`](super::deliver_remote_wakes), and parks only if that brings nothing. An executor that can poll
/// futures itself, as the ones with an adapter here do, should implement
/// [`spawn_local`](LocalExecutor::spawn_local) as well: then its tasks can be woken from anywhere.
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
    /// Arranges for [`LocalRunnable::run`] to be called, soon, once and on this thread, but not before this
    /// returns. Dropping it cancels its task. Roughly in the order in which they were scheduled, and it may use the crate:
    /// see [`Executor::schedule`].
    fn schedule_local(&self, task: LocalRunnable);

    /// Arranges for `task` to be polled to completion on this thread; dropping it cancels the task.
    ///
    /// # Errors
    ///
    /// Gives the task back if the executor can only run steps, as the default does; they are then
    /// scheduled by [`schedule_local`](LocalExecutor::schedule_local).
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

    /// Where `shim::spawn` goes from a task on this executor; `None` leaves it to the search.
    #[doc(hidden)]
    fn frame(&self) -> Option<FrameExecutor> {
        None
    }

    /// How the frames of tasks on this executor name it, if not by its wrapper.
    #[doc(hidden)]
    fn frame_local(&self) -> Option<FrameLocal> {
        None
    }

    /// Whether this is a handle that owns no tasks, so that their frames can keep it.
    #[doc(hidden)]
    fn is_handle(&self) -> bool {
        false
    }

    /// The executor's callback queue.
    #[doc(hidden)]
    fn queue(&self) -> Arc<Queue> {
        queue_for(self.queue_key(), || self.clock())
    }

    /// What tells this executor's callback queue from others.
    #[doc(hidden)]
    fn queue_key(&self) -> QueueKey {
        QueueKey::address(self)
    }

    /// Runs a future on the calling thread, and the executor with it.
    #[doc(hidden)]
    fn block_on(&self, _: Pin<&mut dyn Future<Output = ()>>) -> Result<(), BlockOnError> {
        Err(BlockOnError::unsupported())
    }
}

/// Forwards every method to what `self` points to; `$frame` names it for the frames of its tasks.
macro_rules! forward_local_executor {
    ($pointer:ty, $this:ident => $frame:expr) => {
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

            fn frame(&self) -> Option<FrameExecutor> {
                (**self).frame()
            }

            fn frame_local(&self) -> Option<FrameLocal> {
                let $this = self;
                Some((**self).frame_local().unwrap_or_else(|| $frame))
            }

            fn queue(&self) -> Arc<Queue> {
                (**self).queue()
            }

            fn queue_key(&self) -> QueueKey {
                (**self).queue_key()
            }

            fn block_on(
                &self,
                future: Pin<&mut dyn Future<Output = ()>>,
            ) -> Result<(), BlockOnError> {
                (**self).block_on(future)
            }
        }
    };
}

forward_local_executor!(Rc<E>, this => FrameLocal::Rc(Rc::downgrade(this) as rc::Weak<dyn LocalExecutor>));
forward_local_executor!(Arc<E>, this => FrameLocal::Weak(Arc::downgrade(this) as Weak<dyn LocalExecutor>));
forward_local_executor!(&'static E, this => FrameLocal::Static(*this));

/// A clock, and timers that follow it. It may use the crate: no lock is held when it is asked.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
/// use aiocontextvars::shim::Clock;
/// use futures::future::BoxFuture;
///
/// /// Runs ten times as fast as the others.
/// struct Hurried {
///     start: Instant,
/// }
///
/// impl Clock for Hurried {
///     fn now(&self) -> Instant {
///         self.start + self.start.elapsed() * 10
///     }
///
///     fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
///         let left = at.saturating_duration_since(self.now()) / 10;
///         Box::pin(futures_timer::Delay::new(left))
///     }
/// }
///
/// let clock = Hurried { start: Instant::now() };
/// futures::executor::block_on(clock.sleep_until(clock.now() + Duration::from_millis(10)));
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Instant;

    /// Completes when [`now`](Clock::now) reaches `at`.
    ///
    /// # Panics
    ///
    /// The future of a clock whose runtime cannot serve timers panics here, at the call.
    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()>;
}

/// One step of a task, to be run by an [`Executor`].
///
/// Both [`run`](Runnable::run) and dropping it, which cancels the task, act inside the task's context.
///
/// # Examples
///
/// See [`Executor`].
#[must_use = "a runnable that is dropped cancels its task; call `run`"]
pub struct Runnable(pub(crate) async_task::Runnable);

impl Runnable {
    /// Polls the task.
    pub fn run(self) {
        block::step(|| self.0.run());
    }
}

impl fmt::Debug for Runnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runnable").finish_non_exhaustive()
    }
}

/// One step of a task that stays on its thread, to be run by a [`LocalExecutor`].
///
/// # Examples
///
/// See [`LocalExecutor`].
#[must_use = "a runnable that is dropped cancels its task; call `run`"]
pub struct LocalRunnable {
    task: async_task::Runnable,
    /// Tasks that stay on a thread are run and dropped there.
    _not_send: PhantomData<*const ()>,
}

impl LocalRunnable {
    pub(crate) fn new(task: async_task::Runnable) -> LocalRunnable {
        LocalRunnable {
            task,
            _not_send: PhantomData,
        }
    }

    /// Polls the task.
    pub fn run(self) {
        deliver_remote_wakes();
        self.task.run();
    }

    pub(crate) fn into_step(self) -> async_task::Runnable {
        self.task
    }
}

impl fmt::Debug for LocalRunnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalRunnable").finish_non_exhaustive()
    }
}

/// A blocking job, to be run by an [`Executor`] on a thread that may block.
///
/// Dropping it cancels the job. In a shared context that is entered elsewhere, the job steps aside: it
/// is handed to the executor again when the context is free.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use aiocontextvars::shim::{ContextAwareExecutor, Executor, Job, Runnable};
///
/// /// One thread for tasks, and one for blocking jobs.
/// struct TwoThreads {
///     tasks: mpsc::Sender<Runnable>,
///     jobs: mpsc::Sender<Job>,
/// }
///
/// impl Executor for TwoThreads {
///     fn schedule(&self, task: Runnable) {
///         let _ = self.tasks.send(task);
///     }
///
///     fn spawn_blocking(&self, job: Job) {
///         let _ = self.jobs.send(job);
///     }
/// }
///
/// let (tasks, runnables) = mpsc::channel::<Runnable>();
/// let (jobs, blocking) = mpsc::channel::<Job>();
/// std::thread::spawn(move || runnables.into_iter().for_each(Runnable::run));
/// std::thread::spawn(move || blocking.into_iter().for_each(Job::run));
///
/// let executor = ContextAwareExecutor::new(TwoThreads { tasks, jobs });
/// let task = executor.spawn(async { aiocontextvars::shim::spawn_blocking(|| 1).await });
/// assert_eq!(executor.block_on(task).unwrap().unwrap(), 1);
/// ```
#[must_use = "a job that is dropped is cancelled; call `run`"]
pub struct Job(pub(crate) async_task::Runnable);

impl Job {
    /// Runs the job.
    pub fn run(self) {
        let _job = block::job();
        self.0.run();
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}
