//! TK-05: a token of a variable of another type.

use aiocontextvars::context_var;

context_var! { static LEVEL: u8; static TENANT: String; }

fn main() {
    let token = LEVEL.set(1);
    let _ = TENANT.reset(token);
}
