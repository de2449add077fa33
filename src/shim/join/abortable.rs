//! Handles of tasks that are cancelled by being used up, made abortable through a shared reference.
//!
//! Polling, cancelling and asking run code of users: wakers, schedule functions, destructors. So no lock is held
//! meanwhile. Whoever works on the handle takes it out of its [`Slot`]; who comes in between leaves a note there,
//! which is seen to when the handle is put back.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{self, Poll, Wake, Waker};

use super::done::{self, Done, DoneCallbackId, Notice};
use super::{Abort, JoinError};
use crate::contain::contain;
use crate::sync::{Mutex, MutexGuard};

/// A runtime's handle to a task, which is detached when dropped.
///
/// Not [`RawTask`]: a [`JoinHandle`](super::JoinHandle) of a local task may have an output that is not `Send`.
pub(crate) trait JoinTask {
    type Output;

    /// A poll that is not ready must not have woken its waker: whoever looks at the task on being woken would go on for
    /// ever, and so would an executor that polls until nobody is awake.
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<Self::Output>>;
}

/// A [`JoinTask`] that may be used from any thread, and is cancelled by being used up.
pub(crate) trait RawTask: JoinTask<Output: Send> + Send + Sized {
    /// Whether the task has ended; `None` if only a poll can tell.
    fn is_finished(&self) -> Option<bool>;

    /// Cancels the task at the first poll; completes when it has ended.
    fn cancel(self) -> BoxedCancel<Self::Output>;
}

pub(crate) type Joined<T> = Result<T, JoinError>;

pub(crate) type BoxedCancel<T> = Pin<Box<dyn Future<Output = Joined<T>> + Send>>;

/// What needs `R: RawTask`, found when the task is made.
struct Operations<R: JoinTask + 'static> {
    is_finished: fn(&R) -> Option<bool>,
    cancel: fn(R) -> BoxedCancel<R::Output>,
    erase: fn(Arc<SharedTask<R>>) -> Arc<dyn Abort>,
    release: fn(&Arc<SharedTask<R>>),
    watcher: fn(&Arc<SharedTask<R>>) -> Waker,
}

/// A [`RawTask`] that can be aborted through a shared reference, and from several places.
///
/// Nothing is allocated until somebody aborts or asks for an abort handle.
pub(crate) struct Shareable<R: JoinTask + 'static> {
    place: Mutex<Place<R>>,
    operations: &'static Operations<R>,
}

enum Place<R: JoinTask + 'static> {
    /// With who awaits it, whose waker the task has.
    Own(R, Option<Waker>),
    /// Where others see it too.
    Shared(Arc<SharedTask<R>>),
    /// The result has been given out.
    Done,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R: JoinTask + 'static> Shareable<R> {
    #[inline]
    pub(super) fn new(task: R) -> Shareable<R>
    where
        R: RawTask,
    {
        Shareable {
            place: Mutex::new(Place::Own(task, None)),
            operations: const {
                &Operations {
                    is_finished: R::is_finished,
                    cancel: R::cancel,
                    erase: |shared| shared,
                    release: SharedTask::release,
                    watcher: SharedTask::watcher,
                }
            },
        }
    }

    #[inline]
    pub(super) fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<R::Output>> {
        let place = self.place.get_mut().unwrap_or_else(PoisonError::into_inner);
        let joined = match place {
            Place::Own(task, awaiter) => {
                let joined = task.poll(cx);
                let is_known = |known: &Waker| known.will_wake(cx.waker());
                if joined.is_pending() && !awaiter.as_ref().is_some_and(is_known) {
                    *awaiter = Some(cx.waker().clone());
                }
                joined
            }
            Place::Shared(shared) => shared.poll(cx),
            Place::Done => panic!("`JoinHandle` polled after it gave its result"),
        };
        if joined.is_ready() {
            *place = Place::Done;
        }
        joined
    }

    pub(super) fn is_finished(&self) -> bool {
        let known = match &*lock(&self.place) {
            Place::Own(task, _) => (self.operations.is_finished)(task),
            Place::Shared(_) => None,
            Place::Done => Some(true),
        };
        known.unwrap_or_else(|| self.shared().is_none_or(|shared| shared.is_finished()))
    }

    pub(super) fn abort(&self) {
        if let Some(shared) = self.shared() {
            shared.abort();
        }
    }

    pub(super) fn share(&self) -> Arc<dyn Abort> {
        match self.shared() {
            Some(shared) => (self.operations.erase)(shared),
            None => Arc::new(Ended),
        }
    }

    /// Has `notice` given when the task has ended.
    pub(super) fn add_notice(&self, notice: Notice) -> DoneCallbackId {
        match self.shared() {
            Some(shared) => shared.add_notice(notice),
            None => done::at_once(notice),
        }
    }

    pub(super) fn remove_notice(&self, id: DoneCallbackId) -> bool {
        self.shared().is_some_and(|shared| shared.done.remove(id))
    }

    /// Moves the task to where others see it too. `None` if its result has been given out.
    fn shared(&self) -> Option<Arc<SharedTask<R>>> {
        let mut place = lock(&self.place);
        let shared = match mem::replace(&mut *place, Place::Done) {
            Place::Own(task, awaiter) => Arc::new(SharedTask {
                slot: Mutex::new(Slot {
                    held: Some(Held {
                        work: Work::Running(task),
                        awaiter,
                        watcher: None,
                    }),
                    abort: false,
                    watch: None,
                    look: false,
                    came: None,
                }),
                done: Done::default(),
                operations: self.operations,
            }),
            Place::Shared(shared) => shared,
            Place::Done => return None,
        };
        *place = Place::Shared(Arc::clone(&shared));
        Some(shared)
    }
}

