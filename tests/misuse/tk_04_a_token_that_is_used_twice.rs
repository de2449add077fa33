//! TK-04: a token works once.

use aiocontextvars::context_var;

context_var! { static LEVEL: u8; }

fn main() {
    let token = LEVEL.set(1);
    let _ = LEVEL.reset(token);
    let _ = LEVEL.reset(token);
}
