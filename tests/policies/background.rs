//! Work that outlives the request that starts it, and values from before the first one, from
//! `docs/policies.md`.

use std::sync::Arc;
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::{Context, context_var, inherit_context, shim};

context_var! {
    static TENANT: &'static str = "nobody";
    static BODY: Arc<()>;
}

/// What takes longer than the request.
async fn report() -> &'static str {
    shim::sleep(Duration::from_secs(60)).await;
    TENANT.get()
}

#[test]
fn background_work_keeps_what_it_is_given() {
    EventLoop::with_virtual_clock().run_until_complete(async {
        let body = Arc::new(());
        let request = async {
            BODY.set(Arc::clone(&body));
            let nobodys = shim::spawn_in(Context::new(), report());
            let tenants = shim::spawn_in(inherit_context().without(&BODY), report());
            [nobodys, tenants]
        };
        let [nobodys, tenants] = TENANT.scope("acme", request).await;
        // Both go on, and the body is not kept.
        assert_eq!(Arc::strong_count(&body), 1);
        assert_eq!(nobodys.await.unwrap(), "nobody");
        assert_eq!(tenants.await.unwrap(), "acme");
    });
}

/// What the page warns of.
#[test]
fn background_work_that_inherits_keeps_all_values() {
    EventLoop::with_virtual_clock().run_until_complete(async {
        let body = Arc::new(());
        let request = async {
            BODY.set(Arc::clone(&body));
            [shim::spawn(report())]
        };
        let [task] = TENANT.scope("acme", request).await;
        assert_eq!(Arc::strong_count(&body), 2);
        assert_eq!(task.await.unwrap(), "acme");
        assert_eq!(Arc::strong_count(&body), 1);
    });
}

#[cfg(all(feature = "tokio", feature = "tower", feature = "http-body"))]
mod start_up {
    use std::convert::Infallible;
    use std::future::{Ready, ready};
    use std::task::{self, Poll};

    use aiocontextvars::shim::tower::HttpContextLayer;
    use aiocontextvars::{ContextExt, WithContext, context_var, inherit_context};
    use http::{Request, Response};
    use tower_layer::Layer;
    use tower_service::Service;

    context_var! { static REGION: &'static str = "nowhere"; }

    struct Handler;

    /// In place of a body.
    struct Body(&'static str);

    impl Service<Request<Body>> for Handler {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            ready(Ok(Response::new(Body(REGION.get()))))
        }
    }

    /// On a server that spawns a bare task for each request.
    async fn serve<S>(mut service: S) -> &'static str
    where
        S: Service<Request<Body>, Response = Response<WithContext<Body>>, Error = Infallible>,
        S: Send + 'static,
        S::Future: Send,
    {
        let request = async move { service.call(Request::new(Body(""))).await };
        let Ok(answer) = tokio::spawn(request).await.unwrap();
        answer.into_body().into_inner().0
    }

    /// What `main` does.
    async fn start() -> [&'static str; 2] {
        REGION.set("eu");
        let base = inherit_context().without_companions();
        let layer = HttpContextLayer::with(move |_: &Request<Body>| base.clone());
        let with_values = serve(layer.layer(Handler)).await;
        let without = serve(HttpContextLayer::new().layer(Handler)).await;
        [with_values, without]
    }

    #[test]
    fn requests_have_the_values_of_the_start_if_they_are_handed_on() {
        let mut multi_thread = tokio::runtime::Builder::new_multi_thread();
        multi_thread.worker_threads(1);
        let current_thread = tokio::runtime::Builder::new_current_thread();
        for mut builder in [multi_thread, current_thread] {
            let runtime = builder.build().unwrap();
            let answers = runtime.block_on(start().in_current_context());
            assert_eq!(answers, ["eu", "nowhere"]);
        }
    }
}
