//! The units of work that an executor is handed.

use std::fmt;
use std::marker::PhantomData;

use super::inline;
use super::remote_wakes::deliver_remote_wakes;
use super::thread_state;

/// A task that is ready to be polled once, by an [`Executor`](super::Executor).
///
/// Both [`run`](Runnable::run) and dropping it, which cancels the task, act inside the task's
/// context.
///
/// # Examples
///
/// See [`Executor`](super::Executor).
#[must_use = "a runnable that is dropped cancels its task; call `run`"]
pub struct Runnable(pub(crate) async_task::Runnable);

impl Runnable {
    /// Polls the task.
    pub fn run(self) {
        inline::run(|| self.0.run());
    }
}

impl fmt::Debug for Runnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runnable").finish_non_exhaustive()
    }
}

/// A task of this thread that is ready to be polled once, by a
/// [`LocalExecutor`](super::LocalExecutor).
///
/// # Examples
///
/// See [`LocalExecutor`](super::LocalExecutor).
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

    pub(crate) fn into_inner(self) -> async_task::Runnable {
        self.task
    }
}

impl fmt::Debug for LocalRunnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalRunnable").finish_non_exhaustive()
    }
}

/// A blocking job, to be run by an [`Executor`](super::Executor) on a thread that may block.
///
/// Dropping it cancels the job. In a shared context that is entered elsewhere, the job steps aside:
/// it is handed to the executor again when the context is free.
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
        let _job = thread_state::mark(|state| &state.in_job, true);
        self.0.run();
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}
