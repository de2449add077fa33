//! CV-01: a variable has a name.

use aiocontextvars::ContextVar;

static LEVEL: ContextVar<u8> = ContextVar::new();

fn main() {}
