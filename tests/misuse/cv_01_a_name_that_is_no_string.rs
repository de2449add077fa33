//! CV-01: the name is a string.

use aiocontextvars::ContextVar;

static LEVEL: ContextVar<u8> = ContextVar::new(1);

fn main() {}
