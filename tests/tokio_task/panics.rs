//! Where misuse panics, it names the caller's line, as tokio does; and yielding works outside of
//! runtimes.

use std::future::{self, Future};
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use aiocontextvars::shim::tokio::task::{self, JoinSet, LocalKey, LocalSet};

use super::{current_thread, multi_thread};

/// The file in which `f` panics.
fn place(f: impl FnOnce()) -> Option<String> {
    // The hook is the process's.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap();
    let file = Arc::new(Mutex::new(None));
    let this_thread = std::thread::current().id();
    let before = panic::take_hook();
    panic::set_hook({
        let file = Arc::clone(&file);
        Box::new(move |info| {
            if std::thread::current().id() == this_thread {
                *file.lock().unwrap() = info.location().map(|place| place.file().to_owned());
            }
        })
    });
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    panic::set_hook(before);
    assert!(result.is_err());
    file.lock().unwrap().take()
}

#[test]
fn the_callers_line_is_named() {
    static KEY: LocalKey<u8> = LocalKey::new("KEY");
    let calls: [fn(); 11] = [
        || drop(task::spawn(future::pending::<()>())),
        || drop(task::spawn_local(async {})),
        || drop(task::spawn_blocking(|| ())),
        || drop(JoinSet::new().spawn(async {})),
        || drop(JoinSet::new().spawn_local(async {})),
        || drop(JoinSet::new().spawn_blocking(|| ())),
        || current_thread().block_on(async { task::block_in_place(|| ()) }),
        || {
            let (runtime, local) = (current_thread(), LocalSet::new());
            runtime.block_on(async { local.block_on(&runtime, async {}) });
        },
        || _ = task::id(),
        || KEY.with(|_| ()),
        || _ = KEY.get(),
    ];
    for (call, f) in calls.into_iter().enumerate() {
        assert_eq!(place(f).as_deref(), Some(file!()), "the call number {call}");
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn yielding_works_outside_of_a_runtime_and_in_place() {
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut yielding = pin!(task::yield_now());
    let mut cx = Context::from_waker(&waker);
    assert!(yielding.as_mut().poll(&mut cx).is_pending());
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert_eq!(yielding.poll(&mut cx), Poll::Ready(()));

    multi_thread().block_on(async {
        let task = task::spawn(async {
            task::block_in_place(|| futures::executor::block_on(task::yield_now()));
        });
        task.await.unwrap();
    });
}
