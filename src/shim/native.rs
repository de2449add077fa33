//! Which adapter spawns a task: the one place in which the shim counts the runtimes.

use std::future::Future;
use std::sync::Arc;

use super::entered::{self, ExecutorFrame, FrameExecutor, FrameLocal, Home, InHome, ValueHome};
use super::event_loop::{LoopHome, LoopTasks};
use super::executor::Executor;
use super::join::completed::Completing;
use super::join::{JoinHandle, RunsOn};
use super::task;
use crate::context::Context;
use crate::task_context::{ContextFor, TaskContext, TaskPoll};
use crate::with_context::{ContextExt, WithContext};

/// An executor's native way to spawn, if this crate has an adapter for it.
#[derive(Clone, Copy, Debug)]
pub enum Native<'a> {
    /// None: its tasks are driven by steps.
    None,
    /// The event loop's.
    Loop(&'a Arc<LoopTasks>),
    /// A tokio runtime; without a handle, this thread's.
    #[cfg(feature = "tokio")]
    Tokio(Option<&'a ::tokio::runtime::Handle>),
    #[cfg(feature = "async-std")]
    AsyncStd,
    /// An executor of smol's; without one, the global.
    #[cfg(feature = "smol")]
    Smol(Option<&'a ::smol::Executor<'static>>),
}

/// A runtime that is found by the thread. Its name is all that most frames have.
#[derive(Clone, Copy)]
pub(crate) enum Named {
    #[cfg(feature = "tokio")]
    Tokio,
    #[cfg(feature = "async-std")]
    AsyncStd,
    #[cfg(feature = "smol")]
    Smol,
}

impl Named {
    /// The runtime that a frame names, or the thread's if it names nothing, if there is nothing else to be asked or told.
    #[cfg(any(feature = "tokio", feature = "smol", feature = "async-std"))]
    #[inline]
    pub(crate) fn of_frame(frame: &dyn Home) -> Option<Named> {
        let named = match frame.executor() {
            #[cfg(feature = "tokio")]
            FrameExecutor::Tokio if frame.is_on_its_runtime() => Some(Named::Tokio),
            #[cfg(feature = "async-std")]
            FrameExecutor::AsyncStd => Some(Named::AsyncStd),
            #[cfg(feature = "smol")]
            FrameExecutor::Smol => Some(Named::Smol),
            FrameExecutor::None if frame.local().is_none() => Named::of_thread(),
            _ => None,
        };
        named.filter(|_| frame.fixed().is_none())
    }

    /// The runtime that says it runs on this thread.
    pub(crate) fn of_thread() -> Option<Named> {
        #[cfg(feature = "tokio")]
        if super::tokio::is_current() {
            return Some(Named::Tokio);
        }
        #[cfg(feature = "async-std")]
        if super::async_std::is_current() {
            return Some(Named::AsyncStd);
        }
        None
    }

    #[inline]
    pub(crate) fn target(self) -> Target {
        match self {
            #[cfg(feature = "tokio")]
            Named::Tokio => Target::TokioCurrent,
            #[cfg(feature = "async-std")]
            Named::AsyncStd => Target::AsyncStd,
            #[cfg(feature = "smol")]
            Named::Smol => Target::Smol,
        }
    }
}

/// The executor for whose tasks [`shim::spawn`](super::spawn) does not box a future: the first
/// runtime that is compiled in, or else the event loop.
///
/// To compile one way to spawn for a future takes longer than to compile the future. So this is the
/// only one that is compiled for each; the others are compiled for each type of output.
pub(crate) enum First {
    #[cfg(feature = "tokio")]
    Tokio,
    #[cfg(all(feature = "smol", not(feature = "tokio")))]
    Smol,
    #[cfg(all(feature = "async-std", not(any(feature = "tokio", feature = "smol"))))]
    AsyncStd,
    #[cfg(not(any(feature = "tokio", feature = "smol", feature = "async-std")))]
    Loop(Arc<LoopTasks>),
}

impl First {
    #[cfg(any(feature = "tokio", feature = "smol", feature = "async-std"))]
    #[inline]
    pub(crate) fn of(runtime: Named) -> Option<First> {
        match runtime {
            #[cfg(feature = "tokio")]
            Named::Tokio => Some(First::Tokio),
            #[cfg(all(feature = "smol", not(feature = "tokio")))]
            Named::Smol => Some(First::Smol),
            #[cfg(all(feature = "async-std", not(any(feature = "tokio", feature = "smol"))))]
            Named::AsyncStd => Some(First::AsyncStd),
            #[allow(unreachable_patterns, reason = "there may be no other")]
            _ => None,
        }
    }

    #[cfg(not(any(feature = "tokio", feature = "smol", feature = "async-std")))]
    pub(crate) fn of(destination: &Destination) -> Option<First> {
        match destination.executor.native() {
            Native::Loop(tasks) if destination.fixed.is_none() => {
                Some(First::Loop(Arc::clone(tasks)))
            }
            _ => None,
        }
    }

    /// Spawns `future` in `context`.
    #[inline]
    #[track_caller]
    pub(crate) fn spawn<C, F>(self, context: C, future: F) -> JoinHandle<F::Output>
    where
        C: TaskContext,
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match self {
            #[cfg(feature = "tokio")]
            First::Tokio => super::tokio::spawn_in(context, future),
            #[cfg(all(feature = "smol", not(feature = "tokio")))]
            First::Smol => super::smol::spawn_in(context, future),
            #[cfg(all(feature = "async-std", not(any(feature = "tokio", feature = "smol"))))]
            First::AsyncStd => super::async_std::spawn_in(context, future),
            #[cfg(not(any(feature = "tokio", feature = "smol", feature = "async-std")))]
            First::Loop(tasks) => {
                let task = task_in(LoopHome(Arc::clone(&tasks)), future, context);
                JoinHandle::from_steps(tasks.launch(task), RunsOn::Loop(tasks))
            }
        }
    }
}

