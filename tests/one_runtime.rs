//! Where `shim::block_on` and `shim::spawn` go on a plain thread, by which of the runtimes'
//! features are on. Nothing here sets a default executor.

#[path = "../crates/conformance/src/drops.rs"]
mod drops;

use std::cell::Cell;
use std::future::{self, Future};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use aiocontextvars::{context_var, shim};

use drops::Drops;

context_var! {
    static ID: u64;
}

/// What is not heard of by then is lost.
const LONG: Duration = Duration::from_secs(60);

/// What has run something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Runs {
    EventLoop,
    Tokio,
    AsyncStd,
    Smol,
}

/// The one for a plain thread.
const ONLY: Runs = match (
    cfg!(feature = "tokio"),
    cfg!(feature = "async-std"),
    cfg!(feature = "smol"),
) {
    (true, false, false) => Runs::Tokio,
    (false, true, false) => Runs::AsyncStd,
    (false, false, true) => Runs::Smol,
    _ => Runs::EventLoop,
};

/// Whether this is a worker of a runtime, and of which.
fn worker() -> Option<Runs> {
    let thread = thread::current();
    match thread.name()? {
        name if name.starts_with("tokio-rt-worker") => Some(Runs::Tokio),
        name if name.starts_with("async-std/") => Some(Runs::AsyncStd),
        name if name.starts_with("smol-") => Some(Runs::Smol),
        _ => None,
    }
}

/// Where a task goes that is spawned here. The event loop runs it on this very thread.
async fn spawned_on() -> Runs {
    let here = thread::current().id();
    let task = shim::spawn(async move { (worker(), thread::current().id() == here) });
    match task.await.unwrap() {
        (Some(runtime), false) => runtime,
        (None, true) => Runs::EventLoop,
        other => panic!("{other:?}"),
    }
}

/// As on a thread of its own, which has entered nothing.
fn on_a_plain_thread<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(f).join().unwrap()
}

#[test]
fn block_on_runs_on_the_one_runtime_or_on_the_event_loop() {
    assert_eq!(shim::block_on(spawned_on()), ONLY);
    assert_eq!(on_a_plain_thread(|| shim::block_on(spawned_on())), ONLY);
    assert_eq!(shim::try_block_on(spawned_on()), Ok(ONLY));
    // Blocking jobs and callbacks too.
    let (job, called) = shim::block_on(async {
        let (sender, receiver) = futures::channel::oneshot::channel();
        shim::call_soon(move || sender.send(worker()).unwrap());
        let job = shim::spawn_blocking(|| shim::try_spawn(async { worker() }));
        let spawned = match job.await.unwrap() {
            Ok(task) => task.await.unwrap(),
            Err(_) => None,
        };
        (spawned, receiver.await.unwrap())
    });
    let expected = match ONLY {
        Runs::EventLoop => None,
        runtime => Some(runtime),
    };
    assert_eq!((job, called), (expected, expected));
}

#[test]
fn the_main_future_is_on_this_thread_and_on_the_runtime() {
    let here = thread::current().id();
    shim::block_on(async move {
        shim::yield_now().await;
        assert_eq!(thread::current().id(), here);
        #[cfg(feature = "tokio")]
        {
            use tokio::runtime::{Handle, RuntimeFlavor};

            let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
            assert_eq!(
                flavor.is_ok_and(|flavor| flavor == RuntimeFlavor::MultiThread),
                ONLY == Runs::Tokio
            );
        }
        #[cfg(feature = "async-std")]
        assert_eq!(
            async_std::task::try_current().is_some(),
            ONLY == Runs::AsyncStd
        );
        // What the event loop has and they have not.
        let is_local = panic::catch_unwind(|| shim::spawn_local(async {})).is_ok();
        assert_eq!(is_local, ONLY == Runs::EventLoop);
    });
}

