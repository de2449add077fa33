//! [`InjectLayer`]: the caller's values go out with the request.

use std::fmt;
use std::task::{self, Poll};

use ::http::Request;
use tower_layer::Layer;
use tower_service::Service;

use crate::current;
use crate::propagation::{BAGGAGE, Problem, Propagator};

/// A tower layer for clients: each request takes along what a [`Propagator`] sends, from the
/// context in which the service is called.
///
/// It goes around any `Service<http::Request<B>>`, such as hyper-util's client or a tonic
/// `Channel`. The values leave for whatever the client connects to: put it around clients of your
/// own services, and not around one that calls anybody.
///
/// A `baggage` header that the request has already is replaced, or removed if there is nothing to
/// send: a proxy that copies headers cannot pass on what it has not received by a propagator.
///
/// # Examples
///
/// ```
/// use std::convert::Infallible;
/// use std::sync::LazyLock;
/// use aiocontextvars::propagation::Propagator;
/// use aiocontextvars::shim::{self, tower::InjectLayer};
/// use aiocontextvars::context_var;
/// use http::Request;
/// use tower_layer::Layer;
/// use tower_service::Service;
/// # #[derive(Clone)]
/// # struct Client;
/// # impl Service<Request<()>> for Client {
/// #     type Response = String;
/// #     type Error = Infallible;
/// #     type Future = std::future::Ready<Result<String, Infallible>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> { Ok(()).into() }
/// #     fn call(&mut self, request: Request<()>) -> Self::Future {
/// #         std::future::ready(Ok(request.headers()["baggage"].to_str().unwrap().to_owned()))
/// #     }
/// # }
///
/// context_var! { static TENANT: String; }
///
/// static PROPAGATOR: LazyLock<Propagator> =
///     LazyLock::new(|| Propagator::new().both("tenant", &TENANT));
///
/// // `Client` answers with the header that it is given.
/// let mut client = InjectLayer::new(&PROPAGATOR).layer(Client);
/// TENANT.set("acme".to_owned());
/// let answer = shim::block_on(client.call(Request::new(())));
/// assert_eq!(answer.unwrap(), "tenant=acme");
/// ```
#[derive(Clone)]
pub struct InjectLayer {
    propagator: &'static Propagator,
    on_problem: Option<fn(&Problem)>,
}

impl InjectLayer {
    /// Sends what `propagator` does.
    ///
    /// # Examples
    ///
    /// See [`InjectLayer`].
    pub fn new(propagator: &'static Propagator) -> InjectLayer {
        InjectLayer {
            propagator,
            on_problem: None,
        }
    }

    /// Calls `f` with each member that was left out, where the service is called. Without this they
    /// are left out in silence.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::sync::LazyLock;
    /// # use aiocontextvars::{propagation::Propagator, shim::tower::InjectLayer};
    /// # static PROPAGATOR: LazyLock<Propagator> = LazyLock::new(Propagator::new);
    /// let layer = InjectLayer::new(&PROPAGATOR).on_problem(|problem| eprintln!("{problem}"));
    /// # _ = layer;
    /// ```
    #[must_use = "`on_problem` returns the layer"]
    pub fn on_problem(mut self, f: fn(&Problem)) -> InjectLayer {
        self.on_problem = Some(f);
        self
    }
}

impl<S> Layer<S> for InjectLayer {
    type Service = InjectService<S>;

    fn layer(&self, inner: S) -> InjectService<S> {
        InjectService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of an [`InjectLayer`].
///
/// # Examples
///
/// See [`InjectLayer`].
#[derive(Clone)]
pub struct InjectService<S> {
    inner: S,
    layer: InjectLayer,
}

impl<S, B> Service<Request<B>> for InjectService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let InjectLayer {
            propagator,
            on_problem,
        } = self.layer;
        let headers = request.headers_mut();
        headers.remove(BAGGAGE);
        let problems = propagator.inject(&current::copy(), headers);
        if let Some(on_problem) = on_problem {
            problems.iter().for_each(on_problem);
        }
        self.inner.call(request)
    }
}

impl fmt::Debug for InjectLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InjectLayer")
            .field("propagator", self.propagator)
            .finish_non_exhaustive()
    }
}

impl<S: fmt::Debug> fmt::Debug for InjectService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InjectService")
            .field("inner", &self.inner)
            .field("propagator", self.layer.propagator)
            .finish_non_exhaustive()
    }
}
