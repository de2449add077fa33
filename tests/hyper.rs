//! `hyper::rt::Executor`: what hyper spawns inherits from whoever made it spawn.
#![cfg(feature = "hyper")]

#[path = "common/threads.rs"]
mod threads;

use std::sync::mpsc;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::ContextAwareExecutor;
use aiocontextvars::{Context, context_var};
use hyper::rt::Executor;

context_var! {
    static ID: u64;
}

#[test]
fn a_connection_task_inherits_or_is_fixed() {
    let inherits = threads::threads(1);
    // For connections that are pooled, and outlive the request that opened them.
    let fixed = ContextAwareExecutor::fixed(inherits.get_ref().clone(), Context::new());
    let (sender, receiver) = mpsc::channel();
    ID.set(1);
    let tell = |sender: mpsc::Sender<_>| async move { sender.send(ID.get()).unwrap() };
    inherits.execute(tell(sender.clone()));
    assert_eq!(receiver.recv(), Ok(Some(1)));
    fixed.execute(tell(sender));
    assert_eq!(receiver.recv(), Ok(None));
}

#[test]
fn the_output_of_a_connection_task_is_dropped() {
    let event_loop = EventLoop::new();
    let executor = ContextAwareExecutor::new(event_loop.handle());
    let (sender, receiver) = futures::channel::oneshot::channel::<()>();
    executor.execute(async move { sender });
    assert!(event_loop.run_until_complete(receiver).is_err());
}
