//! [`Done`]: who hears of a task's end, beside the one who awaits it.

use std::mem;
use std::sync::PoisonError;

use crate::catch::catch;
use crate::id;
use crate::shim::callback::Call;
use crate::shim::queue::Reservation;
use crate::sync::{Mutex, MutexGuard};

/// Names a callback that was added by
/// [`JoinHandle::add_done_callback`](super::JoinHandle::add_done_callback), for
/// [`remove_done_callback`](super::JoinHandle::remove_done_callback).
///
/// Closures cannot be compared, as asyncio compares functions.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct DoneCallbackId(u64);

impl DoneCallbackId {
    pub(super) fn next() -> DoneCallbackId {
        DoneCallbackId(id::next())
    }
}

/// What happens when a task has ended.
pub(crate) enum Notice {
    /// A callback takes its place in its queue.
    Call(Call, Reservation),
    /// A function of the crate is called on the spot.
    Hook(Box<dyn FnOnce() + Send>),
}

impl Notice {
    /// Gives notices, in order. Calls for one queue take their places at once, so that nothing that
    /// one of them schedules comes before the others.
    fn give(notices: impl IntoIterator<Item = Notice>) {
        let mut calls: Vec<(Call, Reservation)> = Vec::new();
        for notice in notices {
            match notice {
                Notice::Call(call, place) => {
                    let is_other = |(_, first): &(Call, Reservation)| !first.is_beside(&place);
                    if calls.first().is_some_and(is_other) {
                        catch(|| Reservation::submit(mem::take(&mut calls)));
                    }
                    calls.push((call, place));
                }
                Notice::Hook(f) => catch(f),
            }
        }
        catch(|| Reservation::submit(calls));
    }

    fn discard(self) {
        if let Notice::Call(call, _place) = self {
            call.abandon();
        }
    }
}

/// The notices of a task.
#[derive(Default)]
pub(crate) struct Done {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    notices: Vec<(DoneCallbackId, Notice)>,
}

#[derive(Default)]
enum Phase {
    #[default]
    Pending,
    /// It has ended, and somebody gives the notices: those that come in between as well, so that
    /// none overtakes another.
    Ending,
    Ended,
}

impl Done {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a notice; it is given at once if the task has ended.
    pub(crate) fn add(&self, notice: Notice) -> DoneCallbackId {
        let id = DoneCallbackId::next();
        let mut state = self.lock();
        match state.phase {
            Phase::Pending | Phase::Ending => state.notices.push((id, notice)),
            Phase::Ended => {
                drop(state);
                Notice::give([notice]);
            }
        }
        id
    }

    /// Drops a callback, inside its context. Returns whether it was there.
    pub(crate) fn remove(&self, id: DoneCallbackId) -> bool {
        let removed = {
            let notices = &mut self.lock().notices;
            let found = notices.iter().position(|(other, _)| *other == id);
            found.map(|index| notices.remove(index).1)
        };
        let was_there = removed.is_some();
        removed.into_iter().for_each(Notice::discard);
        was_there
    }

    /// The task has ended: gives all notices, in the order in which they were added, and keeps
    /// none.
    pub(crate) fn end(&self) {
        {
            let mut state = self.lock();
            match state.phase {
                Phase::Pending => state.phase = Phase::Ending,
                Phase::Ending | Phase::Ended => return,
            }
        }
        loop {
            let notices = {
                let mut state = self.lock();
                if state.notices.is_empty() {
                    state.phase = Phase::Ended;
                    return;
                }
                mem::take(&mut state.notices)
            };
            Notice::give(notices.into_iter().map(|(_, notice)| notice));
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        // Of a task that nobody will see end. The closures are dropped inside their contexts.
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let notices = mem::take(&mut state.notices);
        notices.into_iter().for_each(|(_, notice)| notice.discard());
    }
}

/// For a task whose result has been given out, that is, one that has ended.
pub(crate) fn at_once(notice: Notice) -> DoneCallbackId {
    Notice::give([notice]);
    DoneCallbackId::next()
}
