//! Empty: the recipes are the tests in `tests/`, a file for each crate that they are for,
//! and the pages of `docs/` whose examples need such crates.

/// The page for web services, whose example is one of axum.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/web-services.md")]
struct WebServices;
