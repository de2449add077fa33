//! TK-01: tokens come from `set` only.

use aiocontextvars::{Token, context_var};

context_var! { static LEVEL: u8; }

fn main() {
    let _token: Token<u8> = Token::new(&LEVEL, 1, Default::default());
}
