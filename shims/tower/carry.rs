//! [`CarryLayer`] and [`RestoreLayer`]: the caller's context through a service that calls in a task
//! of its own.

use std::task::{self, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::carried::Carried;
use crate::with_context::{ContextExt, WithContext};

/// A tower layer that sends the context of the caller along with each request, to a
/// [`RestoreLayer`] further inside.
///
/// The two go around layers that call the service in a task of their own, such as tower's `Buffer`,
/// whose worker would call it in no context, or in that in which the buffer was made. Between the
/// two a request is a [`Carried`]: a copy of the context that is current when the service is
/// called, without `local` variables. One that is dropped there, when the buffer is closed for
/// example, is dropped in its context.
///
/// # Examples
///
/// With the crate `tower`:
///
/// ```text
/// ServiceBuilder::new()
///     .layer(CarryLayer::new())
///     .layer(BufferLayer::new(64))
///     .layer(RestoreLayer::new())
///     .service(service)
/// ```
///
/// What it does, with a thread in place of a buffer:
///
/// ```
/// use std::convert::Infallible;
/// use std::thread;
/// use aiocontextvars::shim::{self, tower::{CarryLayer, RestoreLayer}};
/// use aiocontextvars::context_var;
/// use tower_layer::Layer;
/// use tower_service::Service;
/// # use std::future::{Ready, ready};
/// # use std::task::{Context, Poll};
/// # #[derive(Clone)]
/// # struct Echo;
/// # impl Service<u64> for Echo {
/// #     type Response = Option<u64>;
/// #     type Error = Infallible;
/// #     type Future = Ready<Result<Option<u64>, Infallible>>;
/// #     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> { Ok(()).into() }
/// #     fn call(&mut self, _: u64) -> Self::Future { ready(Ok(ID.get())) }
/// # }
/// # struct OnThread<S>(S);
/// # impl<R: Send + 'static, S> Service<R> for OnThread<S>
/// # where S: Service<R, Error = Infallible, Future: Send> + Clone + Send + 'static, S::Response: Send {
/// #     type Response = S::Response;
/// #     type Error = Infallible;
/// #     type Future = Ready<Result<S::Response, Infallible>>;
/// #     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> { Ok(()).into() }
/// #     fn call(&mut self, request: R) -> Self::Future {
/// #         let mut service = self.0.clone();
/// #         ready(thread::spawn(move || shim::block_on(service.call(request))).join().unwrap())
/// #     }
/// # }
///
/// context_var! { static ID: u64; }
///
/// // `Echo` answers with `ID.get()`, and `OnThread` calls it on a thread.
/// let mut service = CarryLayer::new().layer(OnThread(RestoreLayer::new().layer(Echo)));
/// ID.set(7);
/// assert_eq!(shim::block_on(service.call(0)), Ok(Some(7)));
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CarryLayer {}

impl CarryLayer {
    /// Sends a copy of the current context along.
    ///
    /// # Examples
    ///
    /// See [`CarryLayer`].
    pub fn new() -> CarryLayer {
        CarryLayer {}
    }
}

impl<S> Layer<S> for CarryLayer {
    type Service = CarryService<S>;

    fn layer(&self, inner: S) -> CarryService<S> {
        CarryService { inner }
    }
}

/// The service of a [`CarryLayer`].
///
/// # Examples
///
/// See [`CarryLayer`].
#[derive(Clone, Debug)]
pub struct CarryService<S> {
    inner: S,
}

impl<S, R> Service<R> for CarryService<S>
where
    S: Service<Carried<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.inner.call(Carried::new(request))
    }
}

/// A tower layer that handles each request in the context that a [`CarryLayer`] has sent along.
///
/// The service is called, and its future is polled and dropped, in that context. What this sets is
/// gone with it.
///
/// # Examples
///
/// See [`CarryLayer`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct RestoreLayer {}

impl RestoreLayer {
    /// Handles requests in the context that they bring.
    ///
    /// # Examples
    ///
    /// See [`CarryLayer`].
    pub fn new() -> RestoreLayer {
        RestoreLayer {}
    }
}

impl<S> Layer<S> for RestoreLayer {
    type Service = RestoreService<S>;

    fn layer(&self, inner: S) -> RestoreService<S> {
        RestoreService { inner }
    }
}

/// The service of a [`RestoreLayer`].
///
/// # Examples
///
/// See [`CarryLayer`].
#[derive(Clone, Debug)]
pub struct RestoreService<S> {
    inner: S,
}

impl<S, R> Service<Carried<R>> for RestoreService<S>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = WithContext<S::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Carried<R>) -> Self::Future {
        let (request, mut context) = request.into_parts();
        let future = context.run(|| self.inner.call(request));
        future.in_context(context)
    }
}
