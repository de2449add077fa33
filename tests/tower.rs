//! `ContextLayer`: each request in a context of its own.
#![cfg(feature = "tower")]

use std::convert::Infallible;
use std::future::{self, Future};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll};

use aiocontextvars::shim::tower::ContextLayer;
use aiocontextvars::{Context, context_var, shim};
use tower_layer::Layer;
use tower_service::Service;

context_var! {
    static ID: u64;
    #[local] static CONNECTION: u64;
}

type Seen = (Option<u64>, Option<u64>, Option<u64>);

/// Answers with what it sees when it is called and later, and leaves values behind.
#[derive(Clone)]
struct Echo;

impl Service<u64> for Echo {
    type Response = Seen;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Seen, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        let at_the_call = ID.get();
        ID.set(request);
        Box::pin(async move {
            shim::yield_now().await;
            let child = shim::spawn(async { ID.get() });
            let seen = (at_the_call, ID.get(), child.await.unwrap());
            ID.set(request + 1);
            Ok(seen)
        })
    }
}

#[test]
fn requests_do_not_see_each_other() {
    shim::block_on(async {
        ID.set(1);
        CONNECTION.set(5);
        let mut service = ContextLayer::new().layer(Echo);
        for request in [10, 20] {
            let seen = service.call(request).await;
            assert_eq!(seen, Ok((Some(1), Some(request), Some(request))));
        }
        let (first, second) = futures::join!(service.call(30), service.clone().call(40));
        assert_eq!(first, Ok((Some(1), Some(30), Some(30))));
        assert_eq!(second, Ok((Some(1), Some(40), Some(40))));
        assert_eq!((ID.get(), CONNECTION.get()), (Some(1), Some(5)));
        // The bare service leaks, which is what the layer is for.
        assert!(Echo.call(50).await.is_ok());
        assert_eq!(ID.get(), Some(51));
    });
}

#[test]
fn a_service_that_is_not_ready_is_waited_for() {
    /// Ready when it is asked for the second time.
    struct Busy(bool);
    impl Service<u64> for Busy {
        type Response = Option<u64>;
        type Error = u64;
        type Future = future::Ready<Result<Option<u64>, u64>>;

        fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), u64>> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Ready(Err(9));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }

        fn call(&mut self, _: u64) -> Self::Future {
            future::ready(Ok(ID.get()))
        }
    }
    ID.set(1);
    let mut service = ContextLayer::default().layer(Busy(false));
    let polls = std::cell::Cell::new(0);
    let ready = future::poll_fn(|cx| {
        polls.set(polls.get() + 1);
        service.poll_ready(cx)
    });
    assert_eq!((shim::block_on(ready), polls.get()), (Err(9), 2));
    assert_eq!(shim::block_on(service.call(7)), Ok(Some(1)));
}

#[test]
fn a_function_makes_the_context_of_the_request() {
    shim::block_on(async {
        ID.set(1);
        let layer =
            ContextLayer::with(|request: &u64| Context::new().with_value(&ID, request + 100));
        let mut service = layer.clone().layer(Echo);
        assert_eq!(service.call(7).await, Ok((Some(107), Some(7), Some(7))));
        assert_eq!(ID.get(), Some(1));
    });
}

#[test]
fn a_request_that_is_given_up_is_dropped_in_its_context() {
    struct SeesOnDrop(Arc<Mutex<Vec<Option<u64>>>>);
    impl Drop for SeesOnDrop {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(ID.get());
        }
    }
    struct Hangs(Arc<Mutex<Vec<Option<u64>>>>);
    impl Service<u64> for Hangs {
        type Response = ();
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<(), Infallible>>>>;

        fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: u64) -> Self::Future {
            let probe = SeesOnDrop(Arc::clone(&self.0));
            Box::pin(async move {
                let _probe = probe;
                ID.set(request);
                future::pending().await
            })
        }
    }
    let seen = Arc::default();
    shim::block_on(async {
        let mut service = ContextLayer::new().layer(Hangs(Arc::clone(&seen)));
        ID.set(1);
        let hung = service.call(2);
        let timeout = shim::timeout(std::time::Duration::from_millis(1), hung);
        assert!(timeout.await.is_err());
        assert_eq!(ID.get(), Some(1));
    });
    assert_eq!(*seen.lock().unwrap(), [Some(2)]);
}
