//! What the rows observe: bodies that take an exit, and counters of all that they leave behind.

use std::any::Any;
use std::future::{self, Future};
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskCx, Poll, Waker};
use std::thread::{self, ThreadId};

use aiocontextvars::{Context, SharedContext, context_var, copy_context};
use futures::channel::oneshot;
use futures::future::BoxFuture;

use crate::fixtures::{ID, TENANT, until};
use crate::harness::boxed;

context_var! {
    /// Bound in the context of one unit of work only, which therefore takes the value with it.
    pub(super) static VALUE: Value;
    /// Beside it, where a row is about values that panic.
    pub(super) static PANICS: Panics;
}

/// [`ID`] where a unit of work is made, in its body, after its first step, and outside afterwards.
pub(super) const CAPTURED: Option<u64> = Some(1);
pub(super) const FIRST: Option<u64> = Some(11);
pub(super) const SECOND: Option<u64> = Some(12);
pub(super) const OUTSIDE: Option<u64> = Some(2);

/// Everything that has been observed so far. A list has an entry for each time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Seen {
    /// [`ID`] in the body, at each of its steps.
    pub(super) body: Vec<Option<u64>>,
    /// [`ID`] when what the future or the closure holds is dropped.
    pub(super) dropped: Vec<Option<u64>>,
    /// [`ID`] when the value in its context is dropped; an error if the destructor could not use
    /// the crate.
    pub(super) values: Vec<Result<Option<u64>, String>>,
    /// How many outputs have been dropped.
    pub(super) outputs: usize,
    /// How many drops were on another thread than the one that they had to be on.
    pub(super) astray: usize,
}

impl Seen {
    /// Whether as much has been dropped.
    fn has_come_to(&self, expected: &Seen) -> bool {
        self.dropped.len() >= expected.dropped.len()
            && self.values.len() >= expected.values.len()
            && self.outputs >= expected.outputs
    }
}

/// Shared by all that report to one [`Seen`].
#[derive(Clone, Debug, Default)]
pub(super) struct Probe {
    seen: Arc<Mutex<Seen>>,
    /// Locked while the unit of work is being made, which must not begin before its value is its
    /// own.
    making: Arc<Mutex<()>>,
    maker: Arc<Mutex<Maker>>,
}

/// Who makes the unit of work: an executor may begin it there, before the call that makes it has
/// returned.
#[derive(Debug, Default)]
struct Maker {
    thread: Option<ThreadId>,
    began: bool,
}

impl Probe {
    pub(super) fn new() -> Probe {
        Probe::default()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares all counters, also those that should be what they were, and the context of the
    /// caller.
    #[track_caller]
    pub(super) fn check(&self, step: &str, expected: &Seen, outside: Option<u64>) {
        assert_eq!((&self.seen(), ID.get()), (expected, outside), "{step}");
    }

    /// Waits until as much has been dropped.
    pub(super) async fn comes_to(&self, expected: &Seen) {
        until(|| self.seen().has_come_to(expected)).await;
    }

    /// Notes [`ID`] for a step of the body.
    pub(super) fn step(&self) {
        let id = ID.get();
        self.lock().body.push(id);
    }

    /// For the future or closure to hold, which is to be dropped on this thread if it `stays`.
    fn held(&self, stays: bool) -> Held {
        Held {
            probe: self.clone(),
            home: stays.then(|| thread::current().id()),
        }
    }

    /// What has been observed so far.
    pub(super) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// For [`VALUE`].
    pub(super) fn value(&self) -> Value {
        Value(self.clone())
    }

    pub(super) fn output(&self) -> Output {
        Output(self.clone())
    }

    /// A context that is nobody else's, with a value.
    pub(super) fn context(&self) -> Context {
        Context::new()
            .with_value(&ID, CAPTURED.unwrap())
            .with_value(&VALUE, self.value())
    }

    /// Whether the unit of work began within the call that made it.
    pub(super) fn began_while_made(&self) -> bool {
        self.maker.lock().unwrap().began
    }

    /// Calls `f`, which captures the current context, with a value in it that nobody else keeps.
    /// Afterwards the current context is another.
    pub(super) fn captured<R>(&self, f: impl FnOnce() -> R) -> R {
        let _making = self.making.lock().unwrap();
        self.maker.lock().unwrap().thread = Some(thread::current().id());
        ID.set(CAPTURED.unwrap());
        VALUE.set(self.value());
        let made = f();
        VALUE.unset();
        self.maker.lock().unwrap().thread = None;
        ID.set(OUTSIDE.unwrap());
        made
    }
}

/// What a future or closure holds: it is dropped with it.
#[derive(Debug)]
pub(super) struct Held {
    probe: Probe,
    /// The thread that it has to be dropped on.
    home: Option<ThreadId>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let id = ID.get();
        let is_home = self.home.is_none_or(|home| home == thread::current().id());
        let mut seen = self.probe.lock();
        seen.dropped.push(id);
        seen.astray += usize::from(!is_home);
    }
}

/// What a body returns.
#[derive(Debug)]
pub(super) struct Output(Probe);

impl Drop for Output {
    fn drop(&mut self) {
        self.0.lock().outputs += 1;
    }
}

/// A context variable's value that uses the crate when it goes.
#[derive(Debug)]
pub(super) struct Value(Probe);

impl Drop for Value {
    fn drop(&mut self) {
        let used = panic::catch_unwind(AssertUnwindSafe(use_the_crate));
        let used = used.map_err(|payload| crate::harness::message(&*payload).to_owned());
        self.0.lock().values.push(used);
    }
}

/// Panics when it is dropped, unless that is because of a panic.
#[derive(Debug)]
pub(super) struct Panics;

