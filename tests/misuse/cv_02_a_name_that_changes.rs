//! CV-02: the name cannot be changed.

use aiocontextvars::ContextVar;

fn main() {
    let mut level: ContextVar<u8> = ContextVar::new("level");
    level.name = "other";
}
