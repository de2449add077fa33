//! TA-01: a task may move between threads; what may not is for `spawn_local`.

use std::rc::Rc;

use aiocontextvars::shim;

fn main() {
    let level = Rc::new(1);
    let task = async move {
        shim::yield_now().await;
        assert_eq!(*level, 1);
    };
    shim::spawn(task).detach();
}
