//! What is borrowed from a context stays as it is, so nothing runs in the context meanwhile.

use aiocontextvars::{Context, context_var};

context_var! { static LEVEL: u8; }

fn main() {
    let mut context = Context::new().with_value(&LEVEL, 1);
    let level = context.get(&LEVEL);
    context.run(|| LEVEL.unset());
    assert_eq!(level, Some(&1));
}
