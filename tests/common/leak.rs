//! Executors that live as long as the process.

use std::ptr;
use std::sync::Mutex;

/// For the rest of the process, and where a leak checker finds it.
pub(crate) fn leak<T>(value: T) -> &'static T {
    static LEAKED: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let leaked: &'static T = Box::leak(Box::new(value));
    LEAKED.lock().unwrap().push(ptr::from_ref(leaked).addr());
    leaked
}