/// One runtime for all threads of the process, with its drivers.
#[cfg(all(feature = "tokio", not(any(feature = "async-std", feature = "smol"))))]
#[test]
fn tokio_s_is_made_once_and_has_its_drivers() {
    use tokio::net::TcpListener;
    use tokio::runtime::Handle;

    let id = || shim::block_on(async { Handle::current().id() });
    let first = id();
    assert_eq!(id(), first);
    assert_eq!(on_a_plain_thread(id), first);
    shim::block_on(async {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        TcpListener::bind("127.0.0.1:0").await.unwrap();
    });
    // A runtime that is there comes first.
    let own = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let entered = own.enter();
    assert_eq!(id(), own.handle().id());
    drop(entered);
    assert_eq!(id(), first);
}

#[test]
fn spawn_on_a_plain_thread() {
    ID.set(1);
    let context = aiocontextvars::copy_context();
    let outcome = on_a_plain_thread(move || {
        let mut context = context;
        context.run(|| shim::try_spawn(async { (worker(), ID.get()) }))
    });
    match (ONLY, outcome) {
        (Runs::Smol | Runs::AsyncStd, Ok(task)) => {
            let seen = futures::executor::block_on(task).unwrap();
            assert_eq!(seen, (Some(ONLY), Some(1)));
        }
        (Runs::Tokio, Err(error)) => {
            let text = error.to_string();
            assert!(text.contains("`shim::block_on` runs"), "{text}");
            // Also when that runtime is there: this thread is not in it.
            shim::block_on(async {});
            assert!(on_a_plain_thread(|| shim::try_spawn(async {}).is_err()));
        }
        (Runs::EventLoop, Err(error)) => {
            let text = error.to_string();
            let several = cfg!(any(
                feature = "tokio",
                feature = "async-std",
                feature = "smol"
            ));
            assert_eq!(text.contains("several runtimes"), several, "{text}");
            assert_eq!(text.contains("add runtimes"), !several, "{text}");
            let name = if cfg!(feature = "smol") {
                "`shim::smol::spawn`"
            } else {
                "`shim::async_std::spawn`"
            };
            assert_eq!(text.contains(name), several, "{text}");
        }
        (_, outcome) => panic!("{outcome:?}"),
    }
}

#[test]
fn in_a_copy_of_the_context() {
    ID.set(1);
    let seen = shim::block_on(async {
        let own = ID.get();
        ID.set(2);
        let task = shim::spawn(async {
            let inherited = ID.get();
            ID.set(3);
            inherited
        });
        ID.set(4);
        (own, task.await.unwrap(), ID.get())
    });
    assert_eq!(seen, (Some(1), Some(2), Some(4)));
    assert_eq!(ID.get(), Some(1));
    // The next starts afresh.
    assert_eq!(shim::block_on(async { ID.get() }), Some(1));
}

#[test]
fn nested_it_is_an_error_on_the_event_loop_only() {
    let drops = Drops::new();
    let value = drops.value();
    let nested = shim::block_on(async {
        ID.set(5);
        shim::try_block_on(async move {
            let _value = value;
            ID.get()
        })
    });
    match ONLY {
        Runs::EventLoop => assert!(nested.is_err()),
        _ => assert_eq!(nested, Ok(Some(5))),
    }
    assert_eq!(drops.count(), 1);
    // And in a task.
    let nested = shim::block_on(async {
        let task = shim::spawn(async { shim::try_block_on(async { 1 }).is_ok() });
        task.await.unwrap()
    });
    assert_eq!(nested, ONLY != Runs::EventLoop);
}

#[test]
fn what_is_dropped_when() {
    let drops = Drops::new();
    let held = || {
        let value = drops.value();
        async move {
            let _value = value;
            shim::yield_now().await;
        }
    };
    shim::block_on(async {
        held().await;
        assert_eq!(drops.count(), 1);
        shim::spawn(held()).await.unwrap();
        assert_eq!(drops.count(), 2);
        // Its destructors have run when its end is there.
        let value = drops.value();
        let task = shim::spawn(async move {
            let _value = value;
            future::pending::<()>().await
        });
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(drops.count(), 3);
    });
}

