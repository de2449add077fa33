//! `tracing-subscriber`: variables in each line of its formats.
//!
//! A layer cannot add fields to an event. So [`Text`] and [`Json`] go around the format that writes
//! the line, and [`SpanFields`] writes them where the format keeps the fields of a span.
//!
//! ```
//! use std::sync::LazyLock;
//! use aiocontextvars::bridge::tracing_subscriber::Text;
//! use aiocontextvars::{Fields, context_var};
//! use tracing::info;
//! use tracing_subscriber::fmt;
//!
//! context_var! {
//!     static REQUEST_ID: u64;
//!     static TENANT: String;
//! }
//!
//! static FIELDS: LazyLock<Fields> =
//!     LazyLock::new(|| Fields::new().with("request_id", &REQUEST_ID).with("tenant", &TENANT));
//!
//! // In `main`.
//! fmt().event_format(Text::new(fmt::format(), &FIELDS)).init();
//! REQUEST_ID.set(7);
//! TENANT.set("acme".to_owned());
//! // request_id=7 tenant="acme" 2026-11-29T12:00:00.000000Z  INFO my_crate: paid
//! info!("paid");
//! ```
//!
//! The values are those of the code that logs. Whatever they contain, they add no line, and nothing
//! that a terminal obeys.

mod json;
mod span;
mod text;

pub use self::json::Json;
pub use self::span::SpanFields;
pub use self::text::Text;