impl<R: JoinTask + 'static> Drop for Shareable<R> {
    fn drop(&mut self) {
        let place = self.place.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Place::Shared(shared) = place {
            // Abort handles may stay; nobody will ask for the output.
            (self.operations.release)(shared);
        }
    }
}

/// The task of an abort handle that was asked for when the result had been given out.
struct Ended;

impl Abort for Ended {
    fn abort(&self) {}

    fn is_finished(&self) -> bool {
        true
    }
}

struct SharedTask<R: JoinTask + 'static> {
    slot: Mutex<Slot<R>>,
    done: Done,
    operations: &'static Operations<R>,
}

struct Slot<R: JoinTask> {
    /// `None` while somebody works on it.
    held: Option<Held<R>>,
    /// Whether an abort was asked for meanwhile.
    abort: bool,
    /// A watcher that came meanwhile.
    watch: Option<Waker>,
    /// Whether the watcher was woken meanwhile.
    look: bool,
    /// Who came to await meanwhile.
    came: Option<Waker>,
}

struct Held<R: JoinTask> {
    work: Work<R>,
    /// Who is to be woken at the end. Registered with the task, unless there is a watcher.
    awaiter: Option<Waker>,
    /// Registered with the task instead of the awaiter, if there are others who have to hear of the end.
    watcher: Option<Waker>,
}

enum Work<R: JoinTask> {
    Running(R),
    Cancelling(BoxedCancel<R::Output>),
    /// Ended, and nobody has asked for the outcome yet.
    Ended(Joined<R::Output>),
    Done,
}

impl<R: JoinTask> Held<R> {
    /// Polls the task, with `waker` to be woken at its end.
    fn poll(&mut self, waker: Waker) -> Poll<Joined<R::Output>> {
        let registered = self.watcher.as_ref().unwrap_or(&waker).clone();
        let outcome = self.poll_with(&registered);
        self.awaiter = outcome.is_pending().then_some(waker);
        outcome
    }

    fn poll_with(&mut self, waker: &Waker) -> Poll<Joined<R::Output>> {
        let mut cx = task::Context::from_waker(waker);
        let joined = match &mut self.work {
            Work::Running(task) => task.poll(&mut cx),
            Work::Cancelling(cancel) => cancel.as_mut().poll(&mut cx),
            Work::Ended(_) | Work::Done => match mem::replace(&mut self.work, Work::Done) {
                Work::Ended(joined) => Poll::Ready(joined),
                // Released, or asked for twice.
                _ => Poll::Ready(Err(JoinError::cancelled())),
            },
        };
        if joined.is_ready() {
            self.work = Work::Done;
        }
        joined
    }

    /// Polls the task for somebody else than the awaiter, who is returned if it has to hear of the end.
    fn look(&mut self) -> Option<Waker> {
        if self.has_ended() {
            return None;
        }
        // With the waker that is registered, which stays so while the task runs. At the end the task takes it
        // for known that whoever has this waker knows.
        let registered = self.watcher.as_ref().or(self.awaiter.as_ref());
        let registered = registered.cloned();
        let waker = registered.unwrap_or_else(|| Waker::noop().clone());
        match self.poll_with(&waker) {
            Poll::Ready(outcome) => {
                self.work = Work::Ended(outcome);
                self.awaiter.take()
            }
            Poll::Pending => None,
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self.work, Work::Ended(_) | Work::Done)
    }

    /// From now on `watcher` hears of the end.
    fn watch(&mut self, watcher: Waker) -> Option<Waker> {
        self.watcher = Some(watcher);
        self.look()
    }

    fn is_finished(&mut self, operations: &Operations<R>) -> (bool, Option<Waker>) {
        let known = match &self.work {
            Work::Running(task) => (operations.is_finished)(task),
            Work::Cancelling(_) => None,
            Work::Ended(_) | Work::Done => Some(true),
        };
        match known {
            Some(finished) => (finished, None),
            None => {
                let awaiter = self.look();
                (matches!(self.work, Work::Ended(_)), awaiter)
            }
        }
    }

