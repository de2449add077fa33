//! [`WithContext`]: a future, stream, sink, reader, writer or function in a context of its own.

mod io;

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{self, Poll, ready};

use futures::future::FusedFuture;
use futures::sink::Sink;
use futures::stream::{FusedStream, Stream};
use pin_project_lite::pin_project;

use crate::context::Context;
use crate::current::{self, Frame, Kind, RunningTask};
use crate::raw::{Around, Inside};
use crate::shared::{SharedContext, Waiter};

/// What a unit of work can be given to run in: a [`Context`], moved in, or a [`SharedContext`], by
/// value or by reference.
///
/// This trait is sealed.
pub trait TaskContext: sealed::Sealed {
    /// [`Context`] or [`SharedContext`].
    type Owned: TaskContext + 'static;

    #[doc(hidden)]
    type Place: sealed::Place + Send + 'static;

    #[doc(hidden)]
    fn into_place(self) -> <Self::Owned as TaskContext>::Place;

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

/// A context for a `block_on`: as [`Context`], but tasks that others run inside it may not write to it.
#[derive(Default)]
pub(crate) struct BlockOnContext(pub(crate) Context);

impl TaskContext for BlockOnContext {
    type Owned = BlockOnContext;
    type Place = BlockOnContext;

    fn into_place(self) -> BlockOnContext {
        self
    }

    fn into_any(self) -> AnyContext {
        AnyContext::Own(self.0)
    }
}

mod sealed {
    use super::*;

    pub trait Sealed {}

    impl Sealed for Context {}
    impl Sealed for SharedContext {}
    impl Sealed for &SharedContext {}
    impl Sealed for BlockOnContext {}

    /// Where a context is entered from, kept in the wrapper.
    pub trait Place: Default {
        fn shared(&self) -> Option<&SharedContext> {
            None
        }

        /// Polls `f` in the context, or asks to be woken when that can be entered.
        #[inline]
        fn poll_in<R>(
            &mut self,
            cx: &mut task::Context<'_>,
            f: impl FnOnce(&mut task::Context<'_>) -> Poll<R>,
        ) -> Poll<R> {
            self.run_now(|| f(cx))
        }

        /// The context as it is now: a copy of a shared one.
        fn to_context(&self) -> Context;

        /// Calls `f`, which cannot wait, in the context, or in a copy if that is taken.
        fn run_now<R>(&mut self, f: impl FnOnce() -> R) -> R;

        /// The same for the last time: the context is let go of.
        fn run_last<R>(&mut self, f: impl FnOnce() -> R) -> R;
    }

    impl Place for Context {
        #[inline]
        fn to_context(&self) -> Context {
            self.alias()
        }

        #[inline]
        fn run_now<R>(&mut self, f: impl FnOnce() -> R) -> R {
            current::enter(self, &Kind::Inside, f)
        }

        #[inline]
        fn run_last<R>(&mut self, f: impl FnOnce() -> R) -> R {
            // As `Frame` does, but where it is: moving it there is 4 % of a callback's instructions.
            struct Last<'a>(&'a mut Context);
            impl Drop for Last<'_> {
                #[inline]
                fn drop(&mut self) {
                    current::drop_values(self.0.take());
                }
            }
            Last(self).0.run_now(f)
        }
    }

    impl Place for BlockOnContext {
        fn to_context(&self) -> Context {
            self.0.alias()
        }

        fn run_now<R>(&mut self, f: impl FnOnce() -> R) -> R {
            current::enter(&mut self.0, &Kind::BlockOn(RunningTask::now()), f)
        }

        fn run_last<R>(&mut self, f: impl FnOnce() -> R) -> R {
            Frame::new(self.0.take(), Kind::BlockOn(RunningTask::now())).enter(f)
        }
    }

    impl Place for Waiter {
        fn shared(&self) -> Option<&SharedContext> {
            Waiter::shared(self)
        }

        fn to_context(&self) -> Context {
            Waiter::shared(self).map_or_else(Context::new, SharedContext::copy)
        }

