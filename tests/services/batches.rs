//! A loader whose batches serve many requests at once, and run on behalf of none of them.

use std::mem;
use std::sync::{Arc, Mutex};

use aiocontextvars::shim::ContextAwareExecutor;
use aiocontextvars::shim::tower::ContextLayer;
use aiocontextvars::{Context, shim};
use test_support::axum::Router;
use test_support::axum::extract::State;
use test_support::axum::middleware::from_fn;
use test_support::axum::routing::get;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use super::inside::identify;
use super::server::{REQUESTS, Server, Tally, on_each_flavour};
use super::{REQUEST_ID, see};

/// Loads values by key, as a `DataLoader` does: the first key of a batch spawns the batch, on the
/// executor of the loader.
pub(crate) struct Loader {
    executor: ContextAwareExecutor<Handle>,
    waiting: Mutex<Vec<(u64, oneshot::Sender<u64>)>>,
    /// A permit for each key in `waiting`.
    asked: Semaphore,
    /// What each batch saw.
    seen: Mutex<Vec<String>>,
}

impl Loader {
    fn new(executor: ContextAwareExecutor<Handle>) -> Arc<Loader> {
        Arc::new(Loader {
            executor,
            waiting: Mutex::default(),
            asked: Semaphore::new(0),
            seen: Mutex::default(),
        })
    }

    /// A loader whose batches run in an empty context.
    pub(crate) fn fixed(handle: Handle) -> Arc<Loader> {
        Loader::new(ContextAwareExecutor::fixed(handle, Context::new()))
    }

    pub(crate) async fn load(self: Arc<Self>, key: u64) -> u64 {
        let (sender, value) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock().unwrap();
            waiting.push((key, sender));
            waiting.len() == 1
        };
        if is_first {
            let batch = Arc::clone(&self).run_batch();
            self.executor.spawn(batch).detach();
        }
        self.asked.add_permits(1);
        value.await.unwrap()
    }

    /// Waits for the keys of all requests, so that they are one batch.
    async fn run_batch(self: Arc<Self>) {
        let all = self.asked.acquire_many(REQUESTS as u32).await;
        all.unwrap().forget();
        let waiting = mem::take(&mut *self.waiting.lock().unwrap());
        // What the loader calls may spawn as well.
        let seen = shim::spawn(async { see("batch") }).await.unwrap();
        assert_eq!(seen, see("batch"));
        self.seen.lock().unwrap().push(seen);
        for (key, value) in waiting {
            value.send(10 * key).unwrap();
        }
    }

    pub(crate) fn batches(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn load(State(loader): State<Arc<Loader>>) -> String {
    loader.load(REQUEST_ID.get().unwrap()).await;
    see("handler")
}

/// Why the executor is fixed.
#[test]
fn a_batch_on_an_executor_that_is_not_fixed_runs_as_its_first_request() {
    on_each_flavour(|flavour| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let server = Server::start(flavour, move || {
            let loader = Loader::new(ContextAwareExecutor::new(Handle::current()));
            sender.send(Arc::clone(&loader)).unwrap();
            Router::new()
                .route("/", get(load))
                .with_state(loader)
                .layer(from_fn(identify))
                .layer(ContextLayer::new())
        });
        // The requests themselves are right.
        let tally = Tally::of(&server.ask_all("/"));
        assert_eq!((tally.served, tally.right), (REQUESTS, REQUESTS));
        let batches = receiver.recv().unwrap().batches();
        assert_eq!(batches.len(), 1);
        assert_ne!(batches[0], "batch: - public");
    });
}
