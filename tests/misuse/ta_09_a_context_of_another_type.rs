//! TA-09: a task starts in a context, and in nothing else.

use aiocontextvars::shim;

fn main() {
    shim::spawn_in((), async {}).detach();
}
