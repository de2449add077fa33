//! TK-01: tokens come from `set` only.

use aiocontextvars::Token;

fn main() {
    let _make = Token::<u8>::new;
}
