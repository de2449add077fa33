//! [`Shareable`]: turns handles of tasks that are aborted by being used up into one that is aborted by reference.
//!
//! ```text
//!            poll                    abort, abort_handle, add_notice, id
//! Own ───────────────────▶ Done     Own ─────────────────────────────────▶ Shared
//!
//! in Shared:    Running ──abort──▶ Cancelling ──▶ Ended ──poll──▶ Done
//!                  └──────────────────────────────▲
//! ```
//!
//! A handle stays `Own`, without an allocation, unless somebody else than its owner has to reach
//! the task: an abort handle, or a notice. A runtime whose handles can abort by reference needs no
//! `Shared` for that.
//!
//! Polling, cancelling and asking run code of users: wakers, schedule functions, destructors. So no
//! lock is held meanwhile. Whoever works on the task takes it out of its [`Slot`]; whoever wants
//! something in between leaves a note there, which is answered when the task is put back.
//!
//! Only one waker is registered with the task. It is the awaiter's, until there is a notice; then
//! it is a watcher's, and the awaiter's is kept here. That is also why `Own` keeps the awaiter's
//! waker: the watcher takes its place in the task.

use std::mem;
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::task::{self, Poll, Wake, Waker};

use super::TaskId;
use super::done::{self, Done, DoneCallbackId, Notice};
use super::listed::{Ended, ListedJoin};
use super::local::{Ending, LocalJoin};
use crate::contain::contain;
use crate::raw::{AlwaysSend, IsSend};
use crate::shim::dispatch::NativeJoin;
use crate::shim::join_error::JoinError;
use crate::shim::join_task::{Abort, Cancel, JoinTask};
use crate::shim::outcome::Joined;
use crate::sync::{Mutex, MutexGuard};

/// The handle of a task, which several may reach.
pub(super) struct Shareable<T: 'static> {
    state: Mutex<State<T>>,
}

enum State<T: 'static> {
    Own(Own<T>),
    Local(LocalJoin<T>),
    /// On an event loop, where its output need not be `Send`. With its id, if anybody has asked for
    /// it.
    Listed(ListedJoin<T>, Option<TaskId>),
    Shared(Arc<SharedTask<T>>),
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: 'static> Shareable<T> {
    #[inline]
    pub(super) fn new(task: NativeJoin<T>) -> Shareable<T>
    where
        T: Send,
    {
        Shareable {
            state: Mutex::new(State::Own(Own {
                task: AlwaysSend::new(task),
                is_send: IsSend::new(),
                awaiter: None,
                is_done: false,
            })),
        }
    }

    pub(super) fn local(task: LocalJoin<T>) -> Shareable<T> {
        Shareable {
            state: Mutex::new(State::Local(task)),
        }
    }

    #[inline]
    pub(super) fn listed(task: ListedJoin<T>) -> Shareable<T> {
        Shareable {
            state: Mutex::new(State::Listed(task, None)),
        }
    }

    #[inline]
    pub(super) fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        let state = match self.state.get_mut() {
            Ok(state) => state,
            Err(poisoned) => poisoned.into_inner(),
        };
        match state {
            State::Own(own) if !own.is_done => own.poll(cx),
            State::Listed(task, id) => {
                let joined = task.poll(cx);
                if joined.is_ready() {
                    *state = State::Done(*id);
                }
                joined
            }
            _ => state.poll_others(cx),
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        let known = match &mut *lock(&self.state) {
            State::Own(own) if own.is_done => Some(true),
            State::Own(own) => own.task.get_mut().is_finished(),
            State::Local(task) => Some(task.is_finished()),
            State::Listed(task, _) => task.is_finished(),
            State::Shared(_) => None,
            State::Done(_) => Some(true),
        };
        known.unwrap_or_else(|| self.shared().is_none_or(|shared| shared.is_finished()))
    }

    pub(super) fn abort(&self) {
        match self.native_abort() {
            Some(native) => native.abort(),
            None => self.shared().into_iter().for_each(|shared| shared.abort()),
        }
    }

    pub(super) fn abort_handle(&self) -> Arc<dyn Abort> {
        let native = self.native_abort();
        native.unwrap_or_else(|| match self.shared() {
            Some(shared) => shared,
            None => Arc::new(Ended),
        })
    }

    /// The runtime's own abort handle, if it has one.
    fn native_abort(&self) -> Option<Arc<dyn Abort>> {
        match &mut *lock(&self.state) {
            State::Own(own) => own.task.get_mut().abort_handle(),
            State::Local(task) => Some(task.ending()),
            State::Listed(task, _) => task.abort_handle(),
            State::Shared(_) | State::Done(_) => None,
        }
    }

    /// Has `notice` given when the task has ended.
    pub(super) fn add_notice(&self, notice: Notice) -> DoneCallbackId {
        match self.notices() {
            Notices::Local(ending) => ending.done().add(notice),
            Notices::Listed(Some(done)) => done.add(notice),
            Notices::Listed(None) => done::at_once(notice),
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
            Notices::Watched => {
                let shared = match &*lock(&self.state) {
                    State::Shared(shared) => Arc::clone(shared),
                    _ => return false,
                };
                shared.done.remove(id)
            }
        }
    }

    fn notices(&self) -> Notices {
        match &*lock(&self.state) {
            State::Local(task) => Notices::Local(task.ending()),
            State::Listed(task, _) => Notices::Listed(task.done()),
            State::Own(_) | State::Shared(_) | State::Done(_) => Notices::Watched,
        }
    }

    pub(super) fn id(&self) -> TaskId {
        match &mut *lock(&self.state) {
            State::Done(id) => return *id.get_or_insert_with(TaskId::next),
            State::Local(task) => return task.id(),
            State::Listed(_, id) => return *id.get_or_insert_with(TaskId::next),
            State::Own(_) | State::Shared(_) => {}
        }
        match self.shared() {
            Some(shared) => *shared.id.get_or_init(TaskId::next),
            // Given out, while it was `Own`.
            None => self.id(),
        }
    }

    /// Moves the task to where others see it too. `None` if its outcome has been given out.
    fn shared(&self) -> Option<Arc<SharedTask<T>>> {
        let mut state = lock(&self.state);
        let shared = match mem::replace(&mut *state, State::Done(None)) {
            // What is left of it is dropped without the lock.
            State::Own(own) if own.is_done => {
                drop(state);
                drop(own);
                return None;
            }
            State::Own(own) => Arc::new(SharedTask {
                slot: Mutex::new(Slot {
                    held: Some(Held {
                        work: Work::Running(own.task),
                        is_send: own.is_send,
                        awaiter: own.awaiter,
                        watcher: None,
                    }),
                    notes: Notes::default(),
                }),
                done: Done::default(),
                id: OnceLock::new(),
            }),
            State::Shared(shared) => shared,
            other => {
                *state = other;
                return None;
            }
        };
        *state = State::Shared(Arc::clone(&shared));
        Some(shared)
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

impl<T: 'static> State<T> {
    #[cold]
    #[inline(never)]
    fn poll_others(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        let (joined, id) = match self {
            State::Local(task) => return task.poll(cx),
            State::Listed(..) => unreachable!("it is polled where there is no call"),
            State::Shared(shared) => (shared.poll(cx), shared.id.get().copied()),
            State::Own(_) | State::Done(_) => {
                panic!("`JoinHandle` polled after it gave its result")
            }
        };
        if joined.is_ready() {
            *self = State::Done(id);
        }
        joined
    }
}

