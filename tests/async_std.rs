//! What is async-std's own: its foreign tasks, and its tasks of one thread.
#![cfg(feature = "async-std")]

use std::panic;
use std::rc::Rc;

use aiocontextvars::shim::{self, ContextAwareExecutor};
use aiocontextvars::{ContextExt, SetErrorKind, context_var};

context_var! {
    static ID: u64;
}

#[test]
fn foreign_tasks_may_read_and_not_write() {
    shim::async_std::block_on(async {
        shim::spawn(async {}).await.unwrap();
        // This future is a task of the shim's `block_on`, and may write.
        ID.set(1);
        let foreign = async_std::task::spawn(async {
            assert_eq!(ID.get(), None);
            let error = ID.try_set(2).unwrap_err();
            assert_eq!(error.kind(), SetErrorKind::ForeignTask);
            let text = panic::catch_unwind(|| ID.set(2)).unwrap_err();
            assert_eq!(text.downcast_ref::<String>(), Some(&error.to_string()));
            let wrapped = async {
                ID.set(3);
                ID.get()
            };
            (ID.get(), wrapped.in_current_context().await)
        });
        assert_eq!(foreign.await, (None, Some(3)));
        // One that runs on this very thread, inside the `block_on`.
        let local = async_std::task::spawn_local(async { ID.try_set(4).is_err() });
        assert!(local.await);
        ID.set(ID.get().unwrap() + 10);
        assert_eq!(ID.get(), Some(11));
    });
    assert_eq!(ID.get(), None);
}

#[test]
fn foreign_block_on_may_not_write_to_the_thread() {
    shim::async_std::spawn(async {}).detach();
    async_std::task::block_on(async {
        assert!(ID.try_set(1).is_err());
        assert_eq!(ID.scope(2, async { ID.get() }).await, Some(2));
    });
    ID.set(3);
    assert_eq!(ID.get(), Some(3));
}

#[test]
fn tasks_of_one_thread_inherit() {
    ID.set(1);
    let task = shim::async_std::spawn_local(async {
        let one = Rc::new(1);
        let before = ID.get();
        ID.set(2);
        shim::yield_now().await;
        let child = shim::spawn_local(async move { (one, ID.get()) });
        (before, child.await.unwrap())
    });
    let (before, (one, after)) = shim::async_std::block_on(task).unwrap();
    assert_eq!(
        (before, *one, after, ID.get()),
        (Some(1), 1, Some(2), Some(1))
    );
    let local = ContextAwareExecutor::new(shim::async_std::Local::default());
    let _entered = local.enter();
    let task = shim::spawn_local(async { Rc::new(ID.get()) });
    assert_eq!(*local.block_on(task).unwrap(), Some(1));
}
