//! CV-11: a clone of a variable would be another variable.

use aiocontextvars::ContextVar;

fn main() {
    let level: ContextVar<u8> = ContextVar::new("level");
    let _other: ContextVar<u8> = level.clone();
}
