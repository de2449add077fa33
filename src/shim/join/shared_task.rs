//! [`SharedTask`]: a task that several may reach: its handle, abort handles, and who waits for its end.
//!
//! ```text
//! Running ──abort──▶ Cancelling ──▶ Ended ──poll──▶ Done
//!    └────────────────────────────────▲
//! ```
//!
//! Polling, cancelling and asking run code of users: wakers, schedule functions, destructors. So no
//! lock is held meanwhile. Whoever works on the task takes it out of [`Locked`]; whoever wants
//! something in between leaves a note there, which is answered when the task is put back.
//!
//! Only one waker is registered with the task. It is the awaiter's, until there is a notice; then
//! it is a watcher's, and the awaiter's is kept here.

use std::mem;
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::task::{self, Poll, Wake, Waker};

use super::done::{Done, DoneCallbackId, Notice};
use super::id::TaskId;
use crate::catch::{catch, wake_all};
use crate::raw::{AlwaysSend, IsSend};
use crate::shim::dispatch::NativeJoin;
use crate::shim::join_error::JoinError;
use crate::shim::join_task::{Abort, Cancel, JoinTask};
use crate::shim::outcome::{Joined, drop_unclaimed};
use crate::sync::{Mutex, MutexGuard};

/// A task that several may reach.
pub(super) struct SharedTask<T: 'static> {
    locked: Mutex<Locked<T>>,
    done: Done,
    id: OnceLock<TaskId>,
}

/// [`SharedTask`] by a pointer: its code is compiled for outputs whose tasks are shared somewhere, and
/// not for all that are awaited.
pub(super) trait SharedJoin<T>: Abort {
    fn poll(&self, cx: &mut task::Context<'_>) -> Poll<Joined<T>>;

    /// Drops the outcome as soon as there is one.
    fn release(self: Arc<Self>);

    fn add_notice(self: Arc<Self>, notice: Notice) -> DoneCallbackId;
    fn remove_notice(&self, id: DoneCallbackId) -> bool;

    /// The id, if anybody has asked for it.
    fn known_id(&self) -> Option<TaskId>;

    fn id(&self) -> TaskId;

    /// The same as an abort handle. (Since Rust 1.86 the compiler does this unasked.)
    fn into_abort(self: Arc<Self>) -> Arc<dyn Abort>;
}

/// What is behind the lock.
struct Locked<T: 'static> {
    /// `None` while somebody works on it.
    task: Option<Registered<T>>,
    notes: Notes,
}

/// What has been asked for while somebody worked on the task.
#[derive(Default)]
struct Notes {
    /// To abort it.
    abort: bool,
    /// To let this watcher know of its end.
    watch: Option<Waker>,
    /// To look at it, because the watcher was woken.
    look: bool,
    /// To wake this awaiter, so that it polls again.
    awaiter: Option<Waker>,
}

impl Notes {
    /// Whether anything is to be done about the task.
    fn has_any(&self) -> bool {
        self.abort || self.look || self.watch.is_some()
    }
}

/// A task, and who is told of its end.
struct Registered<T: 'static> {
    state: TaskState<T>,
    is_send: IsSend<T>,
    /// Woken at the end. Registered with the task, unless there is a watcher.
    awaiter: Option<Waker>,
    /// Registered with the task in place of the awaiter, if notices are to be given.
    watcher: Option<Waker>,
}

enum TaskState<T: 'static> {
    Running(AlwaysSend<NativeJoin<T>>),
    Cancelling(Cancel<T>),
    /// Ended, and nobody has asked for the outcome yet.
    Ended(AlwaysSend<Joined<T>>),
    Done,
}