        fn poll_in<R>(
            &mut self,
            cx: &mut task::Context<'_>,
            f: impl FnOnce(&mut task::Context<'_>) -> Poll<R>,
        ) -> Poll<R> {
            let frame = ready!(self.poll_frame(cx));
            Frame::enter_any(frame, || f(cx))
        }

        fn run_now<R>(&mut self, f: impl FnOnce() -> R) -> R {
            Frame::enter_any(self.frame_now(), f)
        }

        fn run_last<R>(&mut self, f: impl FnOnce() -> R) -> R {
            let waiter = mem::take(self);
            Frame::enter_any(waiter.frame_now(), || {
                // Goes inside. What the frame has of the context is the last then, and the values go as in a context
                // of one's own.
                let _waiter = waiter;
                f()
            })
        }
    }
}

pub(crate) use sealed::Place;

/// Puts any future, stream, sink, reader or writer into a context.
pub trait ContextExt: Sized {
    /// Runs `self` in `context`: it is current every time the future is polled, and when it is dropped.
    ///
    /// An owned [`Context`] is moved in. Given a [`SharedContext`], the future enters that very
    /// context, and parks while it is entered elsewhere (TA-07, TA-08).
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, ContextExt, context_var, shim};
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// let context = Context::new().with_value(&LEVEL, 3);
    /// assert_eq!(shim::block_on(async { LEVEL.get() }.in_context(context)), Some(3));
    /// ```
    fn in_context<C: TaskContext>(self, context: C) -> WithContext<Self, C::Owned> {
        WithContext {
            inside: Inside::new(Placed(context.into_place()), self),
        }
    }

    /// Runs `self` in a copy of the current context, taken now and not at the first poll (TA-05).
    /// Variables declared `local` are left out.
    ///
    /// This is how values follow a future into a task that the shim does not spawn.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{ContextExt, context_var, shim};
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// LEVEL.set(1);
    /// let future = async { LEVEL.get() }.in_current_context();
    /// LEVEL.set(2);
    /// assert_eq!(shim::block_on(future), Some(1));
    /// ```
    fn in_current_context(self) -> WithContext<Self> {
        self.in_context(current::inherit())
    }
}

impl<T> ContextExt for T {}

pin_project! {
    /// A future, stream, sink, reader or writer that is polled *and dropped* inside its context.
    ///
    /// Made by [`ContextExt::in_context`], [`ContextExt::in_current_context`],
    /// [`ContextVar::scope`](crate::ContextVar::scope) and [`Carried::scope`](crate::Carried::scope). It is two words
    /// larger than what it wraps.
    ///
    /// Implements what the wrapped type does of `Future`, `Stream`, `Sink`, and `AsyncRead`, `AsyncWrite`, `AsyncBufRead`
    /// and `AsyncSeek`, those of `futures` and, with the feature `tokio`, those of tokio.
    ///
    /// In a [`SharedContext`] that is entered elsewhere, a poll waits for it. A drop, and what cannot wait
    /// (`Sink::start_send`, `AsyncBufRead::consume`, tokio's `AsyncSeek::start_seek`), take place in a copy then.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct WithContext<T, C: TaskContext = Context> {
        #[pin]
        inside: Inside<T, Placed<C::Place>>,
    }
}

/// The place whose context is entered for the drop.
struct Placed<P: Place>(P);

impl<P: Place> Around for Placed<P> {
    #[inline]
    fn around(&mut self, f: impl FnOnce()) {
        self.0.run_last(f);
    }
}

impl<T, C: TaskContext> WithContext<T, C> {
    /// What is wrapped.
    pub fn inner(&self) -> &T {
        self.inside.inner()
    }

    /// What is wrapped.
    pub fn inner_mut(&mut self) -> &mut T {
        self.inside.parts_mut().1
    }

    /// What is wrapped.
    pub fn inner_pin_mut(self: Pin<&mut Self>) -> Pin<&mut T> {
        self.project().inside.project().1
    }

    /// What is wrapped, without the context.
    pub fn into_inner(self) -> T {
        self.into_parts().1
    }

    pub(crate) fn shared(&self) -> Option<&SharedContext> {
        self.inside.around().0.shared()
    }

    /// Where its context is entered from.
    pub(crate) fn place(&self) -> &C::Place {
        &self.inside.around().0
    }

