//! contexts move between threads.

use std::rc::Rc;

use aiocontextvars::ContextVar;

fn main() {
    let var: ContextVar<Rc<u8>> = ContextVar::new("level");
    var.set(Rc::new(1));
}
