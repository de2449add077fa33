//! What a test may do with the public types.

use std::panic::{RefUnwindSafe, UnwindSafe};

use aiocontextvars_conformance::{Failure, Nested, Report};

fn goes_anywhere<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}

#[test]
fn reports_go_anywhere() {
    goes_anywhere::<Report>();
    goes_anywhere::<Failure>();
    goes_anywhere::<Nested>();
}
