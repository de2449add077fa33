//! Threads: that inherit and that do not, with runtimes of their own, and at their exit. And what
//! the threads of the runtimes see outside of all work.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, Runner};
use fastrand::Rng;
use futures::channel::oneshot;

use crate::calls;
use crate::contexts;
use crate::ledger::{LEDGER, is_provoked};
use crate::round::{Local, Round};
use crate::runtime::Runtime;
use crate::tasks::{Nested, rest};
use crate::truth::{Truth, UNIT};
use crate::units::{Kind, Unit};

/// How many threads of our own there may be.
const THREADS: usize = 16;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Whether all of them have ended.
pub(crate) fn have_ended() -> bool {
    RUNNING.load(Ordering::SeqCst) == 0
}

/// Leave to start a thread.
pub(crate) struct Permit(());

impl Permit {
    pub(crate) fn take() -> Option<Permit> {
        let take = |running| (running < THREADS).then_some(running + 1);
        RUNNING
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .ok()?;
        Some(Permit(()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Checks that nothing is to be seen outside of all work.
pub(crate) fn check_outside(runtime: Runtime, at: &str) {
    // Or else this is the context of whoever blocks.
    if !contexts::is_nested() {
        Truth::NOTHING.check(runtime, || format!("{}: a thread", runtime.name()), at);
    }
}

/// What a task that the shim did not spawn must not do: others would see it.
fn check_refusal(runtime: Runtime) {
    if contexts::is_nested() || !runtime.refuses_foreign_writes() {
        return;
    }
    if let Ok(token) = UNIT.try_set(0) {
        LEDGER.fault(|| {
            format!(
                "{}: a write outside of all work was not refused",
                runtime.name()
            )
        });
        drop(UNIT.reset(token));
    }
}

/// Has a task that the shim did not spawn look.
pub(crate) fn witness(unit: &Unit) {
    if let Some(witness) = &unit.round().witness {
        let runtime = unit.round().runtime;
        witness(Box::new(move || {
            check_outside(runtime, "outside of all work");
            check_refusal(runtime);
        }));
    }
}

/// A thread, which this task waits for.
pub(crate) async fn thread(unit: &Unit, rng: &mut Rng, nested: Nested) {
    let Some(permit) = Permit::take() else { return };
    let kind = rng.u8(0..4);
    let other = Truth::new();
    let truth = match kind {
        0 | 1 => unit.truth(),
        2 => other,
        _ => Truth::NOTHING,
    };
    let thread = unit.child_of(Kind::Thread, truth);
    let exit = ExitUnit(unit.child_of(Kind::ThreadExit, Truth::NOTHING));
    let (done, wait) = oneshot::channel::<()>();
    let inner = rng.fork();
    let is_bare = kind == 3;
    let main = move || {
        let _done = (done, permit);
        run(thread, exit, inner, nested, is_bare);
    };
    let builder = shim::thread::Builder::new().name("soak".to_owned());
    let started = match kind {
        0 | 1 => builder.spawn(main),
        2 => builder.spawn_in(truth.context(), main),
        _ => thread::Builder::new().name("soak".to_owned()).spawn(main),
    };
    if let Err(error) = started {
        LEDGER.fault(|| format!("cannot start a thread: {error}"));
    }
    unit.at("waits for a thread");
    let _sent_or_dropped = wait.await;
}

/// Dropped with the thread's locals.
struct ExitUnit(Unit);

thread_local! {
    static AT_EXIT: RefCell<Option<ExitUnit>> = const { RefCell::new(None) };
}

fn run(unit: Unit, exit: ExitUnit, mut rng: Rng, nested: Nested, is_bare: bool) {
    if is_bare {
        // Written to the thread's own context, which may be gone when the locals are dropped.
        let truth = Truth::new();
        truth.set();
        unit.set_truth(truth);
    }
    unit.start();
    if rng.bool() {
        if is_bare {
            exit.0.set_truth(unit.truth().or_nothing());
        }
        AT_EXIT.set(Some(exit));
    } else {
        exit.0.set_truth(unit.truth());
        drop(exit);
    }
    contexts::run(&unit, &mut rng);
    match rng.u8(0..4) {
        0 => event_loop(&unit, &mut rng, nested),
        1 => runner(&unit, &mut rng),
        2 => unit.panic(),
        _ => {}
    }
    unit.finish();
}

/// An event loop that is dropped in the middle of its work.
fn event_loop(unit: &Unit, rng: &mut Rng, nested: Nested) {
    let round = Round::new(Runtime::EventLoop, Local::All, None);
    // Whatever happens to the work on it.
    round.end();
    let event_loop = EventLoop::new();
    for _ in 0..rng.u32(0..=3) {
        let new = |kind| Unit::new(&round, kind, unit.truth());
        let last = Some(nested.last_level());
        match rng.u8(0..3) {
            0 => drop(event_loop.spawn(nested.body(new(Kind::Task), rng.fork()))),
            1 => drop(event_loop.call_soon(calls::call(new(Kind::Callback), rng.fork(), last))),
            _ => {
                let delay = Duration::from_micros(rng.u64(0..2_000));
                drop(event_loop.call_later(delay, calls::call(new(Kind::Timer), rng.fork(), last)));
            }
        }
    }
    if rng.bool() {
        let time = Duration::from_micros(rng.u64(0..2_000));
        let part = unit.child(Kind::Part);
        event_loop.run_until_complete(async move {
            part.start();
            shim::sleep(time).await;
            part.check("in the main future of an event loop");
        });
    }
    unit.check("after a run of an event loop");
    drop(event_loop);
    unit.check("after an event loop was dropped");
}

/// Two runs in one context.
fn runner(unit: &Unit, rng: &mut Rng) {
    let mut runner = Runner::new();
    let part = Unit::new(unit.round(), Kind::Part, unit.truth());
    let mut inner = rng.fork();
    let truth = runner.run(async move {
        part.start();
        rest(&part, &mut inner).await;
        part.truth()
    });
    let part = unit.child_of(Kind::Part, truth);
    let panics = rng.bool();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        runner.run(async move {
            part.check("in the second run of a runner");
            if panics {
                part.panic();
            }
            UNIT.get()
        })
    }));
    match outcome {
        Ok(_) if !panics => {}
        Err(payload) if panics && is_provoked(&*payload) => {}
        _ => LEDGER.fault(|| {
            format!(
                "{}: a runner gave what it should not",
                unit.facts.describe()
            )
        }),
    }
    unit.check("after the runs of a runner");
}
