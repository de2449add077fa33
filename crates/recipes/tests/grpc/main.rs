//! tonic: servers and clients with `HttpContextLayer` and `InjectLayer`, over sockets.

mod calls;
mod deadline;
mod service;

use std::sync::LazyLock;
use std::time::Instant;

use aiocontextvars::context_var;
use aiocontextvars::propagation::Propagator;

context_var! {
    static TENANT: String;
    static REQUEST_ID: u64;
    /// When the caller of whoever works does not wait any more.
    static DEADLINE: Instant;
}

static INSIDE: LazyLock<Propagator> = LazyLock::new(|| {
    Propagator::new()
        .both("tenant", &TENANT)
        .max_len(32)
        .both("request-id", &REQUEST_ID)
});
