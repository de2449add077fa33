//! Layers of tower. `HttpContextLayer` and [`ContextLayer`] handle each request of a service in its
//! own context, for HTTP and for anything else; `InjectLayer` sends the caller's values along with
//! what a client sends; [`CarryLayer`] and [`RestoreLayer`] take its context through a buffer.

#[path = "tower/carry.rs"]
mod carry;
#[cfg(feature = "http-body")]
#[path = "tower/http_context.rs"]
mod http_context;
#[cfg(feature = "http")]
#[path = "tower/inject.rs"]
mod inject;

use std::fmt;
use std::sync::Arc;
use std::task::{self, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::context::Context;
use crate::current;
use crate::with_context::{ContextExt, WithContext};

pub use self::carry::{CarryLayer, CarryService, RestoreLayer, RestoreService};
#[cfg(feature = "http-body")]
pub use self::http_context::{HttpContextFuture, HttpContextLayer, HttpContextService};
#[cfg(feature = "http")]
pub use self::inject::{InjectLayer, InjectService};

/// A tower layer that handles each request in a context of its own: a copy of the current one, or
/// the one that a function makes of the request.
///
/// It leaves alone what is current beside the variables where the request is polled, such as the
/// span of a layer outside: see [companions](crate::companion). Not if a function gives a context
/// that was captured with companions, as by [`inherit_context`](crate::inherit_context).
///
/// The context is current where the service is called, and in its future. In `poll_ready`, which
/// belongs to no request, it is not. What a layer inside of this one does several times for a
/// request, as one that retries does, is in one context: each attempt sees what those before it
/// have set.
///
/// Around a service whose tasks the shim does not spawn, this is what lets handlers set variables.
/// For HTTP there is `HttpContextLayer` (features `tower` and `http-body`): a response's body,
/// which is polled when the service is done with the request, is out of the reach of this layer.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{Context, context_var, shim::{self, tower::ContextLayer}};
/// use tower_layer::Layer;
/// use tower_service::Service;
/// # struct Echo;
/// # impl Service<u64> for Echo {
/// #     type Response = Option<u64>;
/// #     type Error = ();
/// #     type Future = std::pin::Pin<Box<dyn Future<Output = Result<Option<u64>, ()>>>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), ()>> { Ok(()).into() }
/// #     fn call(&mut self, _: u64) -> Self::Future { Box::pin(async { Ok(REQUEST_ID.get()) }) }
/// # }
///
/// context_var! { static REQUEST_ID: u64; }
///
/// let layer = ContextLayer::with(|request: &u64| Context::new().with_value(&REQUEST_ID, *request));
/// // `Echo` answers with `REQUEST_ID.get()`.
/// let mut service = layer.layer(Echo);
/// assert_eq!(shim::block_on(service.call(7)), Ok(Some(7)));
/// ```
pub struct ContextLayer<M = Inherit> {
    make: Arc<M>,
}

/// Makes a copy of the current context for each request; what [`ContextLayer::new`] uses.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Inherit;

/// Makes the context of a request: [`Inherit`], or a function of the request.
pub trait MakeContext<R> {
    /// The context for `request`.
    fn make(&self, request: &R) -> Context;
}

impl<R> MakeContext<R> for Inherit {
    fn make(&self, _: &R) -> Context {
        current::inherit_values()
    }
}

impl<R, F: Fn(&R) -> Context> MakeContext<R> for F {
    fn make(&self, request: &R) -> Context {
        self(request)
    }
}

impl ContextLayer {
    /// Each request in a copy of the context that is current when the service is called.
    pub fn new() -> ContextLayer {
        ContextLayer {
            make: Arc::new(Inherit),
        }
    }
}

impl Default for ContextLayer {
    fn default() -> ContextLayer {
        ContextLayer::new()
    }
}

impl<F> ContextLayer<F> {
    /// Each request in the context that `f` makes of it.
    pub fn with<R>(f: F) -> ContextLayer<F>
    where
        F: Fn(&R) -> Context,
    {
        ContextLayer { make: Arc::new(f) }
    }
}

impl<S, M> Layer<S> for ContextLayer<M> {
    type Service = ContextService<S, M>;

    fn layer(&self, inner: S) -> ContextService<S, M> {
        ContextService {
            inner,
            make: Arc::clone(&self.make),
        }
    }
}

/// The service of a [`ContextLayer`].
pub struct ContextService<S, M = Inherit> {
    inner: S,
    make: Arc<M>,
}

impl<S, M, R> Service<R> for ContextService<S, M>
where
    S: Service<R>,
    M: MakeContext<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = WithContext<S::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let mut context = self.make.make(&request);
        let future = context.run(|| self.inner.call(request));
        future.in_context(context)
    }
}

impl<M> Clone for ContextLayer<M> {
    fn clone(&self) -> Self {
        ContextLayer {
            make: Arc::clone(&self.make),
        }
    }
}

impl<S: Clone, M> Clone for ContextService<S, M> {
    fn clone(&self) -> Self {
        ContextService {
            inner: self.inner.clone(),
            make: Arc::clone(&self.make),
        }
    }
}

impl<M> fmt::Debug for ContextLayer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextLayer").finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, M> fmt::Debug for ContextService<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
