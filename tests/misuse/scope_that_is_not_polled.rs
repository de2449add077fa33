//! A scope does nothing until it is polled.
#![deny(unused_must_use)]

use aiocontextvars::context_var;

context_var! { static LEVEL: u8; }

fn main() {
    LEVEL.scope(1, async {});
}