/// Where a unit of work is sent: an executor, and the context it starts in a copy of if the executor is
/// a fixed one.
#[derive(Clone)]
pub(crate) struct Destination {
    pub(crate) executor: Target,
    pub(crate) fixed: Option<Arc<Context>>,
}

/// The executor of a [`Destination`]. Native ones need no allocation to be named.
#[derive(Clone)]
pub(crate) enum Target {
    #[cfg(feature = "tokio")]
    TokioCurrent,
    #[cfg(feature = "async-std")]
    AsyncStd,
    #[cfg(feature = "smol")]
    Smol,
    Static(&'static dyn Executor),
    Value(Arc<dyn Executor>),
}

impl Target {
    /// As where work is sent that starts in a copy of the current context.
    #[inline]
    pub(crate) fn unfixed(self) -> Destination {
        Destination {
            executor: self,
            fixed: None,
        }
    }

    /// The executor that a frame names, if it is alive.
    #[inline]
    pub(crate) fn of_frame(frame: &FrameExecutor) -> Option<Target> {
        match frame {
            FrameExecutor::None => None,
            #[cfg(feature = "tokio")]
            // A destructor can outlive the runtime's hold on the thread.
            FrameExecutor::Tokio => super::tokio::is_current().then_some(Target::TokioCurrent),
            #[cfg(feature = "async-std")]
            FrameExecutor::AsyncStd => Some(Target::AsyncStd),
            #[cfg(feature = "smol")]
            FrameExecutor::Smol => Some(Target::Smol),
            FrameExecutor::Static(executor) => Some(Target::Static(*executor)),
            FrameExecutor::Weak(executor) => executor.upgrade().map(Target::Value),
        }
    }

    /// How the frames of tasks on the executor name it.
    #[inline]
    pub(crate) fn frame(&self) -> FrameExecutor {
        match self {
            #[cfg(feature = "tokio")]
            Target::TokioCurrent => FrameExecutor::Tokio,
            #[cfg(feature = "async-std")]
            Target::AsyncStd => FrameExecutor::AsyncStd,
            #[cfg(feature = "smol")]
            Target::Smol => FrameExecutor::Smol,
            // An executor whose frames name it otherwise comes to no frame by this name.
            Target::Static(executor) => FrameExecutor::Static(*executor),
            Target::Value(executor) => frame_of(executor),
        }
    }

    /// What a task's handle keeps of the executor.
    #[inline]
    pub(crate) fn runs_on(&self) -> RunsOn {
        match self {
            // Its frames name the runtime of the thread, which is another one where the handle is, or none.
            #[cfg(feature = "tokio")]
            Target::Value(executor) if self.is_by_thread() => RunsOn::Handle(Arc::clone(executor)),
            _ => match self.native() {
                Native::Loop(tasks) => RunsOn::Loop(Arc::clone(tasks)),
                _ => RunsOn::Frame(self.frame()),
            },
        }
    }

    #[inline]
    fn native(&self) -> Native<'_> {
        match self {
            #[cfg(feature = "tokio")]
            Target::TokioCurrent => Native::Tokio(None),
            #[cfg(feature = "async-std")]
            Target::AsyncStd => Native::AsyncStd,
            #[cfg(feature = "smol")]
            Target::Smol => Native::Smol(None),
            Target::Static(executor) => executor.native(),
            Target::Value(executor) => executor.native(),
        }
    }

    /// The local executor that this thread runs its tasks on.
    pub(crate) fn local(&self) -> Option<FrameLocal> {
        match self {
            #[cfg(feature = "tokio")]
            Target::TokioCurrent => None,
            #[cfg(feature = "async-std")]
            Target::AsyncStd => None,
            #[cfg(feature = "smol")]
            Target::Smol => None,
            Target::Static(executor) => executor.local(),
            Target::Value(executor) => executor.local(),
        }
    }

    /// Whether the frames of its tasks name it as that of the thread.
    pub(crate) fn is_by_thread(&self) -> bool {
        #[cfg(feature = "tokio")]
        return matches!(self.native(), Native::Tokio(_));
        #[cfg(not(feature = "tokio"))]
        false
    }

