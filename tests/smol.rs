//! What is smol's own: its executors as values, by every kind of pointer.
#![cfg(feature = "smol")]

#[path = "common/leak.rs"]
mod leak;

use std::rc::Rc;
use std::sync::{Arc, Mutex};

use aiocontextvars::context_var;
use aiocontextvars::shim::{self, ContextAwareExecutor, LocalExecutor};

use crate::leak::leak;

context_var! {
    static ID: u64;
}

fn local_tasks_inherit<E: LocalExecutor>(executor: E) {
    let executor = ContextAwareExecutor::new(executor);
    ID.set(1);
    let seen = executor.block_on_local(async {
        let one = Rc::new(1);
        let task = shim::spawn_local(async move { (*one, ID.get()) });
        ID.set(2);
        // Nothing else is entered, so this goes to the local executor as well.
        let other = shim::spawn(async { ID.get() });
        (task.await.unwrap(), other.await.unwrap())
    });
    assert_eq!((seen, ID.get()), (((1, Some(1)), Some(2)), Some(1)));
}

#[test]
fn local_executors_by_rc_arc_and_reference() {
    local_tasks_inherit(Rc::new(smol::LocalExecutor::new()));
    // Only for programs that have one already: it stays on its thread all the same.
    #[allow(clippy::arc_with_non_send_sync)]
    local_tasks_inherit(Arc::new(smol::LocalExecutor::new()));
    local_tasks_inherit(leak(smol::LocalExecutor::new()));
}

#[test]
fn executors_by_arc_and_reference() {
    ID.set(1);
    let shared = ContextAwareExecutor::new(Arc::new(smol::Executor::new()));
    let task = shared.spawn(async { ID.get() });
    assert_eq!(shared.block_on(task).unwrap(), Some(1));
    let leaked = ContextAwareExecutor::new(leak(smol::Executor::new()));
    let task = leaked.spawn(async { shim::spawn(async { ID.get() }).await });
    assert_eq!(leaked.block_on(task).unwrap().unwrap(), Some(1));
}

#[test]
fn wrappers_of_one_executor_share_its_queue() {
    let executor = Arc::new(smol::Executor::new());
    let wrappers = [0, 1].map(|_| ContextAwareExecutor::new(Arc::clone(&executor)));
    let order = Arc::new(Mutex::new(Vec::new()));
    for n in 0..100 {
        let order = Arc::clone(&order);
        wrappers[n % 2].call_soon(move || order.lock().unwrap().push(n));
    }
    let (done, wait) = futures::channel::oneshot::channel();
    wrappers[0].call_soon(move || done.send(()).unwrap());
    wrappers[1].block_on(wait).unwrap();
    assert!(order.lock().unwrap().iter().copied().eq(0..100));
}

#[test]
fn the_adapters_own_functions_inherit() {
    ID.set(1);
    let local = ContextAwareExecutor::new(Rc::new(smol::LocalExecutor::new()));
    let seen = local.block_on_local(async {
        let here = Rc::new(2);
        let task = shim::smol::spawn_local(async move { (*here, ID.get()) });
        let job = shim::smol::spawn_blocking(|| {
            let seen = ID.get();
            ID.set(4);
            seen
        });
        ID.set(3);
        (task.await.unwrap(), job.await.unwrap(), ID.get())
    });
    assert_eq!(seen, ((2, Some(1)), Some(1), Some(3)));
    assert_eq!(ID.get(), Some(1));
}
