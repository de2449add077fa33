//! [`WithContext`]: a future, stream, sink, iterator, reader or writer in a context of its own.

mod io;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

use futures_core::future::FusedFuture;
use futures_core::stream::{FusedStream, Stream};
use futures_sink::Sink;
use pin_project_lite::pin_project;

use crate::context::Context;
use crate::current::{self, Entering};
use crate::raw::{Around, Inside, Undropped};
use crate::shared::SharedContext;
use crate::task_context::{EnterContext, TaskContext};

/// Puts any future, stream, sink, iterator, reader or writer into a context.
pub trait ContextExt: Sized {
    /// Runs `self` in `context`: it is current every time the future is polled, and when it is
    /// dropped.
    ///
    /// An owned [`Context`] is moved in. Given a [`SharedContext`], the future enters that very
    /// context, and parks while it is entered elsewhere.
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
        WithContext::new(context.into_place(), self)
    }

    /// Runs `self` in a copy of the current context, taken now and not at the first poll.
    /// Variables declared `local` are left out.
    ///
    /// This is how values follow a future into a task that the shim does not spawn. For an
    /// `IntoFuture`, write `value.into_future().in_current_context()`.
    ///
    /// A function that is wrapped cannot be called: use [`shim::bind`](crate::shim::bind), as in
    /// `tokio::task::spawn_blocking(shim::bind(f))`. (Where a wrapped one is passed, the compiler
    /// advises to remove the call of this method. That compiles, and loses the values.)
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

/// Runs `inner` in `context` as a unit of work: without a capture, nothing is current in it.
#[inline]
pub(crate) fn for_unit<T, C: TaskContext>(inner: T, context: C) -> WithContext<T, C::Owned> {
    WithContext::new(context.into_place().apart(), inner)
}

pin_project! {
    /// A future, stream, sink, iterator, reader or writer that is used *and dropped* inside its
    /// context.
    ///
    /// Made by [`ContextExt::in_context`], [`ContextExt::in_current_context`],
    /// [`in_own_context`](crate::in_own_context) and [`Carried::scope`](crate::Carried::scope). It
    /// is two words larger than what it wraps.
    ///
    /// Implements what the wrapped type does of `Future`, `FusedFuture`, `Stream`, `FusedStream`,
    /// `Sink` and `Iterator`, and `AsyncRead`, `AsyncWrite`, `AsyncBufRead` and `AsyncSeek`, those
    /// of `futures` and, with the feature `tokio`, those of tokio; with the feature `http-body`,
    /// also `http_body::Body`, and with `rayon`, `ParallelIterator`.
    ///
    /// In a [`SharedContext`] that is entered elsewhere, a poll waits for it. A drop, and what
    /// cannot wait (`Iterator::next`, `Sink::start_send`, `AsyncBufRead::consume`, tokio's
    /// `AsyncSeek::start_seek`), take place in a copy then.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct WithContext<T, C: TaskContext = Context> {
        #[pin]
        inside: Inside<T, Placed<C::Place>>,
    }
}

/// The place whose context is entered for the drop.
struct Placed<P: EnterContext>(P);

impl<P: EnterContext> Around for Placed<P> {
    #[inline]
    fn around(&mut self, value: Undropped<'_>) {
        self.0.run_last(Entering::call().to_drop(), || drop(value));
    }

    #[inline]
    fn release(self) {
        self.0.release();
    }
}

impl<T, C: TaskContext> WithContext<T, C> {
    #[inline]
    pub(crate) fn new(place: C::Place, inner: T) -> WithContext<T, C> {
        WithContext {
            inside: Inside::new(Placed(place), inner),
        }
    }

    /// The wrapped value.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::ContextExt;
    /// assert_eq!("hello".in_current_context().inner().len(), 5);
    /// ```
    pub fn inner(&self) -> &T {
        self.inside.inner()
    }

    /// The wrapped value. Its methods are called in the current context, and not in that of the
    /// wrapper.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::ContextExt;
    /// let mut numbers = vec![3, 1, 2].in_current_context();
    /// numbers.inner_mut().sort();
    /// assert_eq!(numbers.inner(), &[1, 2, 3]);
    /// ```
    pub fn inner_mut(&mut self) -> &mut T {
        self.inside.parts_mut().1
    }

