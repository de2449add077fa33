//! Batches, from `docs/policies.md`: a loader that collects the keys of several requests.

use std::sync::{Arc, Mutex};

use aiocontextvars::event_loop::{EventLoop, LoopHandle};
use aiocontextvars::shim::{self, ContextAwareExecutor};
use aiocontextvars::{Carried, Context, context_var};
use futures::channel::oneshot;
use futures::future::{BoxFuture, FutureExt, join, join_all};

context_var! {
    static TENANT: &'static str = "nobody";
}

type Load<K> = fn(Vec<K>) -> BoxFuture<'static, Vec<String>>;

/// Keys of requests that wait for their rows.
type Waiting<K> = Mutex<Vec<(K, oneshot::Sender<String>)>>;

/// Loads rows in batches, as the data loaders of GraphQL servers do. The first key of a batch
/// spawns the task that loads it.
struct Loader<K> {
    load: Load<K>,
    spawn: Box<dyn Fn(BoxFuture<'static, ()>)>,
    waiting: Arc<Waiting<K>>,
}

impl<K: Send + 'static> Loader<K> {
    fn new<R>(load: Load<K>, spawn: impl Fn(BoxFuture<'static, ()>) -> R + 'static) -> Loader<K> {
        Loader {
            load,
            spawn: Box::new(move |batch| drop(spawn(batch))),
            waiting: Arc::default(),
        }
    }

    async fn load(&self, key: K) -> String {
        let (sender, receiver) = oneshot::channel();
        if self.add(key, sender) == 1 {
            (self.spawn)(batch(self.load, Arc::clone(&self.waiting)).boxed());
        }
        receiver.await.unwrap()
    }

    /// Returns how many there are.
    fn add(&self, key: K, sender: oneshot::Sender<String>) -> usize {
        let mut waiting = self.waiting.lock().unwrap();
        waiting.push((key, sender));
        waiting.len()
    }
}

async fn batch<K>(load: Load<K>, waiting: Arc<Waiting<K>>) {
    // The others add their keys in the meantime.
    shim::yield_now().await;
    let batch = std::mem::take(&mut *waiting.lock().unwrap());
    let (keys, senders): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    for (row, sender) in load(keys).await.into_iter().zip(senders) {
        sender.send(row).unwrap();
    }
}

/// The query of a batch.
fn rows(keys: Vec<u64>) -> BoxFuture<'static, Vec<String>> {
    async move {
        let row = |key| format!("{key} for {}", TENANT.get());
        keys.into_iter().map(row).collect()
    }
    .boxed()
}

/// Two requests, of two tenants.
async fn requests(loader: &Loader<u64>) -> (String, String) {
    let acme = TENANT.scope("acme", loader.load(1));
    let other = TENANT.scope("other", loader.load(2));
    join(acme, other).await
}

fn loader_for_all(handle: LoopHandle) -> Loader<u64> {
    let background = ContextAwareExecutor::fixed(handle, Context::new());
    Loader::new(rows, move |batch| background.spawn(batch))
}

#[test]
fn a_batch_runs_as_none_of_its_requests() {
    let event_loop = EventLoop::new();
    let loader = loader_for_all(event_loop.handle());
    let (acme, other) = event_loop.run_until_complete(requests(&loader));
    assert_eq!([acme, other], ["1 for nobody", "2 for nobody"]);
}

/// The query of a batch, each key in the context of its request.
fn rows_of_requests(keys: Vec<Carried<u64>>) -> BoxFuture<'static, Vec<String>> {
    async fn row(key: u64) -> String {
        format!("{key} for {}", TENANT.get())
    }
    join_all(keys.into_iter().map(|key| key.scope(row))).boxed()
}

#[test]
fn each_key_of_a_batch_may_have_the_context_of_its_request() {
    let event_loop = EventLoop::new();
    let background = ContextAwareExecutor::fixed(event_loop.handle(), Context::new());
    let loader = Loader::new(rows_of_requests, move |batch| background.spawn(batch));
    let request = async |key| loader.load(Carried::new(key)).await;
    let acme = TENANT.scope("acme", request(1));
    let other = TENANT.scope("other", request(2));
    let (acme, other) = event_loop.run_until_complete(join(acme, other));
    assert_eq!([acme, other], ["1 for acme", "2 for other"]);
}

#[test]
fn a_batch_that_inherits_runs_as_its_first_request() {
    let event_loop = EventLoop::new();
    let loader = Loader::new(rows, shim::spawn);
    let (acme, other) = event_loop.run_until_complete(requests(&loader));
    assert_eq!([acme, other], ["1 for acme", "2 for acme"]);
    // The same, where no executor is at hand.
    let loader = Loader::new(rows, |batch| shim::spawn_in(Context::new(), batch));
    let (acme, other) = event_loop.run_until_complete(requests(&loader));
    assert_eq!([acme, other], ["1 for nobody", "2 for nobody"]);
}
