//! CX-01: a context is changed by what runs in it.

use aiocontextvars::{Context, context_var};

context_var! { static LEVEL: u8; }

fn main() {
    let mut context = Context::new();
    context.insert(&LEVEL, 1);
}
