//! A pool that takes closures, on which the executors of the tests are built.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

pub(crate) type Closure = Box<dyn FnOnce() + Send>;

/// Threads that run closures, and end when the pool does.
#[derive(Clone)]
pub(crate) struct Pool(mpsc::Sender<Closure>);

impl Pool {
    /// Threads that `start` starts, each to run the function that it is given.
    pub(crate) fn started_by(threads: usize, start: impl Fn(Closure)) -> Pool {
        let (sender, receiver) = mpsc::channel::<Closure>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..threads {
            let receiver = Arc::clone(&receiver);
            start(Box::new(move || {
                loop {
                    let next = receiver
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .recv();
                    match next {
                        Ok(closure) => closure(),
                        Err(mpsc::RecvError) => return,
                    }
                }
            }));
        }
        Pool(sender)
    }

    pub(crate) fn new(threads: usize) -> Pool {
        Pool::started_by(threads, |run| drop(thread::spawn(run)))
    }

    pub(crate) fn post(&self, closure: Closure) {
        // Fails only when the threads have gone.
        let _ = self.0.send(closure);
    }
}
