//! [`TaskContext`]: what a unit of work can be given to run in, and how each kind of context is entered.

use std::marker::PhantomData;
use std::mem;
use std::task::{self, Poll, ready};

use crate::context::Context;
use crate::current::{self, Frame, Kind};
use crate::shared::SharedContext;
use crate::shared::enter::Waiter;

/// What a unit of work can be given to run in: a [`Context`], moved in, or a [`SharedContext`], by
/// value or by reference.
///
/// This trait is sealed.
pub trait TaskContext: sealed::Sealed {
    /// [`Context`] or [`SharedContext`].
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

/// A context whose frames are entered for these users, whoever enters them: a [`TaskPoll`] or a [`BlockOn`].
pub(crate) struct ContextFor<C, U>(C, PhantomData<U>);

impl<C, U> ContextFor<C, U> {
    pub(crate) fn new(context: C) -> ContextFor<C, U> {
        ContextFor(context, PhantomData)
    }
}

/// A kind of frame.
pub(crate) trait FrameUsers: Send + 'static {
    fn with_kind<R>(f: impl FnOnce(&Kind) -> R) -> R;
}

/// A task of the shim, which polls nothing but its own future.
pub(crate) enum TaskPoll {}

impl FrameUsers for TaskPoll {
    #[inline]
    fn with_kind<R>(f: impl FnOnce(&Kind) -> R) -> R {
        f(Kind::POLL)
    }
}

/// A `block_on`: tasks that others run inside it may neither read nor write it.
pub(crate) enum BlockOn {}

impl FrameUsers for BlockOn {
    fn with_kind<R>(f: impl FnOnce(&Kind) -> R) -> R {
        f(&Kind::block_on())
    }
}

impl<C: TaskContext, U: FrameUsers> TaskContext for ContextFor<C, U> {
    type Owned = ContextFor<C::Owned, U>;
    type Place = PlaceFor<C::Place, U>;

    fn into_place(self) -> Self::Place {
        PlaceFor(self.0.into_place(), PhantomData)
    }

    fn into_any(self) -> AnyContext {
        self.0.into_any()
    }
}

/// The place of a [`ContextFor`].
pub(crate) struct PlaceFor<P, U>(P, PhantomData<U>);

impl<P: Default, U> Default for PlaceFor<P, U> {
    fn default() -> PlaceFor<P, U> {
        PlaceFor(P::default(), PhantomData)
    }
}

mod sealed {
    use super::*;

    pub trait Sealed {}

    impl Sealed for Context {}
    impl Sealed for SharedContext {}
    impl Sealed for &SharedContext {}
    impl<C, U> Sealed for ContextFor<C, U> {}

    /// Where a context is entered from, kept in the wrapper.
    #[allow(
        private_interfaces,
        reason = "the trait cannot be named outside of the crate"
    )]
    pub trait EnterContext: Default {
        fn shared(&self) -> Option<&SharedContext> {
            None
        }

        /// Polls `f` in the context, or asks to be woken when that can be entered.
        #[inline]
        fn poll_in<R>(
            &mut self,
            kind: &Kind,
            cx: &mut task::Context<'_>,
            f: impl FnOnce(&mut task::Context<'_>) -> Poll<R>,
        ) -> Poll<R> {
            self.run_now(kind, || f(cx))
        }

        /// The context as it is now: a copy of a shared one.
        fn to_context(&self) -> Context;

        /// Calls `f`, which cannot wait, in the context, or in a copy if that is taken.
        fn run_now<R>(&mut self, kind: &Kind, f: impl FnOnce() -> R) -> R;

        /// The same for the last time: the context is let go of.
        fn run_last<R>(&mut self, kind: &Kind, f: impl FnOnce() -> R) -> R;
    }

    #[allow(private_interfaces, reason = "as in the trait")]
    impl EnterContext for Context {
        #[inline]
        fn to_context(&self) -> Context {
            self.alias()
        }

        #[inline]
        fn run_now<R>(&mut self, kind: &Kind, f: impl FnOnce() -> R) -> R {
            current::enter(self, kind, f)
        }

        #[inline]
        fn run_last<R>(&mut self, kind: &Kind, f: impl FnOnce() -> R) -> R {
            // As `Frame` does, but where it is: moving it there is 4 % of a callback's instructions.
            struct Last<'a>(&'a mut Context);
            impl Drop for Last<'_> {
                #[inline]
                fn drop(&mut self) {
                    current::drop_values(self.0.take());
                }
            }
            Last(self).0.run_now(kind, f)
        }
    }

    #[allow(private_interfaces, reason = "as in the trait")]
    impl<P: EnterContext, U: FrameUsers> EnterContext for PlaceFor<P, U> {
        fn shared(&self) -> Option<&SharedContext> {
            self.0.shared()
        }

        #[inline]
        fn poll_in<R>(
            &mut self,
            _: &Kind,
            cx: &mut task::Context<'_>,
            f: impl FnOnce(&mut task::Context<'_>) -> Poll<R>,
        ) -> Poll<R> {
            U::with_kind(|kind| self.0.poll_in(kind, cx, f))
        }

        #[inline]
        fn to_context(&self) -> Context {
            self.0.to_context()
        }

        #[inline]
        fn run_now<R>(&mut self, _: &Kind, f: impl FnOnce() -> R) -> R {
            U::with_kind(|kind| self.0.run_now(kind, f))
        }

        #[inline]
        fn run_last<R>(&mut self, _: &Kind, f: impl FnOnce() -> R) -> R {
            U::with_kind(|kind| self.0.run_last(kind, f))
        }
    }

    #[allow(private_interfaces, reason = "as in the trait")]
    impl EnterContext for Waiter {
        fn shared(&self) -> Option<&SharedContext> {
            Waiter::shared(self)
        }

        fn to_context(&self) -> Context {
            Waiter::shared(self).map_or_else(Context::new, SharedContext::copy)
        }

        fn poll_in<R>(
            &mut self,
            kind: &Kind,
            cx: &mut task::Context<'_>,
            f: impl FnOnce(&mut task::Context<'_>) -> Poll<R>,
        ) -> Poll<R> {
            let frame = ready!(self.poll_frame(kind.users(), cx));
            Frame::enter_any(frame, || f(cx))
        }

        fn run_now<R>(&mut self, kind: &Kind, f: impl FnOnce() -> R) -> R {
            Frame::enter_any(self.frame_now(kind.users()), f)
        }

        fn run_last<R>(&mut self, kind: &Kind, f: impl FnOnce() -> R) -> R {
            let waiter = mem::take(self);
            Frame::enter_any(waiter.frame_now(kind.users()), || {
                // Goes inside. What the frame has of the context is the last then, and the values go as in a context
                // of one's own.
                let _waiter = waiter;
                f()
            })
        }
    }
}

pub(crate) use sealed::{EnterContext, Sealed};
