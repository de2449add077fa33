//! CV-04: a variable has a default or not, there is no third.

use aiocontextvars::DefaultKind;

struct Sometimes;

impl DefaultKind for Sometimes {}

fn main() {}
