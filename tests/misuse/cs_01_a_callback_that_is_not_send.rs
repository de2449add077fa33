//! CS-01: a callback may run on another thread; what may not is for `call_soon_local`.

use std::rc::Rc;

use aiocontextvars::shim;

fn main() {
    let level = Rc::new(1);
    shim::call_soon(move || drop(level));
}
