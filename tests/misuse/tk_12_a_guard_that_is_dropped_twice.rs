//! TK-12: a guard ends once.

use aiocontextvars::context_var;

context_var! { static LEVEL: u8; }

fn main() {
    let guard = LEVEL.scoped(1);
    drop(guard);
    drop(guard);
}
