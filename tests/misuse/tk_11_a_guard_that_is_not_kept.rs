//! TK-11: the value of a guard that nobody keeps is gone at once.
#![deny(unused_must_use)]

use aiocontextvars::context_var;

context_var! { static LEVEL: u8; }

fn main() {
    LEVEL.scoped(1);
}
