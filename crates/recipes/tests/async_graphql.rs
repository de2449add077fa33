//! async-graphql's `DataLoader`, which loads the keys of several requests in one batch.

mod common;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use aiocontextvars::{Context, context_var, shim};
use async_graphql::dataloader::{DataLoader, Loader};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use common::TENANT;

context_var! {
    static HELD: Arc<()>;
}

/// The tenant is part of the key, so that one key is one row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    tenant: String,
    id: u32,
}

impl Key {
    fn of_request(id: u32) -> Key {
        let tenant = TENANT.get();
        Key { tenant, id }
    }
}

/// Says which tenant each batch runs as, and how many keys it has.
struct Rows(UnboundedSender<(String, usize)>);

impl Loader<Key> for Rows {
    type Value = String;
    type Error = Infallible;

    async fn load(&self, keys: &[Key]) -> Result<HashMap<Key, String>, Infallible> {
        self.0.send((TENANT.get(), keys.len())).unwrap();
        let row = |key: &Key| (key.clone(), format!("{} of {}", key.id, key.tenant));
        Ok(keys.iter().map(row).collect())
    }
}

async fn load(loader: &DataLoader<Rows>) -> String {
    let row = loader.load_one(Key::of_request(7)).await;
    row.unwrap().unwrap()
}

async fn load_for_two(loader: &DataLoader<Rows>) -> (String, String) {
    tokio::join!(
        TENANT.scope("acme".to_owned(), load(loader)),
        TENANT.scope("umbrella".to_owned(), load(loader)),
    )
}

#[tokio::test(start_paused = true)]
async fn a_batch_runs_for_nobody() {
    let (sender, mut batches) = unbounded_channel();
    let loader = DataLoader::new(Rows(sender), |batch| shim::spawn_in(Context::new(), batch));
    let (acme, umbrella) = load_for_two(&loader).await;
    assert_eq!((&*acme, &*umbrella), ("7 of acme", "7 of umbrella"));
    assert_eq!(batches.recv().await.unwrap(), ("nobody".to_owned(), 2));

    // Nor does one keep the values of the request that has it spawned.
    let held = Arc::new(());
    let loaded = HELD.scope(Arc::clone(&held), load(&loader)).await;
    assert_eq!(loaded, "7 of nobody");
    assert_eq!(batches.recv().await.unwrap(), ("nobody".to_owned(), 1));
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_inherits_runs_as_its_first_request() {
    let (sender, mut batches) = unbounded_channel();
    let loader = DataLoader::new(Rows(sender), shim::spawn);
    load_for_two(&loader).await;
    // Why it is not to inherit.
    assert_eq!(batches.recv().await.unwrap(), ("acme".to_owned(), 2));
}
