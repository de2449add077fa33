//! TK-11: guards come from `scoped` only.

use aiocontextvars::Scoped;

fn main() {
    let _guard: Scoped<'static, u8> = Scoped {};
}
