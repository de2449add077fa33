//! warp: its filters are a tower service, around which the layer goes.

mod common;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use aiocontextvars::shim;
use aiocontextvars::shim::tower::HttpContextLayer;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tower::Layer;
use warp::{Filter, Rejection, Reply};

use common::{TENANT, get_for_two, report, right_reports};

fn filters() -> impl Filter<Extract: Reply, Error = Rejection> + Clone + Send + Sync + 'static {
    let both_are_here = Arc::new(Barrier::new(2));
    // Sets the variable for all that follows.
    let with_tenant = warp::header("x-tenant")
        .map(|tenant: String| drop(TENANT.set(tenant)))
        .untuple_one();
    warp::path("report").and(with_tenant).and_then(move || {
        let both_are_here = Arc::clone(&both_are_here);
        async move { Ok::<_, Infallible>(report(&both_are_here).await) }
    })
}

async fn serve(listener: TcpListener) {
    let service = HttpContextLayer::new().layer(warp::service(filters()));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let server = auto::Builder::new(shim::tokio::executor());
            server
                .serve_connection(TokioIo::new(stream), service)
                .await
                .unwrap();
        });
    }
}

#[tokio::test]
async fn each_request_has_its_own_context() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener));

    for _ in 0..2 {
        assert_eq!(get_for_two(address, "/report").await, right_reports());
    }
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
}
