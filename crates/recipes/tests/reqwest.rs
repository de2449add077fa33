//! reqwest: values go out in the headers of a request, and its pooled connections keep none.

mod common;

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use aiocontextvars::propagation::Propagator;
use aiocontextvars::shim::tower::InjectLayer;
use aiocontextvars::{context_var, copy_context};
use reqwest::{Body, Client, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, Service, ServiceExt, service_fn};

use common::TENANT;

context_var! {
    static HELD: Arc<()>;
}

static PROPAGATOR: LazyLock<Propagator> =
    LazyLock::new(|| Propagator::new().both("tenant", &TENANT));

/// Asks another service, which is to know whose request it is.
async fn ask(client: &Client, url: &str) -> reqwest::Result<String> {
    let mut request = client.get(url).build()?;
    let problems = PROPAGATOR.inject(&copy_context(), request.headers_mut());
    assert_eq!(problems.len(), 0);
    client.execute(request).await?.text().await
}

/// A client among layers, which are of requests as the crate `http` has them.
fn layered(
    client: Client,
) -> impl Service<http::Request<Body>, Response = Response, Error = reqwest::Error> + Clone {
    let execute = move |request: http::Request<Body>| {
        let client = client.clone();
        async move { client.execute(request.try_into()?).await }
    };
    InjectLayer::new(&PROPAGATOR).layer(service_fn(execute))
}

/// Answers the requests of one connection with their `baggage`.
async fn echo(mut stream: TcpStream) {
    let (mut received, mut buffer) = (String::new(), [0; 1024]);
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        if count == 0 {
            return;
        }
        received.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        while let Some((head, rest)) = received.split_once("\r\n\r\n") {
            let baggage = head.lines().find_map(|line| line.strip_prefix("baggage: "));
            let body = baggage.unwrap_or("none");
            let response = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            received = rest.to_owned();
            stream.write_all(response.as_bytes()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn values_go_along_and_the_connection_keeps_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    // One connection, and no other is accepted.
    let server = tokio::spawn(async move { echo(listener.accept().await.unwrap().0).await });
    let client = Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{address}/");

    let held = Arc::new(());
    let request = HELD.scope(Arc::clone(&held), ask(&client, &url));
    let answer = TENANT.scope("acme".to_owned(), request).await;
    assert_eq!(answer.unwrap(), "tenant=acme");
    // The connection that was opened for it is in the client's pool.
    assert_eq!(Arc::strong_count(&held), 1);

    let answer = TENANT
        .scope("umbrella".to_owned(), ask(&client, &url))
        .await;
    assert_eq!(answer.unwrap(), "tenant=umbrella");
    // A default is not sent.
    assert_eq!(ask(&client, &url).await.unwrap(), "none");

    let layered = layered(client);
    let asked = async || {
        let request = http::Request::get(&url).header("baggage", "tenant=forged");
        let request = request.body(Body::default()).unwrap();
        let response = layered.clone().oneshot(request).await.unwrap();
        response.text().await.unwrap()
    };
    let answer = TENANT.scope("acme".to_owned(), asked()).await;
    assert_eq!(answer, "tenant=acme");
    assert_eq!(asked().await, "none");

    drop(layered);
    server.await.unwrap();
}