    /// The wrapped value, pinned. Its methods are called in the current context, and not in that of
    /// the wrapper.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::future::Future;
    /// # use std::pin::pin;
    /// # use std::task::{Context, Poll, Waker};
    /// # use aiocontextvars::{ContextExt, context_var};
    /// context_var! { static LEVEL: u8; }
    ///
    /// LEVEL.set(1);
    /// let mut future = pin!(async { LEVEL.get() }.in_current_context());
    /// LEVEL.set(2);
    /// let mut cx = Context::from_waker(Waker::noop());
    /// let polled = future.as_mut().inner_pin_mut().poll(&mut cx);
    /// assert_eq!(polled, Poll::Ready(Some(2)));
    /// ```
    pub fn inner_pin_mut(self: Pin<&mut Self>) -> Pin<&mut T> {
        self.project().inside.project().1
    }

    /// The wrapped value, without the context, which is dropped as at the end of a task: its values
    /// in an empty one.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::ContextExt;
    /// assert_eq!("hello".in_current_context().into_inner(), "hello");
    /// ```
    pub fn into_inner(self) -> T {
        let (place, inner) = self.take_apart();
        place.release();
        inner
    }

    pub(crate) fn shared(&self) -> Option<&SharedContext> {
        self.inside.around().0.shared()
    }

    /// Where its context is entered from.
    pub(crate) fn place(&self) -> &C::Place {
        &self.inside.around().0
    }

    pub(crate) fn place_pin_mut(self: Pin<&mut Self>) -> &mut C::Place {
        let (Placed(place), _) = self.project().inside.project();
        place
    }

    pub(crate) fn take_apart(self) -> (C::Place, T) {
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
        place.poll_in(Entering::call(), cx, |cx| f(inner, cx))
    }

    /// The same for what cannot wait: in a copy of the context, if that is taken.
    pub(crate) fn run_now<R>(self: Pin<&mut Self>, f: impl FnOnce(Pin<&mut T>) -> R) -> R {
        let (Placed(place), inner) = self.project().inside.project();
        place.run_now(Entering::call(), || f(inner))
    }

    pub(crate) fn parts_mut(&mut self) -> (&mut C::Place, &mut T) {
        let (Placed(place), inner) = self.inside.parts_mut();
        (place, inner)
    }
}

impl<T> WithContext<T> {
    /// The context, with what the wrapped value has set so far.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, ContextExt, context_var};
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// let future = async { LEVEL.set(2); }.in_context(Context::new().with_value(&LEVEL, 1));
    /// assert_eq!(future.context().get(&LEVEL), Some(&1));
    /// ```
    pub fn context(&self) -> &Context {
        self.place()
    }

    /// The wrapped value and the context. From here on both are the caller's.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, ContextExt, context_var};
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// let wrapped = "hello".in_context(Context::new().with_value(&LEVEL, 1));
    /// let (text, context) = wrapped.into_parts();
    /// assert_eq!((text, context.get(&LEVEL)), ("hello", Some(&1)));
    /// ```
    pub fn into_parts(self) -> (T, Context) {
        let (context, inner) = self.take_apart();
        (inner, context)
    }
}

impl<T> WithContext<T, SharedContext> {
    /// The context.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{ContextExt, SharedContext};
    ///
    /// let shared = SharedContext::new();
    /// assert!(async {}.in_context(&shared).context().ptr_eq(&shared));
    /// ```
    pub fn context(&self) -> &SharedContext {
        let context = self.place().shared();
        context.unwrap_or_else(|| unreachable!("only a drop takes the context out"))
    }

    /// The wrapped value and the context. From here on both are the caller's.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{ContextExt, SharedContext};
    ///
    /// let shared = SharedContext::new();
    /// let (text, context) = "hello".in_context(&shared).into_parts();
    /// assert!(text == "hello" && context.ptr_eq(&shared));
    /// ```
    pub fn into_parts(self) -> (T, SharedContext) {
        let context = self.context().clone();
        (self.into_inner(), context)
    }
}

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

impl<T: Iterator, C: TaskContext> Iterator for WithContext<T, C> {
    type Item = T::Item;

    fn next(&mut self) -> Option<T::Item> {
        let (place, iterator) = self.parts_mut();
        place.run_now(Entering::call(), || iterator.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner().size_hint()
    }
}

impl<T: fmt::Debug, C: TaskContext> fmt::Debug for WithContext<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithContext")
            .field("inner", self.inner())
            .finish_non_exhaustive()
    }
}
