//! The recipes of `docs/integrations.md`: capture now, use later, in the shapes of other people's
//! APIs.
//!
//! Each stand-in here calls what it is given in a thread of its own, where nothing of the caller's
//! is current.

mod bare_tasks;
mod later;

use std::sync::mpsc;
use std::thread;

use aiocontextvars::{context_var, copy_context};

context_var! {
    static TENANT: &'static str;
}

/// Calls `f` on another thread, in which nothing is current before and after.
fn elsewhere<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        assert!(copy_context().is_empty());
        sender.send(f()).unwrap();
        assert!(copy_context().is_empty());
    });
    thread.join().unwrap();
    receiver.recv().unwrap()
}

/// Calls `f`, which captures, for `acme`, and goes on as somebody else, who keeps that.
fn for_acme<R>(f: impl FnOnce() -> R) -> R {
    let result = TENANT.sync_scope("acme", f);
    assert_eq!(TENANT.get(), None);
    result
}
