//! What the first use of a shim changes in a process: nothing. Tasks that it did not spawn have no
//! context of their own from the first moment on.
//!
//! A process has one first use, so each is made in a process of its own.
#![cfg(any(feature = "tokio", feature = "async-std"))]

use std::env;
use std::process::Command;

use aiocontextvars::{SetErrorKind, context_var, copy_context};

context_var! {
    static ID: u64;
}

/// Tells a process which first use is its.
const FIRST_USE: &str = "FIRST_USE";

fn cases() -> Vec<(&'static str, fn())> {
    let mut cases = Vec::new();
    #[cfg(feature = "tokio")]
    cases.extend(tokio::CASES);
    #[cfg(feature = "async-std")]
    cases.extend(async_std::CASES);
    cases
}

#[test]
fn before_and_after_the_first_use_of_the_shim_a_bare_task_has_nothing() {
    for (name, _) in cases() {
        let process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "first_use", "--ignored"])
            .env(FIRST_USE, name)
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&process.stdout);
        assert!(output.contains("1 passed"), "{name}: {output}");
    }
}

#[test]
#[ignore = "run by the other one, in processes of its own"]
fn first_use() {
    let name = env::var(FIRST_USE).expect("the other test says which");
    let (_, case) = *cases().iter().find(|case| case.0 == name).unwrap();
    case();
}

/// Checks what bare tasks may do before and after a use of the shim. `bare` runs a function in a
/// bare task on this thread.
fn check(bare: impl Fn(fn()), use_shim: impl FnOnce()) {
    fn has_nothing() {
        assert_eq!((ID.get(), copy_context().len()), (None, 0));
        assert_eq!(ID.try_set(1).unwrap_err().kind(), SetErrorKind::ForeignTask);
        assert_eq!((ID.get(), copy_context().len()), (None, 0));
    }

    bare(has_nothing);
    ID.set(2);
    bare(has_nothing);
    use_shim();
    bare(has_nothing);
    assert_eq!((ID.get(), copy_context().len()), (Some(2), 1));
    ID.unset();
}

#[cfg(feature = "tokio")]
mod tokio {
    use std::rc::Rc;
    use std::time::Duration;

    use aiocontextvars::event_loop::EventLoop;
    use aiocontextvars::shim::{self, ContextAwareExecutor};
    use tokio::runtime::{Builder, Runtime};
    use tokio::task::LocalSet;

    use super::{ID, check};

    pub(super) const CASES: [(&str, fn()); 9] = [
        ("tokio spawn", || run(|| shim::spawn(async {}).detach())),
        ("tokio spawn_blocking", || {
            run(|| shim::spawn_blocking(|| ()).detach())
        }),
        ("tokio call_soon", || run(|| drop(shim::call_soon(|| ())))),
        ("tokio call_later", || {
            run(|| drop(shim::call_later(Duration::ZERO, || ())))
        }),
        ("tokio block_on", || run(|| shim::block_on(async {}))),
        ("tokio executor", || {
            run(|| shim::tokio::executor().spawn(async {}).detach())
        }),
        ("tokio spawn_local", || {
            run(|| local().spawn_local(async {}).detach())
        }),
        ("tokio local block_on", || {
            run(|| local().block_on_local(async {}))
        }),
        (
            "tokio in a block_on of something else",
            inside_another_block_on,
        ),
    ];

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_time().build().unwrap()
    }

    fn local() -> ContextAwareExecutor<Rc<LocalSet>> {
        ContextAwareExecutor::new(Rc::new(LocalSet::new()))
    }

    fn run(use_shim: fn()) {
        let runtime = runtime();
        let bare = |f: fn()| runtime.block_on(runtime.spawn(async move { f() })).unwrap();
        check(bare, || {
            let _entered = runtime.enter();
            use_shim();
        });
    }

    fn inside_another_block_on() {
        let runtime = runtime();
        let task = runtime.spawn(async {
            // The loop's future may write, in whatever task the loop is run, and also when that is
            // found out meanwhile.
            EventLoop::new().run_until_complete(async {
                ID.set(1);
                shim::tokio::spawn(async {}).detach();
                ID.set(2);
                shim::yield_now().await;
                ID.set(ID.get().unwrap() + 1);
                assert_eq!(ID.get(), Some(3));
            });
            assert!(ID.try_set(4).is_err());
        });
        runtime.block_on(task).unwrap();
        assert_eq!(ID.get(), None);
    }
}

#[cfg(feature = "async-std")]
mod async_std {
    use std::time::Duration;

    use aiocontextvars::shim;
    use async_std::task;

    use super::check;

    pub(super) const CASES: [(&str, fn()); 6] = [
        ("async-std spawn", || {
            run(|| shim::async_std::spawn(async {}).detach())
        }),
        ("async-std spawn_blocking", || {
            run(|| shim::async_std::spawn_blocking(|| ()).detach())
        }),
        ("async-std call_soon", || {
            run(|| drop(shim::async_std::executor().call_soon(|| ())))
        }),
        ("async-std call_later", || {
            run(|| drop(shim::async_std::executor().call_later(Duration::ZERO, || ())))
        }),
        ("async-std block_on", || {
            run(|| shim::async_std::block_on(async {}))
        }),
        ("async-std spawn_local", || {
            run(|| shim::async_std::spawn_local(async {}).detach())
        }),
    ];

    fn run(use_shim: fn()) {
        check(|f| task::block_on(async move { f() }), use_shim);
    }
}
