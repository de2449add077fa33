//! TK-01: a clone of a token would work a second time.

use aiocontextvars::context_var;

context_var! { static LEVEL: u8; }

fn main() {
    let token = LEVEL.set(1);
    let _second = token.clone();
}
