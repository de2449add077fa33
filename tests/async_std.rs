//! What is async-std's own: its tasks of one thread.
#![cfg(feature = "async-std")]

use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use aiocontextvars::context_var;
use aiocontextvars::shim::{self, ContextAwareExecutor};

context_var! {
    static ID: u64;
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
    let _entered = local.enter_local();
    let task = shim::spawn_local(async { Rc::new(ID.get()) });
    assert_eq!(*local.block_on_local(task).unwrap(), Some(1));
}

#[test]
fn from_tasks_of_one_thread_work_may_go_anywhere() {
    let task = shim::async_std::spawn_local(async {
        let (sender, receiver) = mpsc::channel();
        ID.set(1);
        shim::spawn(async move { sender.send(ID.get()).unwrap() }).detach();
        // This thread is held up meanwhile.
        receiver.recv_timeout(Duration::from_secs(60))
    });
    let seen = shim::async_std::block_on(task).unwrap();
    assert_eq!(seen, Ok(Some(1)));
}
