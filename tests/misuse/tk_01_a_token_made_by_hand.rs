//! TK-01: tokens come from `set` only.

use aiocontextvars::{Token, context_var};

context_var! { static LEVEL: u8; }

#[allow(unreachable_code)]
fn main() {
    let _token: Token<u8> = Token::new(unimplemented!());
}
