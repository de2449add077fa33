//! [`HttpContextLayer`]: each HTTP request in its own context, its response body included.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};

use ::http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Inherit, MakeContext};
use crate::context::Context;
use crate::current;
use crate::propagation::{Problem, Propagator};
use crate::with_context::{ContextExt, WithContext};

/// A tower layer that handles each HTTP request in a context of its own, and polls and drops the
/// body of its response in the same: streams, server-sent events and gRPC's streams see the values
/// of their request, and may set some.
///
/// The context is a copy of the current one, or the one that a function makes of the request. With
/// [`extracting`](Self::extracting), the values that the request brings are added. Around a service
/// whose tasks the shim does not spawn, axum's for example, this is what lets handlers set
/// variables.
///
/// What is current beside the variables where the request is polled, such as the span of a layer
/// outside, stays so, and the body has what is current there when the response is ready: see
/// [companions](crate::companion). Not if a function gives a context that was captured with
/// companions, as by [`inherit_context`](crate::inherit_context): then both have those.
///
/// The body has a copy of what the handler has left, so it sees what the handler has set. Its
/// length and its trailers stay as they are. Layers that look at bodies, such as a `TraceLayer`,
/// belong inside of this one.
///
/// # Examples
///
/// ```
/// use std::convert::Infallible;
/// use std::sync::LazyLock;
/// use aiocontextvars::propagation::Propagator;
/// use aiocontextvars::shim::{self, tower::HttpContextLayer};
/// use aiocontextvars::context_var;
/// use http::{Request, Response};
/// use tower_layer::Layer;
/// use tower_service::Service;
/// # struct Hello;
/// # impl Service<Request<()>> for Hello {
/// #     type Response = Response<String>;
/// #     type Error = Infallible;
/// #     type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>>>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> { Ok(()).into() }
/// #     fn call(&mut self, _: Request<()>) -> Self::Future {
/// #         Box::pin(async { Ok(Response::new(format!("hello {}", TENANT.get().unwrap()))) })
/// #     }
/// # }
///
/// context_var! { static TENANT: String; }
///
/// static PROPAGATOR: LazyLock<Propagator> =
///     LazyLock::new(|| Propagator::new().both("tenant", &TENANT));
///
/// let layer = HttpContextLayer::new()
///     .extracting(&PROPAGATOR)
///     .on_problem(|problem| eprintln!("{problem}"));
/// // `Hello` answers with `TENANT.get()`. With axum: `Router::new().route(..).layer(layer)`.
/// let mut service = layer.layer(Hello);
/// let request = Request::builder().header("baggage", "tenant=acme").body(()).unwrap();
/// let response = shim::block_on(service.call(request)).unwrap();
/// assert_eq!(response.into_body().inner(), "hello acme");
/// ```
pub struct HttpContextLayer<M = Inherit> {
    make: Arc<M>,
    receives: Receives,
}

/// What is received, and where problems go.
#[derive(Clone, Copy, Default)]
struct Receives {
    propagator: Option<&'static Propagator>,
    on_problem: Option<fn(&Problem)>,
}

impl Receives {
    /// The context of a request, made of what there is without it.
    fn context<B>(&self, base: Context, request: &Request<B>) -> Context {
        let Some(propagator) = self.propagator else {
            return base;
        };
        let received = propagator.extract(base, request.headers());
        let mut context = received.context;
        if let (Some(on_problem), [_, ..]) = (self.on_problem, &received.problems[..]) {
            context.run(|| received.problems.iter().for_each(on_problem));
        }
        context
    }
}

impl HttpContextLayer {
    /// Each request in a copy of the context that is current when the service is called.
    ///
    /// # Examples
    ///
    /// See [`HttpContextLayer`].
    pub fn new() -> HttpContextLayer {
        HttpContextLayer {
            make: Arc::new(Inherit),
            receives: Receives::default(),
        }
    }
}

impl Default for HttpContextLayer {
    fn default() -> HttpContextLayer {
        HttpContextLayer::new()
    }
}

