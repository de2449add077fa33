//! Callbacks that stay on their thread: the closures wait in a thread-local, and queues and handles, which are
//! `Send`, hold tickets.

use std::cell::{OnceCell, RefCell};
use std::mem;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use slab::Slab;

use super::Work;
use crate::current::Entered;
use crate::future::TaskContext;
use crate::shared::SharedContext;
use crate::shim::task::contain;

/// A closure that stays on this thread, in its context.
trait LocalWork {
    fn shared(&self) -> Option<SharedContext>;
    fn run(self: Box<Self>, shared: Option<Entered<'_>>) -> &'static Location<'static>;
}

impl<F: FnOnce(), C: TaskContext> LocalWork for Work<F, C> {
    fn shared(&self) -> Option<SharedContext> {
        self.f.shared().cloned()
    }

    fn run(self: Box<Self>, shared: Option<Entered<'_>>) -> &'static Location<'static> {
        Work::run(*self, shared)
    }
}

/// The keys of the closures that other threads have cancelled.
#[derive(Default)]
struct Trash {
    keys: Mutex<Vec<usize>>,
    any: AtomicBool,
}

thread_local! {
    /// The closures that wait on this thread.
    static WAITING: RefCell<Slab<Box<dyn LocalWork>>> = const { RefCell::new(Slab::new()) };
    /// Also tells this thread from others.
    static TRASH: OnceCell<Arc<Trash>> = const { OnceCell::new() };
}

/// A ticket for a closure of one thread.
pub(crate) struct Ticket {
    home: Arc<Trash>,
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
        Ticket {
            home: TRASH.with(|trash| Arc::clone(trash.get_or_init(Arc::default))),
            key: WAITING.with_borrow_mut(|waiting| waiting.insert(Box::new(work))),
            taken: AtomicBool::new(false),
        }
    }

    fn is_home(&self) -> bool {
        TRASH
            .try_with(|trash| {
                let here = trash.get();
                here.is_some_and(|here| Arc::ptr_eq(here, &self.home))
            })
            .unwrap_or(false)
    }

    /// Known at home only.
    pub(super) fn shared(&self) -> Option<SharedContext> {
        if !self.is_home() || !self.is_pending() {
            return None;
        }
        WAITING.with_borrow(|waiting| waiting.get(self.key)?.shared())
    }

    pub(super) fn run(&self, shared: Option<Entered<'_>>) -> Option<&'static Location<'static>> {
        if !self.is_home() || self.taken.swap(true, Ordering::AcqRel) {
            return None;
        }
        take(self.key).map(|work| work.run(shared))
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.taken.load(Ordering::Acquire)
    }

    /// From elsewhere, the closure is dropped at home, at the next turn of a queue.
    pub(super) fn discard(&self) -> bool {
        if self.taken.swap(true, Ordering::AcqRel) {
            return false;
        }
        if self.is_home() {
            drop(take(self.key));
        } else {
            let keys = &self.home.keys;
            let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.push(self.key);
            self.home.any.store(true, Ordering::Release);
        }
        true
    }
}

fn take(key: usize) -> Option<Box<dyn LocalWork>> {
    // Not there any more when the thread's locals are being destroyed.
    WAITING
        .try_with(|waiting| waiting.borrow_mut().try_remove(key))
        .ok()
        .flatten()
}

/// Drops the closures of this thread that other threads have cancelled.
pub(crate) fn empty_trash() {
    let trash = TRASH.try_with(|trash| {
        let trash = trash.get()?;
        if !trash.any.load(Ordering::Acquire) {
            return None;
        }
        trash.any.store(false, Ordering::Relaxed);
        let mut keys = trash.keys.lock().unwrap_or_else(PoisonError::into_inner);
        Some(mem::take(&mut *keys))
    });
    for key in trash.ok().flatten().unwrap_or_default() {
        contain(|| drop(take(key)));
    }
}
