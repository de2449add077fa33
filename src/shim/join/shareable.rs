//! [`Shareable`]: turns a handle that aborts its task by being used up into one that aborts by
//! reference.
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

use super::boxed::{self, BoxedJoin, BoxedOutput};
use super::done::{self, Done, DoneCallbackId, Notice};
use super::id::TaskId;
use super::listed::{Ended, ListedJoin};
use super::local::{Ending, LocalJoin};
use super::shared_task::{SharedJoin, SharedTask};
use crate::raw::{AlwaysSend, IsSend};
use crate::shim::dispatch::NativeJoin;
use crate::shim::join_task::{Abort, JoinTask};
use crate::shim::outcome::Joined;
use crate::sync::{Mutex, MutexGuard};

/// The handle of a task, which several may reach.
pub(super) struct Shareable<T: 'static> {
    state: Mutex<HandleState<T>>,
}

enum HandleState<T: 'static> {
    Own(Own<T>),
    Local(LocalJoin<T>),
    /// On an event loop, where its output need not be `Send`. With its id, if anybody has asked for
    /// it.
    Listed(ListedJoin<T>, Option<TaskId>),
    Shared(Arc<dyn SharedJoin<T>>),
    /// A task whose output is boxed, with a state of its own. The pointer is cloned only within a
    /// call by `&self`, as the lock must not be held while code of users runs: a poll has the only
    /// one.
    Boxed(Arc<dyn BoxedJoin>),
    /// The outcome has been given out. With the task's id, if anybody has asked for it.
    Done(Option<TaskId>),
}

/// Who keeps the notices of a task.
enum Notices {
    Local(Arc<Ending>),
    /// `None` once the task has ended.
    Listed(Option<Arc<Done>>),
    /// A [`SharedTask`], made for them.
    Watched,
    Boxed(Arc<dyn BoxedJoin>),
}

/// A task that nobody else reaches. Its output is `Send`, which is not known any more where a
/// handle may be a local task's.
struct Own<T: 'static> {
    task: AlwaysSend<NativeJoin<T>>,
    is_send: IsSend<T>,
    /// The waker that is registered with the task.
    awaiter: Option<Waker>,
    /// Whether the outcome has been given out. What is left is dropped with the handle.
    is_done: bool,
}

