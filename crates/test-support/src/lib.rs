//! Features of other crates that only the tests of `aiocontextvars` need, by the features of that
//! crate. As features of its development dependencies they would be built for each of its examples.

/// For tests of services.
#[cfg(feature = "tokio")]
pub use axum;

/// For tests of HTTP, with what axum has of it.
#[cfg(feature = "tower")]
pub use {hyper_util, tower};