impl Drop for Panics {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic::resume_unwind(Box::new(PANIC));
        }
    }
}

/// Reads, writes, enters and copies, and leaves the current context as it was. Returns what [`ID`]
/// is.
fn use_the_crate() -> Option<u64> {
    let (before, size) = (ID.get(), copy_context().len());
    assert_eq!(TENANT.get(), "public");
    assert!(VALUE.with(|value| value.is_none()), "it has gone");
    let token = ID.set(901);
    assert_eq!(ID.get(), Some(901));
    {
        let _guard = ID.scoped(902);
        assert_eq!(ID.get(), Some(902));
    }
    ID.reset(token).unwrap();
    let mut context = Context::new().with_value(&ID, 903);
    assert_eq!(context.run(|| ID.get()), Some(903));
    let shared = SharedContext::new();
    shared.run(|| ID.set(904)).unwrap();
    assert_eq!(shared.get(&ID), Some(904));
    assert_eq!((ID.get(), copy_context().len()), (before, size));
    before
}

/// How a body ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Exit {
    Returns,
    /// By `?`, in its second step.
    ReturnsEarly,
    PanicsFirst,
    PanicsSecond,
    /// Not at all: it never ends after its first step.
    Waits,
}

#[derive(Debug, Eq, PartialEq)]
pub(super) struct Early;

pub(super) type Ended = Result<Output, Early>;

impl Exit {
    /// What a body that takes this exit has seen when it has ended in a context captured by
    /// [`Probe::captured`], its output included if it has one. The value is dropped in an empty
    /// context.
    pub(super) fn seen(self) -> Seen {
        let (body, last) = match self {
            Exit::PanicsFirst => (vec![CAPTURED], FIRST),
            Exit::Waits => (vec![CAPTURED], FIRST),
            _ => (vec![CAPTURED, FIRST], SECOND),
        };
        Seen {
            body,
            dropped: vec![last],
            values: vec![Ok(None)],
            ..Seen::default()
        }
    }

    /// Compares how a body ended with this exit. The output, if any, is dropped.
    #[track_caller]
    pub(super) fn check(self, ended: Result<Ended, Box<dyn Any + Send>>) {
        match (self, ended) {
            (Exit::Returns, Ok(Ok(Output(_)))) | (Exit::ReturnsEarly, Ok(Err(Early))) => {}
            (Exit::PanicsFirst | Exit::PanicsSecond, Err(payload)) => {
                assert_eq!(payload.downcast_ref(), Some(&PANIC));
            }
            (exit, ended) => panic!("{exit:?}: {ended:?}"),
        }
    }
}

/// The payload of the bodies' panics.
pub(crate) const PANIC: &str = "on purpose";

fn first_step(probe: &Probe, exit: Exit) {
    let begins = {
        let mut maker = probe.maker.lock().unwrap();
        maker.began = maker.thread == Some(thread::current().id());
        maker.began
    };
    if !begins {
        drop(probe.making.lock().unwrap());
    }
    probe.step();
    ID.set(FIRST.unwrap());
    if exit == Exit::PanicsFirst {
        panic::resume_unwind(Box::new(PANIC));
    }
}

fn second_step(probe: &Probe, exit: Exit) -> Ended {
    probe.step();
    ID.set(SECOND.unwrap());
    match exit {
        Exit::PanicsSecond => panic::resume_unwind(Box::new(PANIC)),
        Exit::ReturnsEarly => Err(Early)?,
        _ => {}
    }
    Ok(probe.output())
}

/// Controls a future made by [`future`]: its first step is over when `stepped` is completed, and
/// the second comes when `go` is sent.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) stepped: oneshot::Receiver<()>,
    pub(super) go: oneshot::Sender<()>,
}

/// A future that takes `exit`, and is to be dropped on this thread if it `stays`.
pub(super) fn future(probe: &Probe, exit: Exit, stays: bool) -> (BoxFuture<'static, Ended>, Gate) {
    let (steps, stepped) = oneshot::channel();
    let (go, going) = oneshot::channel();
    let (held, probe) = (probe.held(stays), probe.clone());
    let future = boxed(async move {
        let _held = held;
        first_step(&probe, exit);
        // Nobody listens where the future is about to be dropped.
        let _ = steps.send(());
        if exit == Exit::Waits || going.await.is_err() {
            future::pending::<()>().await;
        }
        second_step(&probe, exit)
    });
    (future, Gate { stepped, go })
}

/// A function that takes `exit`, and is to be dropped on this thread if it `stays`.
pub(super) fn function(
    probe: &Probe,
    exit: Exit,
    stays: bool,
) -> impl FnOnce() -> Ended + Send + use<> {
    let (held, probe) = (probe.held(stays), probe.clone());
    move || {
        let _held = held;
        first_step(&probe, exit);
        second_step(&probe, exit)
    }
}

/// Polls once, without an executor, and catches a panic.
pub(crate) fn poll_once<F: Future + ?Sized>(
    future: Pin<&mut F>,
) -> Result<Poll<F::Output>, Box<dyn Any + Send>> {
    let mut cx = TaskCx::from_waker(Waker::noop());
    panic::catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx)))
}

/// Calls `f` on another thread, and waits.
pub(crate) fn elsewhere<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| scope.spawn(f).join().unwrap())
}

/// Never drops `value`, which stays within reach of a leak checker.
pub(crate) fn leak(value: impl Send + 'static) {
    static LEAKED: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());
    let mut leaked = LEAKED.lock().unwrap_or_else(PoisonError::into_inner);
    leaked.push(Box::new(value));
}
