//! Values, captures, outputs, payloads and wakers that use the crate wherever their own code runs.

use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

use aiocontextvars::{Context, ContextExt, ContextVar, context_var, copy_context, shim};

use crate::fixtures::{ID, Log};
use crate::harness::message;

use crate::waker::{WakerHook, waker};

context_var! {
    #[debug] pub(crate) static MEDDLER: Meddler;
}

/// What a [`Meddler`] does where its code runs. It leaves everything as it was, and checks what it
/// finds.
pub(crate) type Operation = (&'static str, fn());

pub(crate) const OPERATIONS: [Operation; 9] = [
    ("nothing", || ()),
    ("read", read),
    ("write", write),
    ("guard", guard),
    ("enter", enter),
    ("share", share),
    ("spawn", spawn),
    ("call", call),
    ("block", block),
];

fn read() {
    let id = ID.get();
    assert_eq!((ID.try_get().ok(), ID.get_or(5)), (id, id.unwrap_or(5)));
    assert_eq!(ID.with(|value| value.copied()), id);
    let fresh = ContextVar::<u64>::with_default("fresh", || ID.get_or(3));
    assert_eq!(fresh.get(), 3);
    let copy = copy_context();
    assert_eq!(copy.iter().count(), copy.len());
    assert_eq!(copy.get(&ID).copied(), id);
    let shown = MEDDLER.with(|value| value.is_some());
    // Within its own `Debug`, a value is shown as dots.
    let text = format!("{copy:?}");
    assert_eq!(text.contains("Meddler") || text.contains("..."), shown);
}

/// Whether what is written stays: not in a thread that is exiting.
fn may_write() -> bool {
    let written = ID.try_set(10);
    written.is_ok_and(|token| ID.reset(token).is_ok())
}

fn write() {
    if !may_write() {
        return;
    }
    let id = ID.get();
    let set = ID.set(11);
    let unset = ID.unset();
    assert_eq!((ID.get(), unset.old_value()), (None, Some(&11)));
    ID.reset(unset).unwrap();
    assert_eq!(ID.get(), Some(11));
    ID.reset(set).unwrap();
    // The very variable, too, whose value may be this one or have been.
    let set = MEDDLER.set(Meddler::inert());
    let unset = MEDDLER.unset();
    assert!(MEDDLER.with(|value| value.is_none()));
    MEDDLER.reset(set).unwrap();
    drop(unset);
    assert_eq!(ID.get(), id);
}

fn guard() {
    if !may_write() {
        return;
    }
    let id = ID.get();
    let outer = ID.scoped(12);
    let inner = ID.scoped(13);
    let very = MEDDLER.scoped(Meddler::inert());
    drop(outer);
    assert_eq!(ID.get(), Some(13));
    drop(copy_context());
    drop(very);
    drop(inner);
    assert_eq!(ID.get(), id);
}

fn enter() {
    let id = ID.get();
    let mut context = copy_context();
    context.run(|| {
        ID.set(14);
        MEDDLER.set(Meddler::inert());
    });
    assert_eq!((context.get(&ID), ID.get()), (Some(&14), id));
    let context = context.with_value(&MEDDLER, Meddler::inert());
    assert_eq!(context.bind(|| ID.get())(), Some(14));
    ID.sync_scope(15, || assert_eq!(ID.get(), Some(15)));
    drop(ID.scope(16, async {}));
    drop(async {}.in_current_context());
    assert_eq!(shim::bind(|| ID.get())(), id);
    let thread = shim::thread::spawn(|| ID.get());
    assert_eq!((thread.join().unwrap(), ID.get()), (id, id));
}

fn share() {
    let id = ID.get();
    let shared = Context::new().with_value(&ID, 17).share();
    let inside = || {
        assert!(shared.run(|| ()).is_err());
        ID.set(18);
        MEDDLER.set(Meddler::inert());
        assert!(format!("{shared:?}").contains("Meddler"));
        drop(async {}.in_context(&shared));
        (shared.get(&ID), shared.copy().len())
    };
    assert_eq!(shared.run(inside), Ok((Some(18), 2)));
    if has_executor() {
        let task = shim::spawn_in(&shared, async { ID.set(19) });
        shim::call_soon_in(&shared, || drop(MEDDLER.unset()));
        task.detach();
    }
    drop(copy_context().share());
    assert_eq!(ID.get(), id);
}

pub(crate) fn has_executor() -> bool {
    shim::try_spawn(async {}).is_ok()
}

fn spawn() {
    let id = ID.get();
    let Ok(task) = shim::try_spawn(async { ID.set(20) }) else {
        return;
    };
    task.add_done_callback(|| drop(ID.set(21)));
    let removed = task.add_done_callback(|| ());
    task.remove_done_callback(removed);
    task.abort();
    let abort = task.abort_handle();
    let _either = task.is_finished();
    abort.abort();
    task.detach();
    shim::spawn_blocking(|| ID.set(22)).detach();
    let mut set = shim::JoinSet::new();
    set.spawn(std::future::pending::<()>());
    drop(set);
    assert_eq!(ID.get(), id);
}

fn call() {
    const LONG: Duration = Duration::from_secs(3600);
    if !has_executor() {
        return;
    }
    let id = ID.get();
    shim::call_soon(|| drop(ID.set(23)));
    shim::call_soon(|| ()).cancel();
    shim::call_later(Duration::ZERO, || drop(ID.set(24)));
    let timer = shim::call_later(LONG, || unreachable!("cancelled"));
    timer.cancel();
    // Where there is a local executor, which only a panic tells.
    let local = panic::catch_unwind(|| shim::call_soon_local(|| drop(ID.set(26))));
    match local {
        Ok(_) => shim::call_soon_local(|| ()).cancel(),
        Err(payload) => assert!(message(&*payload).starts_with("no local executor")),
    }
    assert_eq!(ID.get(), id);
}

fn block() {
    // smol and async-std cannot block in a thread that is exiting, and may be the executor that is
    // found.
    if !may_write() && has_executor() {
        return;
    }
    let id = ID.get();
    let blocked = shim::try_block_on(async {
        let before = ID.get();
        ID.set(25);
        shim::yield_now().await;
        (before, ID.get())
    });
    if let Ok(seen) = blocked {
        assert_eq!(seen, (id, Some(25)));
    }
    assert_eq!(ID.get(), id);
}

/// Which of a meddler's own code runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hook {
    Clone,
    Drop,
    Debug,
    /// A waker is cloned, woken or dropped.
    Waker,
}

