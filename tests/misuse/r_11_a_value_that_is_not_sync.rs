//! a context and its copies share the value.

use std::cell::Cell;

use aiocontextvars::ContextVar;

fn main() {
    let var: ContextVar<Cell<u8>> = ContextVar::new("level");
    var.set(Cell::new(1));
}
