//! CV-11: the variable's type is the value's.

use aiocontextvars::context_var;

context_var! { static LEVEL: u8; }

fn main() {
    LEVEL.set("high");
}
