//! CV-04: where there is a default, a read cannot fail, so there is no `try_get`.

use aiocontextvars::context_var;

context_var! { static LEVEL: u8 = 1; }

fn main() {
    let _level = LEVEL.try_get();
}
