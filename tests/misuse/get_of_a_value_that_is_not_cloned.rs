//! `get` clones the value; one that cannot be cloned is read by `with`.

use aiocontextvars::context_var;

struct Connection;

context_var! { static CONNECTION: Connection; }

fn main() {
    CONNECTION.get();
}