/// What is known of some meddlers.
#[derive(Clone)]
pub(crate) struct Record {
    live: Arc<AtomicUsize>,
    /// Each hook, and the value of [`ID`] there.
    seen: Log<(Hook, Option<u64>)>,
    failures: Log<String>,
}

impl Record {
    pub(crate) fn new() -> Record {
        Record {
            live: Arc::default(),
            seen: Log::new(),
            failures: Log::new(),
        }
    }

    pub(crate) fn meddler(&self, operation: Operation) -> Meddler {
        self.live.fetch_add(1, Ordering::SeqCst);
        Meddler {
            record: self.clone(),
            operation,
        }
    }

    /// How many meddlers have not been dropped.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    /// The value of [`ID`] at each call of this hook.
    pub(crate) fn seen(&self, hook: Hook) -> Vec<Option<u64>> {
        let seen = self.seen.take();
        let ours = seen.iter().filter(|(other, _)| *other == hook);
        let ids = ours.map(|(_, id)| *id).collect();
        seen.into_iter().for_each(|entry| self.seen.push(entry));
        ids
    }

    /// Fails if an operation has failed.
    #[track_caller]
    pub(crate) fn check(&self, place: &str, operation: Operation) {
        let failures = self.failures.take();
        assert!(
            failures.is_empty(),
            "{place}, {}: {failures:?}",
            operation.0
        );
    }

    fn note(&self, hook: Hook, operation: Operation) {
        thread_local! {
            /// Whether this thread is in a hook: those within do nothing, or there would be no end.
            static BUSY: Cell<bool> = const { Cell::new(false) };
        }
        self.seen.push((hook, ID.get()));
        if BUSY.replace(true) {
            return;
        }
        let state = || (ID.get(), copy_context().len());
        let before = state();
        let outcome = panic::catch_unwind(AssertUnwindSafe(operation.1));
        if let Err(payload) = outcome {
            self.failures
                .push(format!("{hook:?}: {}", message(&*payload)));
        } else if state() != before {
            self.failures.push(format!("{hook:?} has left traces"));
        }
        BUSY.set(false);
    }
}

/// Does an operation of the crate when it is cloned, shown and dropped.
pub(crate) struct Meddler {
    record: Record,
    operation: Operation,
}

impl Meddler {
    /// One that does nothing, for operations.
    fn inert() -> Meddler {
        Record::new().meddler(OPERATIONS[0])
    }
}

impl Clone for Meddler {
    fn clone(&self) -> Meddler {
        self.record.note(Hook::Clone, self.operation);
        self.record.meddler(self.operation)
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.record.note(Hook::Drop, self.operation);
        self.record.live.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for Meddler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record.note(Hook::Debug, self.operation);
        f.write_str("Meddler")
    }
}

/// A waker that meddles, and calls `wake` when it is woken.
pub(crate) fn meddling_waker(
    mut meddler: Meddler,
    wake: impl Fn() + Send + Sync + 'static,
) -> Waker {
    // Nobody may block in a waker: the thread that calls or drops it may be in the middle of its
    // runtime's own work.
    if meddler.operation.0 == "block" {
        meddler.operation = OPERATIONS[0];
    }
    waker(move |hook| {
        meddler.record.note(Hook::Waker, meddler.operation);
        if hook == WakerHook::Wake {
            wake();
        }
    })
}
