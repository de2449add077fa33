//! HTTP over loopback sockets, in both versions: requests and the bodies of their responses in
//! contexts of their own, and values on their way between services.

mod bodies;
mod buffer;
mod connections;
mod plain;
mod propagation;
mod service;
mod upgrades;
mod uploads;

use aiocontextvars::context_var;

context_var! {
    static ID: u64;
    static TENANT: String;
    /// How often a body was polled.
    static CHUNKS: u64 = 0;
}