impl<T: 'static> Registered<T> {
    fn has_ended(&self) -> bool {
        matches!(self.state, TaskState::Ended(_) | TaskState::Done)
    }

    /// Polls the task, for `waker` to be woken at its end.
    fn poll(&mut self, waker: Waker) -> Poll<Joined<T>> {
        let registered = self.watcher.as_ref().unwrap_or(&waker).clone();
        let joined = self.poll_with(&registered);
        self.awaiter = joined.is_pending().then_some(waker);
        joined
    }

    fn poll_with(&mut self, waker: &Waker) -> Poll<Joined<T>> {
        let cx = &mut task::Context::from_waker(waker);
        let joined = match &mut self.state {
            TaskState::Running(task) => task.get_mut().poll(cx),
            TaskState::Cancelling(cancel) => cancel.as_mut().poll(cx),
            TaskState::Ended(_) | TaskState::Done => {
                match mem::replace(&mut self.state, TaskState::Done) {
                    TaskState::Ended(joined) => Poll::Ready(joined.into_inner()),
                    // Released, or asked for twice.
                    _ => Poll::Ready(Err(JoinError::cancelled())),
                }
            }
        };
        if joined.is_ready() {
            self.state = TaskState::Done;
        }
        joined
    }

    /// Polls the task for somebody other than the awaiter. Returns the awaiter's waker if the task
    /// has ended.
    fn look(&mut self) -> Option<Waker> {
        if self.has_ended() {
            return None;
        }
        // With the waker that is registered, which stays so while the task runs. At the end, the
        // task assumes that the owner of the waker that polls knows.
        let registered = self.watcher.as_ref().or(self.awaiter.as_ref());
        let registered = registered.cloned();
        let waker = registered.unwrap_or_else(|| Waker::noop().clone());
        match self.poll_with(&waker) {
            Poll::Ready(joined) => {
                self.state = TaskState::Ended(AlwaysSend::result(joined, &self.is_send));
                self.awaiter.take()
            }
            Poll::Pending => None,
        }
    }

    /// From now on `watcher` hears of the end.
    fn watch(&mut self, watcher: Waker) -> Option<Waker> {
        self.watcher = Some(watcher);
        self.look()
    }

    fn is_finished(&mut self) -> (bool, Option<Waker>) {
        let known = match &mut self.state {
            TaskState::Running(task) => task.get_mut().is_finished(),
            TaskState::Cancelling(_) => None,
            TaskState::Ended(_) | TaskState::Done => Some(true),
        };
        match known {
            Some(finished) => (finished, None),
            None => {
                let awaiter = self.look();
                (self.has_ended(), awaiter)
            }
        }
    }

    fn abort(&mut self) -> Option<Waker> {
        match mem::replace(&mut self.state, TaskState::Done) {
            TaskState::Running(mut task) => match task.get_mut().abort_handle() {
                Some(native) => {
                    self.state = TaskState::Running(task);
                    native.abort();
                    None
                }
                None => {
                    self.state = TaskState::Cancelling(task.into_inner().cancel());
                    // The first poll is what starts it.
                    self.look()
                }
            },
            other => {
                self.state = other;
                None
            }
        }
    }
}

/// A task that somebody works on. It is put back when this is dropped, also after a panic, of a
/// user's waker for example.
struct TakenTask<'a, T: 'static> {
    shared: &'a SharedTask<T>,
    /// `None` once it is back.
    task: Option<Registered<T>>,
    /// Who is to hear of the end.
    woken: Vec<Waker>,
}

impl<T: 'static> TakenTask<'_, T> {
    fn get(&mut self) -> &mut Registered<T> {
        match &mut self.task {
            Some(task) => task,
            None => unreachable!("nobody works on a task that was put back"),
        }
    }
}

impl<T: 'static> Drop for TakenTask<'_, T> {
    fn drop(&mut self) {
        let Some(task) = self.task.take() else {
            return;
        };
        let (awaiter, has_notes) = {
            let mut locked = self.shared.lock();
            locked.task = Some(task);
            (locked.notes.awaiter.take(), locked.notes.has_any())
        };
        // Do what was asked for meanwhile: perhaps nobody else will.
        if has_notes {
            catch(|| self.shared.look());
        }
        wake_all(self.woken.drain(..).chain(awaiter));
    }
}

