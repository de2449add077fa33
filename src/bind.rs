//! Functions in a context of their own, which is entered at each call.

use std::any::Any;
use std::future::Future;

use crate::context::Context;
use crate::current::{Entering, Owner};
use crate::task_context::EnterContext;
use crate::with_context::{ContextExt, WithContext};

impl Context {
    /// A function that calls `f` in this context, wherever it is called.
    ///
    /// `f` is dropped inside the context too, called or not. The function is `Send` and `Sync` if
    /// `f` is. It takes no argument: those of [`bind_mut`](Self::bind_mut) and
    /// [`bind_fn`](Self::bind_fn) take one. For the *current* context see
    /// [`shim::bind`](crate::shim::bind).
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var};
    /// context_var! { static LEVEL: u8; }
    ///
    /// let read = Context::new().with_value(&LEVEL, 5).bind(|| LEVEL.get());
    /// assert_eq!(std::thread::spawn(read).join().unwrap(), Some(5));
    /// ```
    pub fn bind<R>(self, f: impl FnOnce() -> R) -> impl FnOnce() -> R {
        let bound = f.in_context(self);
        move || bound.call_once()
    }

    /// A function that makes all calls of `f` in this one context: what a call sets, the next one
    /// sees, also after a panic.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var};
    /// context_var! { static COUNT: u32 = 0; }
    ///
    /// let mut add = Context::new().bind_mut(|n: u32| {
    ///     COUNT.set(COUNT.get() + n);
    ///     COUNT.get()
    /// });
    /// assert_eq!((add(1), add(2)), (1, 3));
    /// assert_eq!(COUNT.get(), 0);
    /// ```
    pub fn bind_mut<A, R>(self, f: impl FnMut(A) -> R) -> impl FnMut(A) -> R {
        let mut bound = f.in_context(self);
        move |argument| bound.call_mut(argument)
    }

    /// A function that makes each call of `f` in a copy of this context of its own. Calls may
    /// overlap, on any number of threads.
    ///
    /// `A` is one type. Where `f` has to take references of any lifetime, or several arguments, use
    /// [`call`](Self::call). The function is not `Clone`, even if `f` is: put it in an `Arc`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use aiocontextvars::{Context, context_var};
    /// context_var! { static COUNT: u32 = 0; }
    ///
    /// let add = Context::new().bind_fn(|n: u32| {
    ///     COUNT.set(COUNT.get() + n);
    ///     COUNT.get()
    /// });
    /// assert_eq!((add(1), add(2)), (1, 2));
    ///
    /// let context = Context::new().with_value(&COUNT, 7);
    /// let longer = move |text: &str| context.call(|| text.len() as u32 > COUNT.get());
    /// assert!(longer(&"a".repeat(8)));
    /// ```
    pub fn bind_fn<A, R>(self, f: impl Fn(A) -> R) -> impl Fn(A) -> R {
        let bound: WithContext<_> = f.in_context(self);
        move |argument| bound.call(None, argument)
    }
}

/// A function that makes each future of `f` run in an inherited copy of its own, so that branches
/// of one task do not share what they set: for `for_each_concurrent`, `buffer_unordered`,
/// `join_all` and their like.
///
/// The copy is of what is current when the returned function is called, without variables declared
/// `local`. `f` is called in it, and the future is polled and dropped there. It is what asyncio's
/// `gather` does with its coroutines.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{context_var, in_own_context, shim};
/// use futures::stream::{self, StreamExt};
///
/// context_var! { static JOB: u32; }
///
/// async fn work(job: u32) {
///     JOB.set(job);
///     shim::yield_now().await;
///     // Without `in_own_context` this is the job that was begun last.
///     assert_eq!(JOB.get(), Some(job));
/// }
///
/// shim::block_on(stream::iter(0..8).for_each_concurrent(4, in_own_context(work)));
/// ```
pub fn in_own_context<A, F: Future>(mut f: impl FnMut(A) -> F) -> impl FnMut(A) -> WithContext<F> {
    move |argument| argument.in_current_context().map_inner(None, &mut f)
}

impl<F> WithContext<F, Context> {
    /// Calls `f` in the context, and in this scope, with what is wrapped; what is left of it is
    /// dropped there too.
    pub(crate) fn run<R>(self, scope: Option<&dyn Any>, f: impl FnOnce(F) -> R) -> R {
        let (mut context, inner) = self.take_apart();
        context.run_last(Entering::new(Owner::Call, scope), || f(inner))
    }

    /// The same, and what `f` returns takes the place of what was wrapped.
    pub(crate) fn map_inner<U>(
        self,
        scope: Option<&dyn Any>,
        f: impl FnOnce(F) -> U,
    ) -> WithContext<U> {
        let (context, inner) = self.take_apart();
        // If `f` panics, its drop releases the context as usual.
        let mut empty = ().in_context(context);
        let (context, ()) = empty.parts_mut();
        let inner = context.run_now(Entering::new(Owner::Call, scope), || f(inner));
        inner.in_context(empty.into_parts().1)
    }

    /// Calls a function in its context; what is left of it is dropped there too.
    pub(crate) fn call_once<R>(self) -> R
    where
        F: FnOnce() -> R,
    {
        self.run(None, |f| f())
    }

    pub(crate) fn call_mut<A, R>(&mut self, argument: A) -> R
    where
        F: FnMut(A) -> R,
    {
        let (context, f) = self.parts_mut();
        context.run_now(Entering::call(), || f(argument))
    }

    /// Calls a function in a copy of its context, and in this scope.
    pub(crate) fn call<A, R>(&self, scope: Option<&dyn Any>, argument: A) -> R
    where
        F: Fn(A) -> R,
    {
        let mut context = self.context().clone();
        context.run_last(Entering::new(Owner::Call, scope), || {
            (self.inner())(argument)
        })
    }
}