    /// Calls `f` with the executor.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&dyn Executor) -> R) -> R {
        match self {
            #[cfg(feature = "tokio")]
            Target::TokioCurrent => f(&::tokio::runtime::Handle::current()),
            #[cfg(feature = "async-std")]
            Target::AsyncStd => f(&super::async_std::Global),
            #[cfg(feature = "smol")]
            Target::Smol => f(&super::smol::Global),
            Target::Static(executor) => f(*executor),
            Target::Value(executor) => f(&**executor),
        }
    }

    /// The executor as a value, for everything but spawning and callbacks.
    pub(crate) fn as_executor(&self) -> Arc<dyn Executor> {
        match self {
            #[cfg(feature = "tokio")]
            Target::TokioCurrent => Arc::new(::tokio::runtime::Handle::current()),
            #[cfg(feature = "async-std")]
            Target::AsyncStd => Arc::new(super::async_std::Global),
            #[cfg(feature = "smol")]
            Target::Smol => Arc::new(super::smol::Global),
            Target::Static(executor) => Arc::new(*executor),
            Target::Value(executor) => Arc::clone(executor),
        }
    }
}

impl Destination {
    pub(crate) fn new(executor: Arc<dyn Executor>, fixed: Option<Arc<Context>>) -> Destination {
        Destination {
            executor: Target::Value(executor),
            fixed,
        }
    }

    /// The context that a new unit of work starts in.
    #[inline]
    pub(crate) fn new_context(&self) -> Context {
        entered::new_context(self.fixed.as_ref())
    }

    /// The frame of work on this executor.
    pub(crate) fn frame(&self) -> ExecutorFrame {
        ExecutorFrame::new(self.executor.frame(), None, self.fixed.clone())
    }

    /// Spawns `future` in `context`.
    #[inline]
    #[track_caller]
    pub(crate) fn spawn<C, F>(&self, context: C, future: F) -> JoinHandle<F::Output>
    where
        C: TaskContext,
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let runs_on = self.executor.runs_on();
        match self.executor.native() {
            // On their own, natives are named by type, which takes no room in the task.
            #[cfg(feature = "tokio")]
            Native::Tokio(handle) if self.fixed.is_none() => {
                let task = task_in(super::tokio::Home, future, context);
                JoinHandle::from_tokio(super::tokio::launch(handle, task), runs_on)
            }
            #[cfg(feature = "async-std")]
            Native::AsyncStd if self.fixed.is_none() => super::async_std::spawn_in(context, future),
            #[cfg(feature = "smol")]
            Native::Smol(None) if self.fixed.is_none() => super::smol::spawn_in(context, future),
            Native::Loop(tasks) if self.fixed.is_none() => {
                let task = task_in(LoopHome(Arc::clone(tasks)), future, context);
                JoinHandle::from_steps(tasks.launch(task), runs_on)
            }
            native => {
                let home = ValueHome {
                    executor: self.executor.frame(),
                    fixed: self.fixed.clone(),
                };
                let task = task_in(home, future, context);
                match native {
                    Native::None => {
                        let task = task::spawn_by_steps(&self.executor, task);
                        JoinHandle::from_steps(task, runs_on)
                    }
                    Native::Loop(tasks) => JoinHandle::from_steps(tasks.launch(task), runs_on),
                    #[cfg(feature = "tokio")]
                    Native::Tokio(handle) => {
                        JoinHandle::from_tokio(super::tokio::launch(handle, task), runs_on)
                    }
                    #[cfg(feature = "async-std")]
                    Native::AsyncStd => {
                        JoinHandle::from_async_std(super::async_std::launch(task), runs_on)
                    }
                    #[cfg(feature = "smol")]
                    Native::Smol(executor) => {
                        JoinHandle::from_steps(super::smol::launch(executor, task), runs_on)
                    }
                }
            }
        }
    }
}

/// A task: `future`, polled and dropped in `context` and in the frame of `home`. It leaves its context.
#[inline]
pub(crate) fn task_in<H: Home, F, C: TaskContext>(
    home: H,
    future: F,
    context: C,
) -> Completing<InHome<F, H>, ContextFor<C::Owned, TaskPoll>> {
    let context = ContextFor::<_, TaskPoll>::new(context);
    Completing::new(in_home(home, future, context))
}

/// `future`, polled and dropped in `context` and in the frame of `home`.
#[inline]
pub(crate) fn in_home<H: Home, F, C: TaskContext>(
    home: H,
    future: F,
    context: C,
) -> WithContext<InHome<F, H>, C::Owned> {
    InHome::new(home, future).in_context(context)
}

/// How the frames of tasks on `executor` name it.
pub(crate) fn frame_of(executor: &Arc<dyn Executor>) -> FrameExecutor {
    executor
        .frame()
        .unwrap_or_else(|| FrameExecutor::Weak(Arc::downgrade(executor)))
}
