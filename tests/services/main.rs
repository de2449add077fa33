//! Services as they are written with axum and hyper, over loopback sockets: no request sees what
//! another one has set.
//!
//! The servers spawn their connections with `tokio::spawn` or `spawn_local`. Writes in such a task
//! are refused; behind a `ContextLayer`, in a scope, or in a wrapped future they are the request's
//! own. All requests of a test are in flight at once: each handler waits at a barrier until all
//! handlers have set their values.

mod batches;
mod inside;
mod local;
mod outside;
mod server;
mod start_up;

use aiocontextvars::context_var;

context_var! {
    static REQUEST_ID: u64;
    static TENANT: String = "public".to_owned();
    static USER: String;
    static JOB: usize;
    /// Where the service runs, which is known from its start on.
    static REGION: String;
}

/// What code sees, in a line that [`Tally`](server::Tally) can read.
fn see(hop: &str) -> String {
    let id = REQUEST_ID.get().map(|id| id.to_string());
    format!("{hop}: {} {}", id.as_deref().unwrap_or("-"), TENANT.get())
}
