//! [`Work`]: the closure of a callback, and how it is called.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Arc;

use super::exception::report_panic;
use crate::catch::catch;
use crate::context::Context;
use crate::current::{self, Entering, Frame, Owner};
use crate::shared::SharedContext;
use crate::shim::scope;
use crate::task_context::{EnterContext, TaskContext};
use crate::with_context::{self, WithContext};

/// What came of running a callback.
pub(crate) enum RunOutcome {
    /// It was called. It had been scheduled there.
    Called(&'static Location<'static>),
    /// It had been cancelled.
    Cancelled,
    /// This context has to be entered first.
    Enter(SharedContext),
}

/// What is left to do of a callback, until somebody takes it.
pub(super) trait Pending: Send + Sync {
    fn run(&self) -> RunOutcome;

    /// The same where nobody has a handle any more, so that no lock is needed.
    fn run_mut(&mut self) -> RunOutcome {
        self.run()
    }

    fn run_in(&self, frame: Option<Frame>) -> RunOutcome;
    fn is_pending(&self) -> bool;

    /// Drops the closure, inside its context, and then the context. Returns whether they were
    /// there.
    fn discard(&self) -> bool;
}

/// A closure in its context. Dropped, called or not, inside it.
pub(super) struct Work<F, C: TaskContext> {
    f: WithContext<F, C>,
    /// The context of the fixed executor that it was submitted to. Wrappers of one executor share a
    /// queue, whose driver has a frame of its own.
    fixed: Option<Arc<Context>>,
    location: &'static Location<'static>,
}

impl<F: FnOnce(), C: TaskContext> Work<F, C> {
    #[track_caller]
    pub(super) fn new<D>(context: D, fixed: Option<Arc<Context>>, f: F) -> Work<F, C>
    where
        D: TaskContext<Owned = C>,
    {
        Work {
            f: with_context::for_unit(f, context),
            fixed,
            location: Location::caller(),
        }
    }

    /// The shared context that has to be entered first.
    pub(super) fn enter_first(&self) -> Option<SharedContext> {
        self.f.shared().cloned()
    }

    pub(super) fn run(self) -> RunOutcome {
        self.run_by(Free)
    }

    pub(super) fn run_in(self, frame: Option<Frame>) -> RunOutcome {
        self.run_by(Entered(frame))
    }

    #[inline]
    fn run_by(self, by: impl Enter<C::Place>) -> RunOutcome {
        let Work { f, fixed, location } = self;
        // The outer net is for what is dropped when the context and the frame are left.
        let net = panic::catch_unwind(AssertUnwindSafe(|| {
            let scope = scope::with_fixed(fixed);
            let (context, f) = f.take_apart();
            by.enter(context, scope.as_deref(), || {
                report_panic(panic::catch_unwind(AssertUnwindSafe(f)), location)
            });
        }));
        if net.is_err() {
            // The context has gone, and what the handler sets must not stay in the one around.
            catch(|| current::enter_empty(|| report_panic(net, location)));
        }
        RunOutcome::Called(location)
    }
}

/// How the context of a callback is entered.
trait Enter<P> {
    fn enter(self, context: P, scope: Option<&dyn Any>, f: impl FnOnce());
}

/// By the callback.
struct Free;

impl<P: EnterContext> Enter<P> for Free {
    #[inline]
    fn enter(self, mut context: P, scope: Option<&dyn Any>, f: impl FnOnce()) {
        context.run_last(Entering::new(Owner::Call, scope), f);
    }
}

/// By the queue, which gives the frame.
struct Entered(Option<Frame>);

impl<P> Enter<P> for Entered {
    fn enter(self, context: P, scope: Option<&dyn Any>, f: impl FnOnce()) {
        Frame::enter_any(self.0, Entering::new(Owner::Call, scope), || {
            // Goes first, as in `EnterContext::run_last`.
            let _context = context;
            f();
        });
    }
}
