//! Callbacks that stay on their thread: the closures wait in a thread-local, and queues and
//! handles, which are `Send`, hold tickets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError, atomic};

use slab::Slab;

use super::work::{Pending, RunOutcome, Work};
use crate::catch::catch;
use crate::current::Frame;
use crate::id;
use crate::shared::SharedContext;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread_local;
use crate::task_context::TaskContext;

/// A closure that stays on this thread, in its context.
trait LocalWork {
    fn enter_first(&self) -> Option<SharedContext>;
    fn run(self: Box<Self>) -> RunOutcome;
    fn run_in(self: Box<Self>, frame: Option<Frame>) -> RunOutcome;
}

impl<F: FnOnce(), C: TaskContext> LocalWork for Work<F, C> {
    fn enter_first(&self) -> Option<SharedContext> {
        Work::enter_first(self)
    }

    fn run(self: Box<Self>) -> RunOutcome {
        Work::run(*self)
    }

    fn run_in(self: Box<Self>, frame: Option<Frame>) -> RunOutcome {
        Work::run_in(*self, frame)
    }
}

/// The closures that wait on this thread.
struct Waiting {
    /// Tells this thread from others. 0 until it is needed.
    thread: u64,
    closures: Slab<Box<dyn LocalWork>>,
}

thread_local! {
    static WAITING: RefCell<Waiting> = const {
        RefCell::new(Waiting {
            thread: 0,
            closures: Slab::new(),
        })
    };
}

/// The threads on which closures may wait, with the keys of those that other threads have
/// cancelled.
static TRASH: Mutex<BTreeMap<u64, Vec<usize>>> = Mutex::new(BTreeMap::new());

/// Whether there is any, so that queues need no lock to see that there is none.
static ANY_TRASH: atomic::AtomicBool = atomic::AtomicBool::new(false);

fn trash() -> MutexGuard<'static, BTreeMap<u64, Vec<usize>>> {
    TRASH.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Waiting {
    /// At thread exit.
    fn drop(&mut self) {
        trash().remove(&self.thread);
        for closure in self.closures.drain() {
            // A panic here would abort the process.
            catch(|| drop(closure));
        }
    }
}

/// A closure that stays on the thread that scheduled it.
pub(super) struct Ticket {
    home: u64,
    /// Stays this closure's until it is taken out.
    key: usize,
    /// Whoever sets it takes the closure out, or has it done at home.
    taken: AtomicBool,
}

impl Ticket {
    pub(super) fn new<F, C>(work: Work<F, C>) -> Ticket
    where
        F: FnOnce() + 'static,
        C: TaskContext + 'static,
    {
        let ticket = WAITING.try_with(|waiting| {
            let waiting = &mut *waiting.borrow_mut();
            if waiting.thread == 0 {
                waiting.thread = id::next();
                trash().insert(waiting.thread, Vec::new());
            }
            Ticket {
                home: waiting.thread,
                key: waiting.closures.insert(Box::new(work)),
                taken: AtomicBool::new(false),
            }
        });
        // Nothing waits any more where the thread's locals are gone: the closure has been dropped.
        ticket.unwrap_or(Ticket {
            home: 0,
            key: 0,
            taken: AtomicBool::new(true),
        })
    }

    fn is_home(&self) -> bool {
        // Not there any more when the thread's locals are being destroyed.
        let here = WAITING.try_with(|waiting| waiting.borrow().thread);
        here.is_ok_and(|here| here == self.home)
    }

    fn take(&self) -> Option<Box<dyn LocalWork>> {
        if self.taken.swap(true, Ordering::AcqRel) {
            return None;
        }
        take(self.key)
    }
}

impl Pending for Ticket {
    /// At home only.
    fn run(&self) -> RunOutcome {
        if !self.is_pending() || !self.is_home() {
            return RunOutcome::Cancelled;
        }
        let shared = WAITING.with_borrow(|waiting| waiting.closures.get(self.key)?.enter_first());
        if let Some(shared) = shared {
            return RunOutcome::Enter(shared);
        }
        self.take().map_or(RunOutcome::Cancelled, LocalWork::run)
    }

    /// At home only.
    fn run_in(&self, frame: Option<Frame>) -> RunOutcome {
        if !self.is_home() {
            return RunOutcome::Cancelled;
        }
        let work = self.take();
        work.map_or(RunOutcome::Cancelled, |work| work.run_in(frame))
    }

    fn is_pending(&self) -> bool {
        !self.taken.load(Ordering::Acquire)
    }

    /// From elsewhere, the closure is dropped at home, at the next turn of a queue.
    fn discard(&self) -> bool {
        if self.taken.swap(true, Ordering::AcqRel) {
            return false;
        }
        if self.is_home() {
            drop(take(self.key));
        } else if let Some(keys) = trash().get_mut(&self.home) {
            keys.push(self.key);
            ANY_TRASH.store(true, Ordering::Release);
        }
        true
    }
}

fn take(key: usize) -> Option<Box<dyn LocalWork>> {
    WAITING
        .try_with(|waiting| waiting.borrow_mut().closures.try_remove(key))
        .ok()
        .flatten()
}

/// Drops the closures of this thread that other threads have cancelled.
#[inline]
pub(crate) fn drop_remote_cancelled() {
    if ANY_TRASH.load(Ordering::Acquire) {
        drop_remote_cancelled_here();
    }
}

#[cold]
fn drop_remote_cancelled_here() {
    let Ok(thread) = WAITING.try_with(|waiting| waiting.borrow().thread) else {
        return;
    };
    let keys = {
        let mut trash = trash();
        let keys = trash.get_mut(&thread).map(mem::take);
        ANY_TRASH.store(
            trash.values().any(|keys| !keys.is_empty()),
            Ordering::Release,
        );
        keys
    };
    for key in keys.unwrap_or_default() {
        catch(|| drop(take(key)));
    }
}
