//! CV-04: whether there is a default is in a variable's type.

use aiocontextvars::ContextVar;

static LEVEL: ContextVar<u8> = ContextVar::with_default("LEVEL", || 1);

fn main() {}
