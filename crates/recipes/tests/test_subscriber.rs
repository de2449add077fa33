//! Tests with a subscriber each: what the requests of a test's server log reaches the test's own.

mod common;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Once};

use aiocontextvars::bridge::tracing::{CurrentDispatch, CurrentSpan};
use aiocontextvars::shim::tower::HttpContextLayer;
use aiocontextvars::{companion, inherit_context, shim};
use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use tokio::net::TcpListener;
use tracing::instrument::WithSubscriber;
use tracing::{Instrument, Subscriber, info, info_span, subscriber};
use tracing_subscriber::fmt;

/// In each test, before all else.
fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        companion::register(CurrentDispatch).unwrap();
        companion::register(CurrentSpan).unwrap();
    });
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// A subscriber that writes them.
    fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        let lines = self.clone();
        let format = fmt().without_time().with_target(false).with_ansi(false);
        format.with_writer(move || lines.clone()).finish()
    }

    fn all(&self) -> Vec<String> {
        let lines = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        lines.lines().map(str::to_owned).collect()
    }
}

fn app() -> Router {
    let hello = async || {
        info!("a handler");
        let task = shim::spawn(async { info!("a task") });
        task.await.unwrap();
        "hello"
    };
    Router::new().route("/", get(hello))
}

/// Starts a server whose requests log where the test does, and in its span.
async fn start(app: Router) -> SocketAddr {
    let base = inherit_context();
    let app = app.layer(HttpContextLayer::with(move |_: &Request| base.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_logs_where_its_test_does() {
    register();
    let lines = Lines::default();
    let subscriber = lines.subscriber();
    let _until_the_end = subscriber::set_default(subscriber);

    let server = start(app()).await;
    common::get(server, "/", "acme").await;
    assert_eq!(lines.all(), [" INFO a handler", " INFO a task"]);
}

#[tokio::test]
async fn two_servers_at_once_on_one_runtime() {
    register();
    let of = async |name: &'static str| {
        let lines = Lines::default();
        let started = async { start(app()).instrument(info_span!("test", name)).await };
        let address = started.with_subscriber(lines.subscriber()).await;
        (name, lines, address)
    };
    let servers = [of("one").await, of("two").await];
    let [(_, _, one), (_, _, two)] = &servers;
    for _ in 0..10 {
        tokio::join!(
            common::get(*one, "/", "acme"),
            common::get(*two, "/", "acme")
        );
    }
    for (name, lines, _) in servers {
        let line = |of| format!(" INFO test{{name=\"{name}\"}}: {of}");
        let expected = vec![[line("a handler"), line("a task")]; 10].concat();
        assert_eq!(lines.all(), expected);
    }
}
