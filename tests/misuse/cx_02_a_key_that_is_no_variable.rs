//! CX-02: the keys of a context are variables.

use aiocontextvars::Context;

fn main() {
    Context::new().get("LEVEL");
}
