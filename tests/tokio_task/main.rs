//! `shim::tokio::task` in place of `tokio::task`: what tokio's does, with tokio's own types, and
//! that all of it inherits.
#![cfg(feature = "tokio")]

mod abort;
mod blocking;
mod ids;
mod inherits;
mod join_set;
mod local_set;
mod panics;

use std::future::Future;

use aiocontextvars::shim::tokio::task::LocalSet;
use aiocontextvars::{context_var, copy_context};
use tokio::runtime::{Builder, Runtime};

context_var! {
    static ID: u64;
}

fn multi_thread() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_time().build().unwrap()
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// Runs a test's future on both flavours, inside of a [`LocalSet`] and without. Nothing it sets
/// comes out.
fn on_each<F: Future<Output = ()>>(test: impl Fn() -> F) {
    for runtime in [current_thread(), multi_thread()] {
        runtime.block_on(ID.scope(1, test()));
        LocalSet::new().block_on(&runtime, ID.scope(1, test()));
        assert!(copy_context().is_empty());
    }
}
