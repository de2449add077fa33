//! Caches, from `docs/policies.md`: whose context computes, refreshes and hears of evictions.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread;

use aiocontextvars::event_loop::EventLoop;
use aiocontextvars::{Context, context_var, inherit_context, shim};

context_var! {
    static TENANT: &'static str = "nobody";
    static BODY: Arc<()>;
}

type Entry = (u32, String);

type Listener = Arc<dyn Fn(&Entry) + Send + Sync>;

/// Keeps the latest two entries, and tells listeners which ones it evicts: where somebody inserts,
/// or on a thread of its own.
#[derive(Default)]
struct Cache {
    entries: Mutex<VecDeque<Entry>>,
    listeners: Mutex<Vec<Listener>>,
}

impl Cache {
    fn on_eviction(&self, listener: impl Fn(&Entry) + Send + Sync + 'static) {
        self.listeners.lock().unwrap().push(Arc::new(listener));
    }

    fn insert(&self, key: u32, value: String) {
        let mut entries = self.entries.lock().unwrap();
        entries.retain(|entry| entry.0 != key);
        entries.push_back((key, value));
        let evicted = if entries.len() > 2 {
            entries.pop_front()
        } else {
            None
        };
        drop(entries);
        self.tell(evicted);
    }

    fn evict_one(&self) {
        let evicted = self.entries.lock().unwrap().pop_front();
        self.tell(evicted);
    }

    fn tell(&self, evicted: Option<Entry>) {
        let listeners = self.listeners.lock().unwrap().clone();
        if let Some(entry) = evicted {
            listeners.iter().for_each(|listener| listener(&entry));
        }
    }

    fn get_with(&self, key: u32, compute: impl FnOnce() -> String) -> String {
        let entries = self.entries.lock().unwrap();
        let found = entries.iter().find(|entry| entry.0 == key).cloned();
        drop(entries);
        found.map(|entry| entry.1).unwrap_or_else(|| {
            let value = compute();
            self.insert(key, value.clone());
            value
        })
    }
}

type Log = Arc<Mutex<Vec<String>>>;

fn take(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

/// Writes to a log who hears of what.
fn writes(log: &Log) -> impl Fn(&Entry) + Send + Sync + use<> {
    let log = Arc::clone(log);
    move |entry| {
        let line = format!("{} hears of {}", TENANT.get(), entry.0);
        log.lock().unwrap().push(line);
    }
}

fn price() -> String {
    format!("computed for {}", TENANT.get())
}

/// For a cache that all requests share.
fn counts_evictions(cache: &Cache, count: impl Fn(&Entry) + Send + Sync + 'static) {
    let nobody = Context::new();
    cache.on_eviction(move |entry| nobody.call(|| count(entry)));
}

/// For as long as the request wants to know.
fn tells_the_request(cache: &Cache, tell: impl Fn(&Entry) + Send + Sync + 'static) {
    let request = inherit_context();
    cache.on_eviction(move |entry| request.call(|| tell(entry)));
}

fn cached_price(cache: &Cache, key: u32) -> String {
    cache.get_with(key, || Context::new().run(price))
}

/// Started by the first request that finds an entry to be old.
fn refreshes(cache: Arc<Cache>, key: u32) {
    let refresh = async move { cache.insert(key, price()) };
    shim::spawn_in(Context::new(), refresh).detach();
}

fn full_cache() -> Cache {
    let cache = Cache::default();
    for key in [1, 2] {
        cache.insert(key, "old".to_owned());
    }
    cache
}

/// Evicts one entry in a request of another tenant's, and one on a thread.
fn evict(cache: &Cache) {
    TENANT.sync_scope("other", || cache.insert(3, "new".to_owned()));
    thread::scope(|scope| scope.spawn(|| cache.evict_one()).join()).unwrap();
}

#[test]
fn a_listener_of_nobodys_is_called_in_an_empty_context() {
    let (cache, log) = (full_cache(), Log::default());
    TENANT.sync_scope("acme", || counts_evictions(&cache, writes(&log)));
    evict(&cache);
    assert_eq!(take(&log), ["nobody hears of 1", "nobody hears of 2"]);
}

#[test]
fn a_listener_of_a_requests_is_called_in_its_context() {
    let (cache, log) = (full_cache(), Log::default());
    TENANT.sync_scope("acme", || tells_the_request(&cache, writes(&log)));
    evict(&cache);
    assert_eq!(take(&log), ["acme hears of 1", "acme hears of 2"]);
}

#[test]
fn a_listener_that_is_not_wrapped_is_called_in_anybodys_context() {
    let (cache, log) = (full_cache(), Log::default());
    TENANT.sync_scope("acme", || cache.on_eviction(writes(&log)));
    evict(&cache);
    assert_eq!(take(&log), ["other hears of 1", "nobody hears of 2"]);
}

#[test]
fn a_listener_of_a_requests_keeps_its_values_until_it_is_removed() {
    let (cache, body) = (full_cache(), Arc::new(()));
    BODY.sync_scope(Arc::clone(&body), || {
        counts_evictions(&cache, |_| ());
        assert_eq!(Arc::strong_count(&body), 2);
        tells_the_request(&cache, |_| ());
    });
    assert_eq!(Arc::strong_count(&body), 2);
    cache.listeners.lock().unwrap().clear();
    assert_eq!(Arc::strong_count(&body), 1);
}

#[test]
fn a_value_for_all_is_computed_in_an_empty_context() {
    let cache = Cache::default();
    let price = TENANT.sync_scope("acme", || cached_price(&cache, 1));
    assert_eq!(price, "computed for nobody");
    // Otherwise the first one decides what the others get.
    let prices = ["acme", "other"]
        .map(|tenant| TENANT.sync_scope(tenant, || cache.get_with(2, self::price)));
    assert_eq!(prices, ["computed for acme"; 2]);
}

#[test]
fn a_refresh_in_the_background_is_nobodys() {
    let (cache, body) = (Arc::new(full_cache()), Arc::new(()));
    EventLoop::with_virtual_clock().run_until_complete(async {
        let request = async {
            BODY.set(Arc::clone(&body));
            refreshes(Arc::clone(&cache), 1);
        };
        TENANT.scope("acme", request).await;
        // Not even before it has run.
        assert_eq!(Arc::strong_count(&body), 1);
        shim::sleep(std::time::Duration::from_secs(1)).await;
    });
    let price = cache.get_with(1, || unreachable!());
    assert_eq!(price, "computed for nobody");
}