impl<T: 'static> Drop for Shareable<T> {
    #[inline]
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let State::Shared(shared) = state {
            // Abort handles may stay; nobody will ask for the output.
            shared.release();
        }
    }
}

struct SharedTask<T: 'static> {
    slot: Mutex<Slot<T>>,
    done: Done,
    id: OnceLock<TaskId>,
}

struct Slot<T: 'static> {
    /// `None` while somebody works on it.
    held: Option<Held<T>>,
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

struct Held<T: 'static> {
    work: Work<T>,
    is_send: IsSend<T>,
    /// Woken at the end. Registered with the task, unless there is a watcher.
    awaiter: Option<Waker>,
    /// Registered with the task in place of the awaiter, if notices are to be given.
    watcher: Option<Waker>,
}

enum Work<T: 'static> {
    Running(AlwaysSend<NativeJoin<T>>),
    Cancelling(Cancel<T>),
    /// Ended, and nobody has asked for the outcome yet.
    Ended(AlwaysSend<Joined<T>>),
    Done,
}

impl<T: 'static> Held<T> {
    fn has_ended(&self) -> bool {
        matches!(self.work, Work::Ended(_) | Work::Done)
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
        let joined = match &mut self.work {
            Work::Running(task) => task.get_mut().poll(cx),
            Work::Cancelling(cancel) => cancel.as_mut().poll(cx),
            Work::Ended(_) | Work::Done => match mem::replace(&mut self.work, Work::Done) {
                Work::Ended(joined) => Poll::Ready(joined.into_inner()),
                // Released, or asked for twice.
                _ => Poll::Ready(Err(JoinError::cancelled())),
            },
        };
        if joined.is_ready() {
            self.work = Work::Done;
        }
        joined
    }

    /// Polls the task for somebody else than the awaiter, who is returned if it has to hear of the
    /// end.
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
                self.work = Work::Ended(AlwaysSend::result(joined, &self.is_send));
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
        let known = match &mut self.work {
            Work::Running(task) => task.get_mut().is_finished(),
            Work::Cancelling(_) => None,
            Work::Ended(_) | Work::Done => Some(true),
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
        match mem::replace(&mut self.work, Work::Done) {
            Work::Running(mut task) => match task.get_mut().abort_handle() {
                Some(native) => {
                    self.work = Work::Running(task);
                    native.abort();
                    None
                }
                None => {
                    self.work = Work::Cancelling(task.into_inner().cancel());
                    // The first poll is what starts it.
                    self.look()
                }
            },
            other => {
                self.work = other;
                None
            }
        }
    }
}

