//! TA-09: the contexts are those of this crate.

use aiocontextvars::TaskContext;

struct Mine;

impl TaskContext for Mine {}

fn main() {}
