//! Two threads at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// On a cache line of its own, or it would be what the threads contend for.
#[repr(align(128))]
struct Flag(AtomicBool);

/// Measures while `other` goes on, for as long as it is told, on another thread.
pub(crate) fn beside(
    other: impl FnOnce(&dyn Fn() -> bool) + Send,
    measure: impl FnOnce() -> f64,
) -> f64 {
    let started = &Flag(AtomicBool::new(false));
    let stop = &Flag(AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(move || {
            other(&|| {
                started.0.store(true, Ordering::Relaxed);
                !stop.0.load(Ordering::Relaxed)
            });
        });
        while !started.0.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        let total = measure();
        stop.0.store(true, Ordering::Relaxed);
        total
    })
}
