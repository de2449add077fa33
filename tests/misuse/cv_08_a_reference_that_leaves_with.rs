//! CV-08: a value is borrowed for as long as the closure of `with` runs.

use aiocontextvars::context_var;

context_var! { static TENANT: String; }

fn main() {
    let _tenant: Option<&String> = TENANT.with(|tenant| tenant);
}
