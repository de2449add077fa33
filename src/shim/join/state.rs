//! [`HandleState`]: what a [`JoinHandle`] has of its task. It turns a handle that aborts its task by
//! being used up into one that aborts by reference.
//!
//! ```text
//!            poll                    abort, abort_handle, add_notice, id
//! Own ───────────────────▶ Done     Own ─────────────────────────────────▶ Shared
//! ```
//!
//! A handle stays `Own`, without an allocation, unless somebody else than its owner has to reach
//! the task: an abort handle, or a notice. A runtime whose handles can abort by reference needs no
//! `Shared` for that.
//!
//! `Own` keeps the awaiter's waker, because a watcher's takes its place in the task once there is a
//! notice.

use std::mem;
use std::sync::{Arc, PoisonError};
use std::task::{self, Poll, Waker};

use super::JoinHandle;
use super::boxed::{self, BoxedHandle};
use super::done::Done;
use super::id::TaskId;
use super::listed::ListedJoin;
use super::local::{Ending, LocalJoin};
use super::shared_task::{SharedJoin, SharedTask};
use crate::raw::{AlwaysSend, IsSend};
use crate::shim::dispatch::NativeJoin;
use crate::shim::join_task::{Abort, JoinTask};
use crate::shim::outcome::Joined;
use crate::shim::runnable_join::RunnableJoin;
use crate::sync::{Mutex, MutexGuard};

pub(super) enum HandleState<T: 'static> {
    Own(Own<T>),
    Local(LocalJoin<T>),
    /// On an event loop, where its output need not be `Send`. With its id, if anybody has asked for
    /// it.
    Listed(ListedJoin<T>, Option<TaskId>),
    Shared(Arc<dyn SharedJoin<T>>),
    /// A task whose output is boxed, with a state of its own. The pointer is cloned only within a
    /// call by `&self`, as the lock must not be held while code of users runs: a poll has the only
    /// one.
    Boxed(BoxedHandle),
    /// The outcome has been given out. With the task's id, if anybody has asked for it.
    Done(Option<TaskId>),
}

/// Who keeps the notices of a task.
pub(super) enum Notices {
    Local(Arc<Ending>),
    /// `None` once the task has ended.
    Listed(Option<Arc<Done>>),
    /// A [`SharedTask`], made for them.
    Watched,
    Boxed(BoxedHandle),
}

/// A task that nobody else reaches. Its output is `Send`, which is not known any more where a
/// handle may be a local task's.
pub(super) struct Own<T: 'static> {
    task: AlwaysSend<NativeJoin<T>>,
    is_send: IsSend<T>,
    /// The waker that is registered with the task.
    awaiter: Option<Waker>,
    /// Whether the outcome has been given out. What is left is dropped with the handle.
    is_done: bool,
}

impl<T> JoinHandle<T> {
    #[inline]
    fn new(state: HandleState<T>) -> JoinHandle<T> {
        JoinHandle {
            state: Mutex::new(state),
        }
    }

    #[inline]
    pub(crate) fn native(task: NativeJoin<T>) -> JoinHandle<T>
    where
        T: Send,
    {
        JoinHandle::new(HandleState::Own(Own {
            task: AlwaysSend::new(task),
            is_send: IsSend::new(),
            awaiter: None,
            is_done: false,
        }))
    }

    #[inline]
    pub(crate) fn runnable(task: RunnableJoin<T>) -> JoinHandle<T>
    where
        T: Send,
    {
        JoinHandle::native(NativeJoin::Runnable(task))
    }

    #[inline]
    pub(crate) fn listed(task: ListedJoin<T>) -> JoinHandle<T> {
        JoinHandle::new(HandleState::Listed(task, None))
    }

    pub(crate) fn local(task: LocalJoin<T>) -> JoinHandle<T> {
        JoinHandle::new(HandleState::Local(task))
    }

    /// `task` must be that of a [`BoxingFuture`](boxed::BoxingFuture) with this output.
    #[inline]
    pub(crate) fn boxed(task: BoxedHandle) -> JoinHandle<T> {
        JoinHandle::new(HandleState::Boxed(task))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HandleState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn as_boxed(&self) -> Option<BoxedHandle> {
        match &*self.lock() {
            HandleState::Boxed(task) => Some(Arc::clone(task)),
            _ => None,
        }
    }

    /// The runtime's own abort handle, if it has one.
    pub(super) fn native_abort(&self) -> Option<Arc<dyn Abort>> {
        match &mut *self.lock() {
            HandleState::Own(own) => own.task.get_mut().abort_handle(),
            HandleState::Local(task) => Some(task.ending()),
            HandleState::Listed(task, _) => task.abort_handle(),
            HandleState::Shared(_) | HandleState::Boxed(_) | HandleState::Done(_) => None,
        }
    }

    pub(super) fn notices(&self) -> Notices {
        match &*self.lock() {
            HandleState::Local(task) => Notices::Local(task.ending()),
            HandleState::Listed(task, _) => Notices::Listed(task.done()),
            HandleState::Boxed(task) => Notices::Boxed(Arc::clone(task)),
            HandleState::Own(_) | HandleState::Shared(_) | HandleState::Done(_) => Notices::Watched,
        }
    }

    /// Moves the task to where others see it too. `None` if its outcome has been given out.
    pub(super) fn shared(&self) -> Option<Arc<dyn SharedJoin<T>>> {
        let mut state = self.lock();
        let shared = match mem::replace(&mut *state, HandleState::Done(None)) {
            // What is left of it is dropped without the lock.
            HandleState::Own(own) if own.is_done => {
                drop(state);
                drop(own);
                return None;
            }
            HandleState::Own(own) => Arc::new(SharedTask::new(own.task, own.is_send, own.awaiter)),
            HandleState::Shared(shared) => shared,
            other => {
                *state = other;
                return None;
            }
        };
        *state = HandleState::Shared(Arc::clone(&shared));
        Some(shared)
    }
}

impl<T: 'static> Own<T> {
    #[inline]
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// As [`JoinTask::is_finished`].
    pub(super) fn is_finished(&mut self) -> Option<bool> {
        match self.is_done {
            true => Some(true),
            false => self.task.get_mut().is_finished(),
        }
    }

    #[inline]
    pub(super) fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        let joined = self.task.get_mut().poll(cx);
        if joined.is_ready() {
            self.is_done = true;
            return joined;
        }
        let is_known = |known: &Waker| known.will_wake(cx.waker());
        if !self.awaiter.as_ref().is_some_and(is_known) {
            self.awaiter = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl<T: 'static> HandleState<T> {
    #[cold]
    #[inline(never)]
    pub(super) fn poll_others(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        let (joined, id) = match self {
            HandleState::Local(task) => return task.poll(cx),
            HandleState::Listed(..) => unreachable!("it is polled where there is no call"),
            HandleState::Boxed(task) => return boxed::poll(task, cx),
            HandleState::Shared(shared) => (shared.poll(cx), shared.known_id()),
            HandleState::Own(_) | HandleState::Done(_) => {
                panic!("`JoinHandle` polled after it gave its result")
            }
        };
        if joined.is_ready() {
            *self = HandleState::Done(id);
        }
        joined
    }
}

impl<T: 'static> Drop for JoinHandle<T> {
    #[inline]
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let HandleState::Shared(shared) = state {
            // Abort handles may stay; nobody will ask for the output.
            Arc::clone(shared).release();
        }
    }
}
