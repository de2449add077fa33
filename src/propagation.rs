//! Declared variables over the wire, as [W3C Baggage](https://www.w3.org/TR/baggage/).
//!
//! A [`Propagator`] lists which variables travel, by which key and in which direction.
//! [`Propagator::inject`] writes their values into the headers of a message that goes out,
//! [`Propagator::extract`] reads those of a message that came in. What is not listed neither leaves
//! the process nor enters it.
//!
//! A received value is an assertion by its sender. Receive only from peers that may say so, and at
//! the edge of a system, where anybody may call, only [`send`](Propagator::send).
//!
//! The format is the one that OpenTelemetry's baggage propagators use, so that services in other
//! languages understand it. Every member is percent-encoded UTF-8, at most [`MAX_MEMBERS`] members
//! and [`MAX_BYTES`] bytes are sent and received over all [`BAGGAGE`] headers together, and each
//! member is taken whole or left out.
//!
//! # Examples
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::LazyLock;
//! use aiocontextvars::propagation::Propagator;
//! use aiocontextvars::{Context, context_var, copy_context};
//!
//! context_var! {
//!     static TENANT: String;
//!     static REQUEST_ID: u64;
//! }
//!
//! static PROPAGATOR: LazyLock<Propagator> =
//!     LazyLock::new(|| Propagator::new().both("tenant", &TENANT).both("request-id", &REQUEST_ID));
//!
//! TENANT.set("Käse & Co".to_owned());
//! REQUEST_ID.set(7);
//! let mut headers = HashMap::new();
//! let problems = PROPAGATOR.inject(&copy_context(), &mut headers);
//! assert!(problems.is_empty());
//! assert_eq!(headers["baggage"], "tenant=K%C3%A4se%20&%20Co,request-id=7");
//!
//! // In the other process.
//! let received = PROPAGATOR.extract(Context::new(), &headers);
//! assert_eq!(received.context.get(&TENANT).unwrap(), "Käse & Co");
//! assert_eq!(received.context.get(&REQUEST_ID), Some(&7));
//! ```

mod carrier;
mod codec;
mod member;
mod message;
mod percent;
mod problem;
mod propagator;

pub use self::carrier::{Extractor, Injector};
pub use self::message::Extracted;
pub use self::problem::{Problem, ProblemKind};
pub use self::propagator::Propagator;

/// The name of the header.
pub const BAGGAGE: &str = "baggage";

/// How many members are sent, and how many are received, over all headers of a message together.
/// W3C Baggage asks for as many at least.
pub const MAX_MEMBERS: usize = 64;

/// How many bytes the members of a message may have together, commas included. W3C Baggage asks for
/// as many at least.
pub const MAX_BYTES: usize = 8192;
