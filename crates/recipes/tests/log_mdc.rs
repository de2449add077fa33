//! The MDC of log-mdc, which log4rs writes: a map in a thread-local.

#[path = "common/requests.rs"]
mod common;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aiocontextvars::companion::{self, Companion};

struct Mdc;

type Entries = HashMap<String, String>;

fn entries() -> Entries {
    let mut entries = Entries::new();
    log_mdc::iter(|key, value| drop(entries.insert(key.to_owned(), value.to_owned())));
    entries
}

struct Restore(Entries);

impl Drop for Restore {
    fn drop(&mut self) {
        log_mdc::clear();
        log_mdc::extend(self.0.drain());
    }
}

impl Companion for Mdc {
    type Value = Entries;
    fn capture(&self) -> Option<Entries> {
        Some(entries()).filter(|entries| !entries.is_empty())
    }
    fn is_current(&self, mdc: &Entries) -> bool {
        entries() == *mdc
    }
    fn enter<R>(&self, mdc: &Entries, f: impl FnOnce() -> R) -> R {
        let _restore = Restore(entries());
        log_mdc::clear();
        log_mdc::extend(mdc.clone());
        f()
    }
    fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
        self.enter(&Entries::new(), f)
    }
}

#[test]
fn the_mdc_follows_the_work() {
    companion::register(Mdc).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let request = |number: u64, work: &mut dyn FnMut()| {
        let _guard = log_mdc::insert_scoped("request", number.to_string());
        work();
    };
    let log = Arc::clone(&seen);
    common::serve(request, move |hop| {
        let number = log_mdc::get("request", |number| number.unwrap().parse().unwrap());
        // What one hop adds is its own.
        assert_eq!(log_mdc::insert(hop, ""), None);
        log.lock().unwrap().push((hop.to_owned(), number));
    });
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.sort();
    assert_eq!((seen, entries()), (common::expected(), Entries::new()));
}