    fn cancel(&mut self, operations: &Operations<R>) -> Option<Waker> {
        match mem::replace(&mut self.work, Work::Done) {
            Work::Running(task) => {
                self.work = Work::Cancelling((operations.cancel)(task));
                // The first poll is what starts it.
                self.look()
            }
            other => {
                self.work = other;
                None
            }
        }
    }
}

impl<R: JoinTask + 'static> SharedTask<R> {
    /// Calls `f` on the task and wakes whom it returns, or calls `note` if somebody else works on it.
    fn operate<T>(
        &self,
        note: impl FnOnce(&mut Slot<R>) -> Option<Waker>,
        f: impl FnOnce(&mut Held<R>) -> (T, Option<Waker>),
    ) -> Option<T> {
        let taken = {
            let mut slot = lock(&self.slot);
            match slot.held.take() {
                Some(held) => Ok(held),
                None => Err(note(&mut slot)),
            }
        };
        let mut held = taken.ok()?;
        let (result, awaiter) = f(&mut held);
        let mut woken = Vec::from_iter(awaiter);
        let ended = loop {
            let mut slot = lock(&self.slot);
            if mem::take(&mut slot.abort) {
                drop(slot);
                woken.extend(held.cancel(self.operations));
                continue;
            }
            let watcher = slot.watch.take();
            if watcher.is_some() || mem::take(&mut slot.look) {
                drop(slot);
                woken.extend(match watcher {
                    Some(watcher) => held.watch(watcher),
                    None => held.look(),
                });
                continue;
            }
            woken.extend(slot.came.take());
            let ended = held.has_ended().then(|| held.watcher.take());
            slot.held = Some(held);
            break ended;
        };
        if let Some(watcher) = ended {
            // The watcher keeps the task that it is kept by.
            drop(watcher);
            self.done.end();
        }
        woken.into_iter().for_each(Waker::wake);
        Some(result)
    }

    fn add_notice(self: &Arc<Self>, notice: Notice) -> DoneCallbackId {
        let id = self.done.add(notice);
        let watcher = (self.operations.watcher)(self);
        let note = watcher.clone();
        self.operate(
            |slot| slot.watch.replace(note),
            |held| match held.watcher {
                Some(_) => ((), None),
                None => ((), held.watch(watcher)),
            },
        );
        id
    }

    /// The watcher was woken.
    fn look(&self) {
        let note = |slot: &mut Slot<R>| {
            slot.look = true;
            None
        };
        self.operate(note, |held| ((), held.look()));
    }

    fn poll(&self, cx: &mut task::Context<'_>) -> Poll<Joined<R::Output>> {
        let waker = cx.waker().clone();
        let came = waker.clone();
        let polled = self.operate(
            |slot| slot.came.replace(came),
            |held| (held.poll(waker), None),
        );
        polled.unwrap_or(Poll::Pending)
    }

    fn is_finished(&self) -> bool {
        self.operate(|_| None, |held| held.is_finished(self.operations))
            .unwrap_or_default()
    }

    fn abort(&self) {
        let ask = |slot: &mut Slot<R>| {
            slot.abort = true;
            None
        };
        self.operate(ask, |held| ((), held.cancel(self.operations)));
    }
}

impl<R: RawTask + 'static> SharedTask<R> {
    fn watcher(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::new(Watch(Arc::clone(self))))
    }

    /// Drops the outcome as soon as there is one.
    fn release(self: &Arc<Self>) {
        let waker = Waker::from(Arc::new(Release(Arc::downgrade(self))));
        let outcome = self.poll(&mut task::Context::from_waker(&waker));
        // Whoever ends the task is not to hear of a panic of its output's destructor.
        contain(|| drop(outcome));
    }
}

/// Releases a task that has ended.
struct Release<R: JoinTask + 'static>(Weak<SharedTask<R>>);

impl<R: RawTask + 'static> Wake for Release<R> {
    fn wake(self: Arc<Self>) {
        if let Some(task) = self.0.upgrade() {
            task.release();
        }
    }
}

/// Watches for the end of a task that others than its awaiter have to hear of. Keeps the task's handle, also when
/// nobody awaits it any more; the end takes the two apart.
struct Watch<R: JoinTask + 'static>(Arc<SharedTask<R>>);

impl<R: RawTask + 'static> Wake for Watch<R> {
    fn wake(self: Arc<Self>) {
        self.0.look();
    }
}

impl<R: RawTask + 'static> Abort for SharedTask<R> {
    fn abort(&self) {
        SharedTask::abort(self);
    }

    fn is_finished(&self) -> bool {
        SharedTask::is_finished(self)
    }
}
