//! The clock of a runtime, or of that of the thread.

use std::sync::Arc;
use std::time::Instant;

use ::tokio::runtime::{EnterGuard, Handle};
use futures_core::future::BoxFuture;

use crate::shim::clock::Clock;

pub(super) fn clock(handle: Option<&Handle>) -> Arc<dyn Clock> {
    Arc::new(TokioClock(handle.cloned()))
}

struct TokioClock(Option<Handle>);

impl TokioClock {
    /// Enters the runtime, unless this thread is in it. There it could be in the middle of a
    /// spawn, which at a shutdown drops the task, and in which tokio refuses to enter. (So it
    /// does for a timer of another runtime's in such a destructor, by a panic.)
    fn enter(&self) -> Option<EnterGuard<'_>> {
        let handle = self.0.as_ref()?;
        let is_here = Handle::try_current().is_ok_and(|here| here.id() == handle.id());
        (!is_here).then(|| handle.enter())
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        let _entered = self.enter();
        ::tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        // Panics here, in the caller, if the runtime has no time driver.
        let _entered = self.enter();
        Box::pin(::tokio::time::sleep_until(at.into()))
    }
}
