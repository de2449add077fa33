//! CV-05: `get` takes nothing; the fallback is `get_or`'s.

use aiocontextvars::context_var;

context_var! { static LEVEL: u8; }

fn main() {
    LEVEL.get(1);
}