    pub(crate) fn into_parts(self) -> (C::Place, T) {
        let (Placed(place), inner) = self.inside.into_parts();
        (place, inner)
    }

    /// Polls what is wrapped in its context, or asks to be woken when that can be entered.
    #[inline]
    pub(crate) fn poll_in<'a, R>(
        self: Pin<&'a mut Self>,
        cx: &mut task::Context<'_>,
        f: impl FnOnce(Pin<&'a mut T>, &mut task::Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        let (Placed(place), inner) = self.project().inside.project();
        place.poll_in(cx, |cx| f(inner, cx))
    }

    /// The same for what cannot wait: in a copy of the context, if that is taken.
    pub(crate) fn run_now<R>(self: Pin<&mut Self>, f: impl FnOnce(Pin<&mut T>) -> R) -> R {
        let (Placed(place), inner) = self.project().inside.project();
        place.run_now(|| f(inner))
    }
}

impl<F> WithContext<F, Context> {
    /// Calls `f` in the context with what is wrapped; what is left of it is dropped there too.
    pub(crate) fn run<R>(self, f: impl FnOnce(F) -> R) -> R {
        let (mut context, inner) = self.into_parts();
        context.run_last(|| f(inner))
    }

    /// The same, and what `f` returns takes the place of what was wrapped.
    pub(crate) fn map_inner<U>(self, f: impl FnOnce(F) -> U) -> WithContext<U> {
        let (context, inner) = self.into_parts();
        // Lets go of the context as ever if `f` panics.
        let mut empty = ().in_context(context);
        let (Placed(context), ()) = empty.inside.parts_mut();
        let inner = context.run_now(|| f(inner));
        inner.in_context(empty.into_parts().0)
    }

    /// Calls a function in its context; what is left of it is dropped there too.
    pub(crate) fn call_once<R>(self) -> R
    where
        F: FnOnce() -> R,
    {
        let (mut context, f) = self.into_parts();
        context.run_last(f)
    }

    pub(crate) fn call_mut<A, R>(&mut self, argument: A) -> R
    where
        F: FnMut(A) -> R,
    {
        let (Placed(context), f) = self.inside.parts_mut();
        context.run_now(|| f(argument))
    }

    /// Calls a function in a copy of its context.
    pub(crate) fn call<A, R>(&self, argument: A) -> R
    where
        F: Fn(A) -> R,
    {
        let mut context = self.place().clone();
        context.run_last(|| (self.inside.inner())(argument))
    }
}

/// Enters the context of a projected [`WithContext`], or returns `Poll::Pending`.
impl<T: Future, C: TaskContext> Future for WithContext<T, C> {
    type Output = T::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<T::Output> {
        self.poll_in(cx, |inner, cx| inner.poll(cx))
    }
}

impl<T: FusedFuture, C: TaskContext> FusedFuture for WithContext<T, C> {
    fn is_terminated(&self) -> bool {
        self.inner().is_terminated()
    }
}

impl<T: Stream, C: TaskContext> Stream for WithContext<T, C> {
    type Item = T::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<T::Item>> {
        self.poll_in(cx, |inner, cx| inner.poll_next(cx))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner().size_hint()
    }
}

impl<T: FusedStream, C: TaskContext> FusedStream for WithContext<T, C> {
    fn is_terminated(&self) -> bool {
        self.inner().is_terminated()
    }
}

impl<T: Sink<I>, C: TaskContext, I> Sink<I> for WithContext<T, C> {
    type Error = T::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<(), T::Error>> {
        self.poll_in(cx, |inner, cx| inner.poll_ready(cx))
    }

    fn start_send(self: Pin<&mut Self>, item: I) -> Result<(), T::Error> {
        self.run_now(|inner| inner.start_send(item))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<(), T::Error>> {
        self.poll_in(cx, |inner, cx| inner.poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<(), T::Error>> {
        self.poll_in(cx, |inner, cx| inner.poll_close(cx))
    }
}

impl<T: fmt::Debug, C: TaskContext> fmt::Debug for WithContext<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithContext")
            .field("inner", self.inner())
            .finish_non_exhaustive()
    }
}
