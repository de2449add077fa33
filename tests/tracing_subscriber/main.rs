//! `bridge::tracing_subscriber`: variables in each line.

mod injection;
mod json;
mod lines;
mod spans;
mod text;

use std::sync::LazyLock;

use aiocontextvars::{Fields, context_var};

context_var! {
    static ID: u64;
    static TENANT: String;
    static RATIO: f64;
    static PEER: Peer;
}

static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::new()
        .with("id", &ID)
        .with("tenant", &TENANT)
        .with("ratio", &RATIO)
        .display("peer", &PEER)
});

/// Shown by its `Display`.
#[derive(Clone)]
struct Peer(String);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
