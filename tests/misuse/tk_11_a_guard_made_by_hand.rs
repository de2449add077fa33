//! TK-11: guards come from `scoped` only.

use aiocontextvars::{Scoped, context_var};

context_var! { static LEVEL: u8; }

fn main() {
    let _guard = Scoped { var: &LEVEL, layer: None };
}
