//! `CurrentDispatch` in a process that has no global subscriber at first: which one is the
//! program's is asked on a thread that stays.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "a fork")]

use std::cell::Cell;
use std::fs;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aiocontextvars::bridge::tracing::CurrentDispatch;
use aiocontextvars::shim::{ContextAwareExecutor, Runnable};
use aiocontextvars::{Context, companion, inherit_context};
use futures::executor::block_on;
use tracing::dispatcher::{set_global_default, with_default};
use tracing::{Dispatch, Event, Subscriber, info};
use tracing_subscriber::layer::{self, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

/// Counts events, and does what there is to do meanwhile.
struct Counts(&'static AtomicUsize);

std::thread_local! {
    static MEANWHILE: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
}

impl<S: Subscriber> Layer<S> for Counts {
    fn on_event(&self, _: &Event<'_>, _: layer::Context<'_, S>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        if let Some(f) = MEANWHILE.take() {
            f();
        }
    }
}

impl Counts {
    /// A subscriber whose events are counted there.
    fn to(count: &'static AtomicUsize) -> Dispatch {
        Dispatch::new(Registry::default().with(Counts(count)))
    }
}

static SCOPED: AtomicUsize = AtomicUsize::new(0);
static GLOBAL: AtomicUsize = AtomicUsize::new(0);

/// Has work of nobody log an event while another subscriber is the thread's. Returns how many
/// events that and the program's have had so far.
fn work_of_nobody() -> [usize; 2] {
    let inline = ContextAwareExecutor::from_schedule(|step: Runnable| {
        step.run();
    });
    with_default(&Counts::to(&SCOPED), || {
        inline
            .spawn_in(Context::new(), async { info!("nobody's") })
            .detach();
    });
    [&SCOPED, &GLOBAL].map(|count| count.load(Ordering::Relaxed))
}

/// How many threads answer.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim() == "aio-dispatch").count()
}

#[test]
fn one_thread_is_asked_also_after_a_fork_and_before_there_is_one() {
    companion::register(CurrentDispatch).unwrap();
    assert_eq!(threads(), 0);
    for _ in 0..100 {
        assert_eq!(work_of_nobody(), [0, 0]);
    }
    assert_eq!(threads(), 1);

    // SAFETY: the child takes no lock that another thread of this process could have held: the
    // one beside waits for questions, and the harness for this test.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: it has no condition. It ends a child that hangs.
            unsafe { libc::alarm(30) };
            let is_answered = std::panic::catch_unwind(|| {
                let before = work_of_nobody();
                set_global_default(Counts::to(&GLOBAL)).unwrap();
                (before, work_of_nobody()) == ([0, 0], [0, 1])
            });
            // SAFETY: it has no condition.
            unsafe { libc::_exit(i32::from(!is_answered.unwrap_or_default())) }
        }
        child => {
            let mut status = -1;
            // SAFETY: `status` outlives the call.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0);
        }
    }

    set_global_default(Counts::to(&GLOBAL)).unwrap();
    assert_eq!(work_of_nobody(), [0, 1]);
    assert_eq!((work_of_nobody(), threads()), ([0, 2], 1));

    // Where nothing is to be recorded, nothing is, of what is spawned there either. Elsewhere that
    // has no effect.
    let kept = Arc::new(Mutex::new(Vec::new()));
    let later = {
        let kept = Arc::clone(&kept);
        ContextAwareExecutor::from_schedule(move |step| kept.lock().unwrap().push(step))
    };
    let run = || {
        let steps = mem::take(&mut *kept.lock().unwrap());
        steps.into_iter().for_each(Runnable::run);
    };
    let spawn = move || later.spawn(async { info!("whoever's") }).detach();
    with_default(&Dispatch::none(), &spawn);
    run();
    assert_eq!(GLOBAL.load(Ordering::Relaxed), 2);
    spawn();
    with_default(&Dispatch::none(), run);
    assert_eq!(GLOBAL.load(Ordering::Relaxed), 3);

    // Where a subscriber is called, none stands for the one that calls. What is polled or dropped
    // there does not replace it, and what is spawned there is no scope's.
    let kept = with_default(&Counts::to(&SCOPED), inherit_context);
    assert!(kept.has_companions());
    let done = Arc::new(AtomicUsize::new(0));
    let meanwhile = Arc::clone(&done);
    MEANWHILE.set(Some(Box::new(move || {
        let inline = ContextAwareExecutor::from_schedule(Runnable::run);
        let task = inline.spawn_in(Context::new(), async move {
            meanwhile.fetch_add(1, Ordering::Relaxed);
        });
        block_on(task).unwrap();
        drop(kept);
        info!("within a subscriber, which tracing leaves out");
        spawn();
    })));
    with_default(&Counts::to(&SCOPED), || info!("calls"));
    let scoped = SCOPED.load(Ordering::Relaxed);
    run();
    let counts = [&*done, &SCOPED, &GLOBAL].map(|count| count.load(Ordering::Relaxed));
    assert_eq!((counts, scoped), ([1, 1, 4], 1));
}
