//! Callbacks of connection pools, from `docs/policies.md`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::shim::{self, AbortHandle};
use aiocontextvars::{Context, ContextExt, context_var};
use futures::future::{BoxFuture, FutureExt};

context_var! {
    static TENANT: &'static str = "nobody";
    static BODY: Arc<()>;
}

/// A connection to a database, which keeps what was said on it.
#[derive(Default)]
struct Connection {
    said: Vec<String>,
    driver: Option<AbortHandle>,
}

impl Connection {
    async fn say(&mut self, what: &str, who: &str) {
        shim::yield_now().await;
        self.said.push(format!("{what} {who}"));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}

/// What answers are read by, for as long as there is the connection.
async fn driver() {
    std::future::pending().await
}

type Callback = fn(&mut Connection) -> BoxFuture<'_, ()>;

/// A pool of one connection, with the callbacks that such pools have.
struct Pool {
    after_connect: Callback,
    before_acquire: Callback,
    after_release: Callback,
    idle: Arc<Mutex<Option<Connection>>>,
}

struct Acquired {
    connection: Option<Connection>,
    after_release: Callback,
    idle: Arc<Mutex<Option<Connection>>>,
}

impl Pool {
    async fn acquire(&self) -> Acquired {
        let idle = self.idle.lock().unwrap().take();
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                let mut connection = Connection::default();
                (self.after_connect)(&mut connection).await;
                connection
            }
        };
        (self.before_acquire)(&mut connection).await;
        Acquired {
            connection: Some(connection),
            after_release: self.after_release,
            idle: Arc::clone(&self.idle),
        }
    }
}

impl Acquired {
    fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.connection.as_mut().unwrap().said)
    }
}

impl Drop for Acquired {
    /// Has a task do what takes time, as there is nobody to await it.
    fn drop(&mut self) {
        let mut connection = self.connection.take().unwrap();
        let (idle, after_release) = (Arc::clone(&self.idle), self.after_release);
        shim::spawn(async move {
            after_release(&mut connection).await;
            *idle.lock().unwrap() = Some(connection);
        })
        .detach();
    }
}

/// Once for each connection, in the acquire of whoever needs one more: for nobody.
fn after_connect(connection: &mut Connection) -> BoxFuture<'_, ()> {
    let connect = async {
        connection.driver = Some(shim::spawn_in(Context::new(), driver()).abort_handle());
        connection.say("connected for", TENANT.get()).await;
    };
    connect.in_context(Context::new()).boxed()
}

/// For each request, in its own acquire.
fn before_acquire(connection: &mut Connection) -> BoxFuture<'_, ()> {
    async { connection.say("set tenant", TENANT.get()).await }.boxed()
}

/// After each request, in its context, in another one's or in none.
fn after_release(connection: &mut Connection) -> BoxFuture<'_, ()> {
    connection.say("set tenant", "nobody").boxed()
}

fn pool() -> Pool {
    Pool {
        after_connect,
        before_acquire,
        after_release,
        idle: Arc::default(),
    }
}

/// Acquires, and releases. Returns what was said on the connection since the last time.
async fn request(pool: &Pool) -> Vec<String> {
    let said = pool.acquire().await.said();
    // Until it is there again.
    shim::sleep(Duration::from_secs(1)).await;
    said
}

#[test]
fn a_connection_is_set_up_for_nobody_and_acquired_for_each_request() {
    EventLoop::with_virtual_clock().run_until_complete(async {
        let pool = pool();
        let said = TENANT.scope("acme", request(&pool)).await;
        assert_eq!(said, ["connected for nobody", "set tenant acme"]);
        let said = TENANT.scope("other", request(&pool)).await;
        assert_eq!(said, ["set tenant nobody", "set tenant other"]);
    });
}

#[test]
fn a_connection_keeps_no_values_of_the_request_that_it_was_made_for() {
    EventLoop::with_virtual_clock().run_until_complete(async {
        let (pool, body) = (pool(), Arc::new(()));
        let request = async {
            BODY.set(Arc::clone(&body));
            request(&pool).await
        };
        TENANT.scope("acme", request).await;
        assert!(pool.idle.lock().unwrap().is_some());
        assert_eq!(Arc::strong_count(&body), 1);
    });
}

/// What the page warns of.
#[test]
fn a_connection_that_is_set_up_in_the_context_of_a_request_keeps_its_values() {
    EventLoop::with_virtual_clock().run_until_complete(async {
        let body = Arc::new(());
        let pool = Pool {
            after_connect: |connection| {
                let connect = async {
                    connection.driver = Some(shim::spawn(driver()).abort_handle());
                    connection.say("set tenant", TENANT.get()).await;
                };
                connect.boxed()
            },
            before_acquire: |_| async {}.boxed(),
            after_release: |_| async {}.boxed(),
            idle: Arc::default(),
        };
        let first = async {
            BODY.set(Arc::clone(&body));
            request(&pool).await
        };
        assert_eq!(TENANT.scope("acme", first).await, ["set tenant acme"]);
        // Whoever acquires it next is taken for that tenant.
        assert!(TENANT.scope("other", request(&pool)).await.is_empty());
        assert_eq!(Arc::strong_count(&body), 2);
        drop(pool);
        shim::sleep(Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&body), 1);
    });
}

#[test]
fn what_the_callbacks_see() {
    fn says(what: &'static str) -> impl Fn(&mut Connection) -> BoxFuture<'_, ()> {
        move |connection| async move { connection.say(what, TENANT.get()).await }.boxed()
    }
    EventLoop::with_virtual_clock().run_until_complete(async {
        let pool = Pool {
            after_connect: |connection| says("connects for")(connection),
            before_acquire: |connection| says("acquires for")(connection),
            after_release: |connection| says("releases for")(connection),
            idle: Arc::default(),
        };
        let said = TENANT.scope("acme", request(&pool)).await;
        assert_eq!(said, ["connects for acme", "acquires for acme"]);
        // A connection may be handed on, and released where nobody is.
        let acquired = TENANT.scope("other", pool.acquire()).await;
        drop(acquired);
        shim::sleep(Duration::from_secs(1)).await;
        let said = TENANT.scope("third", request(&pool)).await;
        let expected = [
            "releases for acme",
            "acquires for other",
            "releases for nobody",
            "acquires for third",
        ];
        assert_eq!(said, expected);
    });
}
