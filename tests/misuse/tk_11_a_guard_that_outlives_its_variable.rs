//! TK-11: a guard borrows its variable.

use aiocontextvars::ContextVar;

fn main() {
    let level: ContextVar<u8> = ContextVar::new("level");
    let guard = level.scoped(1);
    drop(level);
    drop(guard);
}