/// Works on a task, and puts it back when it is done, also by a panic: of a waker of the user,
/// for example.
struct PutBack<'a, T: 'static> {
    shared: &'a SharedTask<T>,
    /// `None` once it is back.
    held: Option<Held<T>>,
    /// Who is to hear of the end.
    woken: Vec<Waker>,
}

impl<T: 'static> PutBack<'_, T> {
    fn get(&mut self) -> &mut Held<T> {
        match &mut self.held {
            Some(held) => held,
            None => unreachable!("nobody works on a task that was put back"),
        }
    }
}

impl<T: 'static> Drop for PutBack<'_, T> {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else {
            return;
        };
        let (awaiter, has_notes) = {
            let mut slot = lock(&self.shared.slot);
            slot.held = Some(held);
            (slot.notes.awaiter.take(), slot.notes.has_any())
        };
        // What was asked for meanwhile is still to be done, and nobody else may come.
        if has_notes {
            contain(|| self.shared.look());
        }
        for waker in self.woken.drain(..).chain(awaiter) {
            contain(|| waker.wake());
        }
    }
}

impl<T: 'static> SharedTask<T> {
    /// Calls `f` on the task and wakes the waker that it returns. If somebody else works on the
    /// task, `note` is called.
    fn operate<R>(
        &self,
        note: impl FnOnce(&mut Notes) -> Option<Waker>,
        f: impl FnOnce(&mut Held<T>) -> (R, Option<Waker>),
    ) -> Option<R> {
        let taken = {
            let mut slot = lock(&self.slot);
            match slot.held.take() {
                Some(held) => Ok(held),
                None => Err(note(&mut slot.notes)),
            }
        };
        // A waker that is replaced is dropped here, without the lock.
        let mut held = PutBack {
            shared: self,
            held: Some(taken.ok()?),
            woken: Vec::new(),
        };
        let (result, awaiter) = f(held.get());
        held.woken.extend(awaiter);
        let ended = loop {
            let mut slot = lock(&self.slot);
            if mem::take(&mut slot.notes.abort) {
                drop(slot);
                let awaiter = held.get().abort();
                held.woken.extend(awaiter);
                continue;
            }
            let watcher = slot.notes.watch.take();
            if watcher.is_some() || mem::take(&mut slot.notes.look) {
                drop(slot);
                let awaiter = match watcher {
                    Some(watcher) => held.get().watch(watcher),
                    None => held.get().look(),
                };
                held.woken.extend(awaiter);
                continue;
            }
            held.woken.extend(slot.notes.awaiter.take());
            let ended = held.get().has_ended().then(|| held.get().watcher.take());
            slot.held = held.held.take();
            break ended;
        };
        if let Some(watcher) = ended {
            // The watcher keeps the task that it is kept by.
            drop(watcher);
            self.done.end();
        }
        mem::take(&mut held.woken).into_iter().for_each(Waker::wake);
        Some(result)
    }

    fn add_notice(self: &Arc<Self>, notice: Notice) -> DoneCallbackId {
        let id = self.done.add(notice);
        let watcher = Waker::from(Arc::new(Watch(Arc::clone(self))));
        let note = watcher.clone();
        self.operate(
            |notes| notes.watch.replace(note),
            |held| match held.watcher {
                Some(_) => ((), None),
                None => ((), held.watch(watcher)),
            },
        );
        id
    }

    /// Looks at the task, because the watcher was woken.
    fn look(&self) {
        let note = |notes: &mut Notes| {
            notes.look = true;
            None
        };
        self.operate(note, |held| ((), held.look()));
    }

    fn poll(&self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        let waker = cx.waker().clone();
        let note = waker.clone();
        let polled = self.operate(
            |notes| notes.awaiter.replace(note),
            |held| (held.poll(waker), None),
        );
        polled.unwrap_or(Poll::Pending)
    }

    /// Drops the outcome as soon as there is one.
    fn release(self: &Arc<Self>) {
        let waker = Waker::from(Arc::new(Release(Arc::downgrade(self))));
        let joined = self.poll(&mut task::Context::from_waker(&waker));
        // Whoever ends the task is not to hear of a panic of its output's destructor.
        contain(|| drop(joined));
    }
}

impl<T: 'static> Abort for SharedTask<T> {
    fn abort(&self) {
        let note = |notes: &mut Notes| {
            notes.abort = true;
            None
        };
        self.operate(note, |held| ((), held.abort()));
    }

    fn is_finished(&self) -> bool {
        self.operate(|_| None, Held::is_finished)
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
