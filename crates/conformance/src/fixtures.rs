//! Variables and probes that the rows share.

#[path = "drops.rs"]
mod drops;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use aiocontextvars::{SharedContext, context_var, shim};

pub(crate) use self::drops::{Counted, Drops};

context_var! {
    pub(crate) static ID: u64;
    pub(crate) static TENANT: String = "public".to_owned();
    /// A value whose drop is counted.
    pub(crate) static HELD: Counted;
}

/// Collects values from several places, in the order of their arrival.
#[derive(Debug)]
pub(crate) struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Log<T> {
    pub(crate) fn new() -> Log<T> {
        Log(Arc::default())
    }

    pub(crate) fn push(&self, value: T) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(value);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What has arrived so far, which is forgotten.
    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Clone for Log<T> {
    fn clone(&self) -> Log<T> {
        Log(Arc::clone(&self.0))
    }
}

/// Notes the value of [`ID`] when it is dropped.
#[derive(Debug)]
pub(crate) struct SeesOnDrop(pub(crate) Log<Option<u64>>);

impl Drop for SeesOnDrop {
    fn drop(&mut self) {
        self.0.push(ID.get());
    }
}

/// A shared context that another thread is in.
pub(crate) struct HeldElsewhere {
    leave: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl HeldElsewhere {
    /// Enters `shared` on another thread, and calls `inside` there.
    pub(crate) fn enter(shared: &SharedContext, inside: fn()) -> HeldElsewhere {
        let (leave, left) = mpsc::channel();
        let (entered, wait) = mpsc::channel();
        let shared = shared.clone();
        let thread = thread::spawn(move || {
            let hold = || {
                inside();
                entered.send(()).unwrap();
                left.recv().unwrap();
            };
            shared.run(hold).unwrap();
        });
        wait.recv().unwrap();
        HeldElsewhere { leave, thread }
    }

    /// Has the other thread leave, and waits until it has.
    pub(crate) fn release(self) {
        self.leave.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// For how many milliseconds [`until`] waits.
static PATIENCE: AtomicU64 = AtomicU64::new(u64::MAX);

/// Has rows wait no longer than this for something to happen.
pub(crate) fn be_patient(patience: Duration) {
    let milliseconds = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    PATIENCE.store(milliseconds, Ordering::Relaxed);
}

/// Lets others go on until something has happened. Gives up in the end: a row that is left behind
/// would keep a processor busy for good.
pub(crate) async fn until(has_happened: impl Fn() -> bool) {
    let patience = Duration::from_millis(PATIENCE.load(Ordering::Relaxed));
    let start = Instant::now();
    while !has_happened() {
        assert!(start.elapsed() < patience, "it has not happened");
        shim::yield_now().await;
    }
}
