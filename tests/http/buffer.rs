//! tower's `Buffer`, whose worker calls the service in a task of its own.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use aiocontextvars::shim::tower::{CarryLayer, RestoreLayer};
use aiocontextvars::{Carried, Context, ContextExt, context_var, copy_context};
use futures::future;
use test_support::tower::buffer::Buffer;
use test_support::tower::{Layer, Service, ServiceExt, service_fn};

use crate::ID;
use crate::service::{AT_ONCE, Probe, run};

context_var! { #[local] static CONNECTION: u64; }

#[test]
fn the_service_behind_a_buffer_is_called_in_the_callers_context() {
    run(async {
        let (probe, mut seen) = Probe::new();
        let echo = service_fn(move |request: u64| {
            let called = (ID.get(), CONNECTION.get());
            ID.set(request + 100);
            let armed = probe.arm();
            async move {
                let _armed = armed;
                tokio::task::yield_now().await;
                Ok::<_, Infallible>((called, ID.get()))
            }
        });
        let buffered = Buffer::new(RestoreLayer::new().layer(echo), AT_ONCE);
        let service = CarryLayer::new().layer(buffered);
        let answers = (1..=AT_ONCE as u64).map(|id| {
            let context = Context::new()
                .with_value(&ID, id)
                .with_value(&CONNECTION, 5);
            let mut service = service.clone();
            let answer = async move {
                let answer = service.ready().await.unwrap().call(id).await.unwrap();
                (answer, ID.get())
            };
            (id, tokio::spawn(answer.in_context(context)))
        });
        let answers: Vec<_> = answers.collect();
        for (id, answer) in answers {
            let (answer, after) = answer.await.unwrap();
            // Variables that stay where they are do so, and the caller does not see what the
            // service has set.
            assert_eq!(
                (answer, after),
                (((Some(id), None), Some(id + 100)), Some(id))
            );
        }
        let mut dropped: Vec<_> = (0..AT_ONCE)
            .map(|_| seen.try_recv().unwrap().0.unwrap())
            .collect();
        dropped.sort_unstable();
        assert_eq!(dropped, (101..=100 + AT_ONCE as u64).collect::<Vec<_>>());
    });
}

#[test]
fn a_request_that_is_never_served_is_dropped_in_its_context() {
    let (probe, mut seen) = Probe::new();
    let kept: Arc<Mutex<Vec<Carried<_>>>> = Arc::default();
    let keeps = {
        let kept = Arc::clone(&kept);
        service_fn(move |request| {
            kept.lock().unwrap().push(request);
            future::ready(Ok::<_, Infallible>(()))
        })
    };
    let mut service = CarryLayer::new().layer(keeps);
    let mut context = Context::new().with_value(&ID, 7);
    let answer = context.run(|| service.call(probe.arm()));
    assert_eq!(aiocontextvars::shim::block_on(answer), Ok(()));
    assert!(seen.try_recv().is_err());
    assert!(copy_context().is_empty());
    kept.lock().unwrap().clear();
    assert_eq!(seen.try_recv().unwrap(), (Some(7), 0));
}
