//! An executor of threads that needs no feature.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use aiocontextvars::shim::{ContextAwareExecutor, FromSchedule, Runnable};

/// With so many threads, which end with the executor.
pub(crate) fn threads(number: usize) -> ContextAwareExecutor<FromSchedule> {
    let (sender, receiver) = mpsc::channel::<Runnable>();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..number {
        let receiver = Arc::clone(&receiver);
        let next = move || receiver.lock().unwrap().recv().ok();
        thread::spawn(move || {
            while let Some(step) = next() {
                step.run();
            }
        });
    }
    ContextAwareExecutor::from_schedule(move |step| drop(sender.send(step)))
}