#[test]
fn what_is_left_runs_on_or_goes_with_the_event_loop() {
    let drops = Drops::new();
    let value = drops.value();
    let (go, going) = futures::channel::oneshot::channel::<()>();
    let (sender, receiver) = mpsc::channel();
    shim::block_on(async {
        let task = async move {
            let _value = value;
            let _gone = going.await;
            sender.send(worker()).unwrap();
        };
        shim::spawn(task).detach();
        shim::yield_now().await;
    });
    if ONLY == Runs::EventLoop {
        assert_eq!(drops.count(), 1);
        let gone = Err(mpsc::RecvTimeoutError::Disconnected);
        assert_eq!(receiver.recv_timeout(LONG), gone);
    } else {
        assert_eq!(drops.count(), 0);
        drop(go);
        assert_eq!(receiver.recv_timeout(LONG), Ok(Some(ONLY)));
    }
}

#[test]
fn a_panic_comes_out_and_leaves_all_as_it_was() {
    ID.set(1);
    let panics = || {
        shim::block_on(async {
            ID.set(2);
            shim::yield_now().await;
            panic::resume_unwind(Box::new("on purpose"))
        })
    };
    let payload = panic::catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
    assert_eq!(ID.get(), Some(1));
    assert_eq!(shim::block_on(spawned_on()), ONLY);
}

/// What `f` gives in the destructor of a thread-local, on a thread that has been in `block_on`.
fn at_thread_exit<T: Send + 'static>(f: fn() -> T) -> T {
    struct AtExit(Option<Box<dyn FnOnce()>>);
    impl Drop for AtExit {
        fn drop(&mut self) {
            self.0.take().unwrap()();
        }
    }
    thread_local!(static AT_EXIT: Cell<Option<AtExit>> = const { Cell::new(None) });
    let (sender, receiver) = mpsc::channel();
    let exits = move || {
        // Its locals are destroyed in the reverse order: the runtime's first, if it is on one.
        let tell = move || sender.send(f()).unwrap();
        AT_EXIT.set(Some(AtExit(Some(Box::new(tell)))));
        shim::block_on(async {});
    };
    thread::spawn(exits).join().unwrap();
    receiver.recv_timeout(LONG).unwrap()
}

/// On tokio alone it is the event loop then, since the thread cannot enter the runtime any more.
#[cfg(not(any(feature = "async-std", feature = "smol")))]
#[test]
fn in_the_destructor_of_a_thread_local() {
    let seen = at_thread_exit(|| {
        shim::block_on(async {
            ID.set(1);
            shim::spawn(async { (ID.get(), worker()) }).await.unwrap()
        })
    });
    assert_eq!(seen, (Some(1), None));
}

/// They say by a panic that they cannot block there, which would end the process.
#[cfg(any(feature = "async-std", feature = "smol"))]
#[test]
fn in_the_destructor_of_a_thread_local_the_others_give_an_error_or_run() {
    let seen = at_thread_exit(|| {
        shim::try_block_on(async {
            ID.set(1);
            ID.get()
        })
    });
    match seen {
        Ok(seen) => assert_eq!((seen, ONLY), (Some(1), Runs::EventLoop)),
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains("locals are gone"), "{error}");
        }
    }
}

#[test]
fn several_threads_at_once() {
    let held = Arc::new(());
    let threads: Vec<_> = (0..4)
        .map(|id| {
            let held = Arc::clone(&held);
            thread::spawn(move || {
                ID.set(id);
                let main = async move {
                    let seen = spawned_id().await;
                    drop(held);
                    (seen, spawned_on().await)
                };
                assert_eq!(shim::block_on(main), (Some(id), ONLY));
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(Arc::strong_count(&held), 1);
}

fn spawned_id() -> impl Future<Output = Option<u64>> {
    let task = shim::spawn(async { ID.get() });
    async { task.await.unwrap() }
}
