//! RN-01: `run` needs something to run.

use aiocontextvars::Context;

fn main() {
    Context::new().run();
}
