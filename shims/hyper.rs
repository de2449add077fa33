//! hyper's connection tasks on any executor.

use std::future::Future;

use ::hyper::rt;

use crate::shim::context_aware::ContextAwareExecutor;
use crate::shim::executor::Executor;

impl<E, F> rt::Executor<F> for ContextAwareExecutor<E>
where
    E: Executor,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.spawn(future).detach();
    }
}
