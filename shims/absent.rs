//! A runtime whose feature is off. It has no values, so that what is done for it is nothing.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;

use crate::shim::executor::Executor;
use crate::shim::join_task::NoJoin;
use crate::shim::runnable::Runnable;
use crate::shim::runtime::{self, Spawned};

#[derive(Clone, Copy)]
pub(crate) enum Runtime {}

impl Executor for Runtime {
    fn schedule(&self, _: Runnable) {
        match *self {}
    }
}

impl runtime::Runtime for Runtime {
    const BY_NAME: Option<Runtime> = None;
    type Executor = Runtime;
    type Native<'a> = Infallible;
    type Scope = Infallible;
    type Join<T: 'static> = NoJoin<T>;

    fn current() -> Option<Runtime> {
        None
    }

    fn executor(self) -> Runtime {
        match self {}
    }

    fn native(self) -> Infallible {
        match self {}
    }

    fn native_of(_: &dyn Any) -> Option<Infallible> {
        None
    }

    fn scope(native: Infallible) -> Option<Infallible> {
        match native {}
    }

    fn spawn<F>(native: Infallible, _: F) -> Spawned<NoJoin<F::Output>, F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match native {}
    }
}
