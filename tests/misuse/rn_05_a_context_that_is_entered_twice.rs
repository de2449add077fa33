//! RN-05: a context cannot be entered while it is; `SharedContext` is the one that checks as it runs.

use aiocontextvars::Context;

fn main() {
    let mut context = Context::new();
    context.run(|| context.run(|| ()));
}
