//! Tasks of a thread's own executor that can only run steps, woken from other threads.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use aiocontextvars::shim::{self, ContextAwareExecutor, LocalExecutor, LocalRunnable};
use aiocontextvars_models::check;
use futures::future;
use loom::thread;

#[derive(Default)]
struct Steps(RefCell<VecDeque<LocalRunnable>>);

impl Steps {
    /// Whether there was one.
    fn run_one(&self) -> bool {
        let step = self.0.borrow_mut().pop_front();
        let any = step.is_some();
        step.into_iter().for_each(LocalRunnable::run);
        any
    }
}

impl LocalExecutor for Steps {
    fn schedule_local(&self, task: LocalRunnable) {
        self.0.borrow_mut().push_back(task);
    }
}

/// A task that another thread aborts reaches its executor, which is parked, or about to be.
///
/// Fails if the step is put into the inbox after the unpark.
#[test]
fn a_remote_wake_unparks() {
    check(|| {
        let steps = Rc::new(Steps::default());
        let executor = ContextAwareExecutor::new(Rc::clone(&steps));
        let task = executor.spawn_local(future::pending::<()>());
        let abort = task.abort_handle();
        let other = thread::spawn(move || abort.abort());
        while !task.is_finished() {
            if !steps.run_one() {
                thread::park();
                shim::deliver_remote_wakes();
            }
        }
        other.join().unwrap();
    });
}
