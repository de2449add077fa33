//! [`TaskContext`]: what a unit of work can be given to run in, and how each kind of context is entered.

use std::mem;
use std::task::{self, Poll, ready};

use crate::context::Context;
use crate::current::{self, Entering, Frame};
use crate::shared::SharedContext;
use crate::shared::enter::Waiter;

/// What a unit of work can be given to run in: a [`Context`], moved in, or a [`SharedContext`], by
/// value or by reference.
///
/// This trait is sealed.
pub trait TaskContext: sealed::Sealed {
    /// The context as a wrapper keeps it.
    type Owned: TaskContext<Owned = Self::Owned, Place = Self::Place> + 'static;

    #[doc(hidden)]
    type Place: sealed::EnterContext + Send + 'static;

    #[doc(hidden)]
    fn into_place(self) -> Self::Place;

    #[doc(hidden)]
    fn into_any(self) -> AnyContext;
}

/// Either kind of context.
#[derive(Debug)]
pub enum AnyContext {
    Own(Context),
    Shared(SharedContext),
}

impl TaskContext for Context {
    type Owned = Context;
    type Place = Context;

    fn into_place(self) -> Context {
        self
    }

    fn into_any(self) -> AnyContext {
        AnyContext::Own(self)
    }
}

impl TaskContext for SharedContext {
    type Owned = SharedContext;
    type Place = Waiter;

    fn into_place(self) -> Waiter {
        Waiter::from(self)
    }

    fn into_any(self) -> AnyContext {
        AnyContext::Shared(self)
    }
}

impl TaskContext for &SharedContext {
    type Owned = SharedContext;
    type Place = Waiter;

    fn into_place(self) -> Waiter {
        Waiter::from(self.clone())
    }

    fn into_any(self) -> AnyContext {
        AnyContext::Shared(self.clone())
    }
}

mod sealed {
    use super::*;

    pub trait Sealed {}

    impl Sealed for Context {}
    impl Sealed for SharedContext {}
    impl Sealed for &SharedContext {}

    /// Where a context is entered from, kept in the wrapper.
    #[allow(
        private_interfaces,
        reason = "the trait cannot be named outside of the crate"
    )]
    pub trait EnterContext: Default {
        fn shared(&self) -> Option<&SharedContext> {
            None
        }

        /// The same for a unit of work: without a capture, nothing is current in it.
        fn apart(self) -> Self {
            self
        }

        /// The context, if nothing is to be done but to enter it: there are no companions to make
        /// current or put aside, and it is no shared one, which may have to be waited for.
        fn alone(&mut self) -> Option<&mut Context> {
            None
        }

        /// Polls `f` in the context, or asks to be woken when that can be entered.
        #[inline]
        fn poll_in<R>(
            &mut self,
            entering: Entering<'_>,
            cx: &mut task::Context<'_>,
            f: impl FnOnce(&mut task::Context<'_>) -> Poll<R>,
        ) -> Poll<R> {
            self.run_now(entering, || f(cx))
        }

        /// Calls `f`, which cannot wait, in the context, or in a copy if that is taken.
        fn run_now<R>(&mut self, entering: Entering<'_>, f: impl FnOnce() -> R) -> R;

        /// The same for the last time: the context is released.
        fn run_last<R>(&mut self, entering: Entering<'_>, f: impl FnOnce() -> R) -> R;

        /// Drops the context, and the values that nobody else has in an empty one.
        fn release(self);
    }

    #[allow(private_interfaces, reason = "as in the trait")]
    impl EnterContext for Context {
        #[inline]
        fn apart(self) -> Context {
            Context::apart(self)
        }

        #[inline]
        fn alone(&mut self) -> Option<&mut Context> {
            (!self.identity().is_marked()).then_some(self)
        }

        #[inline]
        fn run_now<R>(&mut self, entering: Entering<'_>, f: impl FnOnce() -> R) -> R {
            current::enter(self, entering, f)
        }

        #[inline]
        fn run_last<R>(&mut self, entering: Entering<'_>, f: impl FnOnce() -> R) -> R {
            // As `Frame` does, but where it is: moving it there is 4 % of a callback's
            // instructions.
            struct Last<'a>(&'a mut Context);
            impl Drop for Last<'_> {
                #[inline]
                fn drop(&mut self) {
                    current::drop_values(mem::take(self.0));
                }
            }
            Last(self).0.run_now(entering, f)
        }

        #[inline]
        fn release(self) {
            current::drop_values(self);
        }
    }

    #[allow(private_interfaces, reason = "as in the trait")]
    impl EnterContext for Waiter {
        fn shared(&self) -> Option<&SharedContext> {
            Waiter::shared(self)
        }

        fn apart(self) -> Waiter {
            Waiter::apart(self)
        }

        fn poll_in<R>(
            &mut self,
            entering: Entering<'_>,
            cx: &mut task::Context<'_>,
            f: impl FnOnce(&mut task::Context<'_>) -> Poll<R>,
        ) -> Poll<R> {
            let frame = ready!(self.poll_frame(entering.users(), cx));
            Frame::enter_any(frame, entering, || f(cx))
        }

        fn run_now<R>(&mut self, entering: Entering<'_>, f: impl FnOnce() -> R) -> R {
            Frame::enter_any(self.frame_now(entering.users()), entering, f)
        }

        fn run_last<R>(&mut self, entering: Entering<'_>, f: impl FnOnce() -> R) -> R {
            let waiter = mem::take(self);
            let frame = waiter.frame_now(entering.users());
            Frame::enter_any(frame, entering, || {
                // Goes inside. What the frame has of the context is the last then, and the values
                // go as in a context of one's own.
                let _waiter = waiter;
                f()
            })
        }

        fn release(self) {
            Waiter::release(self);
        }
    }
}

pub(crate) use sealed::{EnterContext, Sealed};