impl<F> HttpContextLayer<F> {
    /// Each request in the context that `f` makes of it.
    ///
    /// # Examples
    ///
    /// Values that are set when the service starts, in every request. Without companions: those of
    /// the start would be the same for all requests, in place of their own.
    ///
    /// ```
    /// use aiocontextvars::shim::tower::HttpContextLayer;
    /// use aiocontextvars::{context_var, inherit_context};
    /// use http::Request;
    ///
    /// context_var! { static REGION: &'static str; }
    ///
    /// REGION.set("eu");
    /// let base = inherit_context().without_companions();
    /// let layer = HttpContextLayer::with(move |_: &Request<String>| base.clone());
    /// # _ = layer;
    /// ```
    pub fn with<B>(f: F) -> HttpContextLayer<F>
    where
        F: Fn(&Request<B>) -> Context,
    {
        HttpContextLayer {
            make: Arc::new(f),
            receives: Receives::default(),
        }
    }
}

impl<M> HttpContextLayer<M> {
    /// Adds the values that the request brings, as `propagator` [extracts](Propagator::extract)
    /// them.
    ///
    /// What a request says is what its sender asserts. Behind an edge of your own, that is the
    /// edge; at the edge, it is anybody: list there what is sent only.
    ///
    /// # Examples
    ///
    /// See [`HttpContextLayer`].
    #[must_use = "`extracting` returns the layer"]
    pub fn extracting(mut self, propagator: &'static Propagator) -> HttpContextLayer<M> {
        self.receives.propagator = Some(propagator);
        self
    }

    /// Calls `f` with each member of a request that was left out, in the context of the request.
    /// Without this they are left out in silence.
    ///
    /// # Examples
    ///
    /// See [`HttpContextLayer`].
    #[must_use = "`on_problem` returns the layer"]
    pub fn on_problem(mut self, f: fn(&Problem)) -> HttpContextLayer<M> {
        self.receives.on_problem = Some(f);
        self
    }
}

impl<S, M> Layer<S> for HttpContextLayer<M> {
    type Service = HttpContextService<S, M>;

    fn layer(&self, inner: S) -> HttpContextService<S, M> {
        HttpContextService {
            inner,
            make: Arc::clone(&self.make),
            receives: self.receives,
        }
    }
}

/// The service of an [`HttpContextLayer`].
///
/// # Examples
///
/// See [`HttpContextLayer`].
pub struct HttpContextService<S, M = Inherit> {
    inner: S,
    make: Arc<M>,
    receives: Receives,
}

impl<S, M, A, B> Service<Request<A>> for HttpContextService<S, M>
where
    S: Service<Request<A>, Response = Response<B>>,
    M: MakeContext<Request<A>>,
{
    type Response = Response<WithContext<B>>;
    type Error = S::Error;
    type Future = HttpContextFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let base = self.make.make(&request);
        let mut context = self.receives.context(base, &request);
        let future = context.run(|| self.inner.call(request));
        HttpContextFuture {
            inner: future.in_context(context),
        }
    }
}

pin_project! {
    /// The future of an [`HttpContextService`]: a response whose body is in its request's context.
    ///
    /// # Examples
    ///
    /// See [`HttpContextLayer`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct HttpContextFuture<F> {
        #[pin]
        inner: WithContext<F>,
    }
}

impl<F, B, E> Future for HttpContextFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<WithContext<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut inner = self.project().inner;
        let response = ready!(inner.as_mut().poll(cx))?;
        // As the handler has left it. The future has its own, to be dropped in.
        let context = inner.context().clone();
        // A server polls the body where nothing of the layers around is current any more.
        let context = current::accompany(context);
        Poll::Ready(Ok(response.map(|body| body.in_context(context))))
    }
}

impl<M> Clone for HttpContextLayer<M> {
    fn clone(&self) -> Self {
        HttpContextLayer {
            make: Arc::clone(&self.make),
            receives: self.receives,
        }
    }
}

impl<S: Clone, M> Clone for HttpContextService<S, M> {
    fn clone(&self) -> Self {
        HttpContextService {
            inner: self.inner.clone(),
            make: Arc::clone(&self.make),
            receives: self.receives,
        }
    }
}

impl<M> fmt::Debug for HttpContextLayer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpContextLayer")
            .field("extracting", &self.receives.propagator)
            .finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, M> fmt::Debug for HttpContextService<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpContextService")
            .field("inner", &self.inner)
            .field("extracting", &self.receives.propagator)
            .finish_non_exhaustive()
    }
}