impl<T: 'static> Shareable<T> {
    #[inline]
    pub(super) fn new(task: NativeJoin<T>) -> Shareable<T>
    where
        T: Send,
    {
        Shareable {
            state: Mutex::new(HandleState::Own(Own {
                task: AlwaysSend::new(task),
                is_send: IsSend::new(),
                awaiter: None,
                is_done: false,
            })),
        }
    }

    pub(super) fn local(task: LocalJoin<T>) -> Shareable<T> {
        Shareable {
            state: Mutex::new(HandleState::Local(task)),
        }
    }

    #[inline]
    pub(super) fn listed(task: ListedJoin<T>) -> Shareable<T> {
        Shareable {
            state: Mutex::new(HandleState::Listed(task, None)),
        }
    }

    /// `task` must be that of a future with this output, which boxes it.
    pub(super) fn boxed(task: Arc<dyn BoxedJoin>) -> Shareable<T> {
        Shareable {
            state: Mutex::new(HandleState::Boxed(task)),
        }
    }

    #[inline]
    pub(super) fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        let state = match self.state.get_mut() {
            Ok(state) => state,
            Err(poisoned) => poisoned.into_inner(),
        };
        match state {
            HandleState::Own(own) if !own.is_done => own.poll(cx),
            HandleState::Listed(task, id) => {
                let joined = task.poll(cx);
                if joined.is_ready() {
                    *state = HandleState::Done(*id);
                }
                joined
            }
            _ => state.poll_others(cx),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HandleState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn as_boxed(&self) -> Option<Arc<dyn BoxedJoin>> {
        match &*self.lock() {
            HandleState::Boxed(task) => Some(Arc::clone(task)),
            _ => None,
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        if let Some(task) = self.as_boxed() {
            return task.is_finished();
        }
        let known = match &mut *self.lock() {
            HandleState::Own(own) if own.is_done => Some(true),
            HandleState::Own(own) => own.task.get_mut().is_finished(),
            HandleState::Local(task) => Some(task.is_finished()),
            HandleState::Listed(task, _) => task.is_finished(),
            HandleState::Shared(_) | HandleState::Boxed(_) => None,
            HandleState::Done(_) => Some(true),
        };
        known.unwrap_or_else(|| self.shared().is_none_or(|shared| shared.is_finished()))
    }

    pub(super) fn abort(&self) {
        if let Some(task) = self.as_boxed() {
            return task.abort();
        }
        match self.native_abort() {
            Some(native) => native.abort(),
            None => self.shared().into_iter().for_each(|shared| shared.abort()),
        }
    }

    pub(super) fn abort_handle(&self) -> Arc<dyn Abort> {
        if let Some(task) = self.as_boxed() {
            return task.abort_handle();
        }
        let native = self.native_abort();
        native.unwrap_or_else(|| match self.shared() {
            Some(shared) => shared.into_abort(),
            None => Arc::new(Ended),
        })
    }

    /// The runtime's own abort handle, if it has one.
    fn native_abort(&self) -> Option<Arc<dyn Abort>> {
        match &mut *self.lock() {
            HandleState::Own(own) => own.task.get_mut().abort_handle(),
            HandleState::Local(task) => Some(task.ending()),
            HandleState::Listed(task, _) => task.abort_handle(),
            HandleState::Shared(_) | HandleState::Boxed(_) | HandleState::Done(_) => None,
        }
    }

    /// Has `notice` given when the task has ended.
    pub(super) fn add_notice(&self, notice: Notice) -> DoneCallbackId {
        match self.notices() {
            Notices::Local(ending) => ending.done().add(notice),
            Notices::Listed(Some(done)) => done.add(notice),
            Notices::Listed(None) => done::at_once(notice),
            Notices::Boxed(task) => task.add_notice(notice),
            Notices::Watched => match self.shared() {
                Some(shared) => shared.add_notice(notice),
                None => done::at_once(notice),
            },
        }
    }

    pub(super) fn remove_notice(&self, id: DoneCallbackId) -> bool {
        match self.notices() {
            Notices::Local(ending) => ending.done().remove(id),
            Notices::Listed(done) => done.is_some_and(|done| done.remove(id)),
            Notices::Boxed(task) => task.remove_notice(id),
            Notices::Watched => {
                let shared = match &*self.lock() {
                    HandleState::Shared(shared) => Arc::clone(shared),
                    _ => return false,
                };
                shared.remove_notice(id)
            }
        }
    }

    fn notices(&self) -> Notices {
        match &*self.lock() {
            HandleState::Local(task) => Notices::Local(task.ending()),
            HandleState::Listed(task, _) => Notices::Listed(task.done()),
            HandleState::Boxed(task) => Notices::Boxed(Arc::clone(task)),
            HandleState::Own(_) | HandleState::Shared(_) | HandleState::Done(_) => Notices::Watched,
        }
    }

    pub(super) fn id(&self) -> TaskId {
        if let Some(task) = self.as_boxed() {
            return task.id();
        }
        match &mut *self.lock() {
            HandleState::Done(id) => return *id.get_or_insert_with(TaskId::next),
            HandleState::Local(task) => return task.id(),
            HandleState::Listed(_, id) => return *id.get_or_insert_with(TaskId::next),
            HandleState::Own(_) | HandleState::Shared(_) | HandleState::Boxed(_) => {}
        }
        match self.shared() {
            Some(shared) => shared.id(),
            // Given out, while it was `Own`.
            None => self.id(),
        }
    }

    /// Moves the task to where others see it too. `None` if its outcome has been given out.
    fn shared(&self) -> Option<Arc<dyn SharedJoin<T>>> {
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

impl BoxedJoin for Shareable<BoxedOutput> {
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<BoxedOutput>> {
        Shareable::poll(self, cx)
    }

    fn is_finished(&self) -> bool {
        Shareable::is_finished(self)
    }

    fn abort(&self) {
        Shareable::abort(self);
    }

    fn abort_handle(&self) -> Arc<dyn Abort> {
        Shareable::abort_handle(self)
    }

    fn add_notice(&self, notice: Notice) -> DoneCallbackId {
        Shareable::add_notice(self, notice)
    }

    fn remove_notice(&self, id: DoneCallbackId) -> bool {
        Shareable::remove_notice(self, id)
    }

    fn id(&self) -> TaskId {
        Shareable::id(self)
    }
}

impl<T: 'static> Own<T> {
    #[inline]
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
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
    fn poll_others(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
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

impl<T: 'static> Drop for Shareable<T> {
    #[inline]
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let HandleState::Shared(shared) = state {
            // Abort handles may stay; nobody will ask for the output.
            Arc::clone(shared).release();
        }
    }
}