impl<T: 'static> SharedTask<T> {
    /// Shares `task`. `awaiter` is the waker that is registered with it, if it has been polled.
    pub(super) fn new(
        task: AlwaysSend<NativeJoin<T>>,
        is_send: IsSend<T>,
        awaiter: Option<Waker>,
    ) -> SharedTask<T> {
        SharedTask {
            locked: Mutex::new(Locked {
                task: Some(Registered {
                    state: TaskState::Running(task),
                    is_send,
                    awaiter,
                    watcher: None,
                }),
                notes: Notes::default(),
            }),
            done: Done::default(),
            id: OnceLock::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Locked<T>> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` on the task and wakes the waker that it returns. If somebody else works on the
    /// task, `note` is called.
    fn operate<R>(
        &self,
        note: impl FnOnce(&mut Notes) -> Option<Waker>,
        f: impl FnOnce(&mut Registered<T>) -> (R, Option<Waker>),
    ) -> Option<R> {
        let taken = {
            let mut locked = self.lock();
            match locked.task.take() {
                Some(task) => Ok(task),
                None => Err(note(&mut locked.notes)),
            }
        };
        // A waker that is replaced is dropped here, without the lock.
        let mut task = TakenTask {
            shared: self,
            task: Some(taken.ok()?),
            woken: Vec::new(),
        };
        let (result, awaiter) = f(task.get());
        task.woken.extend(awaiter);
        let ended = loop {
            let mut locked = self.lock();
            if mem::take(&mut locked.notes.abort) {
                drop(locked);
                let awaiter = task.get().abort();
                task.woken.extend(awaiter);
                continue;
            }
            let watcher = locked.notes.watch.take();
            if watcher.is_some() || mem::take(&mut locked.notes.look) {
                drop(locked);
                let awaiter = match watcher {
                    Some(watcher) => task.get().watch(watcher),
                    None => task.get().look(),
                };
                task.woken.extend(awaiter);
                continue;
            }
            task.woken.extend(locked.notes.awaiter.take());
            let ended = task.get().has_ended().then(|| task.get().watcher.take());
            locked.task = task.task.take();
            break ended;
        };
        if let Some(watcher) = ended {
            // Breaks the circle: the watcher keeps this task, which keeps the watcher.
            drop(watcher);
            self.done.end();
        }
        wake_all(mem::take(&mut task.woken));
        Some(result)
    }

    /// Looks at the task, because the watcher was woken.
    fn look(&self) {
        let note = |notes: &mut Notes| {
            notes.look = true;
            None
        };
        self.operate(note, |task| ((), task.look()));
    }
}

impl<T: 'static> SharedJoin<T> for SharedTask<T> {
    fn poll(&self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        let waker = cx.waker().clone();
        let note = waker.clone();
        let polled = self.operate(
            |notes| notes.awaiter.replace(note),
            |task| (task.poll(waker), None),
        );
        polled.unwrap_or(Poll::Pending)
    }

    fn release(self: Arc<Self>) {
        let waker = Waker::from(Arc::new(Release(Arc::downgrade(&self))));
        if let Poll::Ready(joined) = self.poll(&mut task::Context::from_waker(&waker)) {
            drop_unclaimed(joined);
        }
    }

    fn add_notice(self: Arc<Self>, notice: Notice) -> DoneCallbackId {
        let id = self.done.add(notice);
        let watcher = Waker::from(Arc::new(Watch(Arc::clone(&self))));
        let note = watcher.clone();
        self.operate(
            |notes| notes.watch.replace(note),
            |task| match task.watcher {
                Some(_) => ((), None),
                None => ((), task.watch(watcher)),
            },
        );
        id
    }

    fn remove_notice(&self, id: DoneCallbackId) -> bool {
        self.done.remove(id)
    }

    fn known_id(&self) -> Option<TaskId> {
        self.id.get().copied()
    }

    fn id(&self) -> TaskId {
        *self.id.get_or_init(TaskId::next)
    }

    fn into_abort(self: Arc<Self>) -> Arc<dyn Abort> {
        self
    }
}

impl<T: 'static> Abort for SharedTask<T> {
    fn abort(&self) {
        let note = |notes: &mut Notes| {
            notes.abort = true;
            None
        };
        self.operate(note, |task| ((), task.abort()));
    }

    fn is_finished(&self) -> bool {
        self.operate(|_| None, Registered::is_finished)
            .unwrap_or_default()
    }
}

/// Releases a task that has ended.
struct Release<T: 'static>(Weak<SharedTask<T>>);

impl<T: 'static> Wake for Release<T> {
    fn wake(self: Arc<Self>) {
        if let Some(task) = self.0.upgrade() {
            task.release();
        }
    }
}

/// Looks at the task when it has ended, for its notices. Keeps the task's handle, also when nobody
/// awaits it any more; the end takes the two apart.
struct Watch<T: 'static>(Arc<SharedTask<T>>);

impl<T: 'static> Wake for Watch<T> {
    fn wake(self: Arc<Self>) {
        self.0.look();
    }
}
