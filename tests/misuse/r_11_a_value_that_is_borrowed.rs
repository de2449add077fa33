//! a context may outlive the function that bound a variable in it.

use aiocontextvars::ContextVar;

fn main() {
    let level = 1;
    let var: ContextVar<&'static u8> = ContextVar::new("level");
    var.set(&level);
}
