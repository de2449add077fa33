//! Context variables for async Rust: the values that belong to a request follow the work into every
//! task, callback, timer, blocking job and thread that it starts.
//!
//! Every unit of work starts in a copy of the context that scheduled it, and what it sets stays in
//! that copy: on tokio, async-std, smol, the built-in [`event_loop`], and any executor that can run
//! a closure. The variables are those of Python's PEP 567, and the rules are asyncio's.
//!
//! ```sh
//! cargo add aiocontextvars --features tokio
//! cargo add tokio --features full
//! ```
//!
//! # Examples
//!
//! A variable is a static. Its value belongs to the current context, and what the [`shim`] spawns
//! has it:
//!
#![cfg_attr(feature = "tokio", doc = "```")]
#![cfg_attr(not(feature = "tokio"), doc = "```ignore")]
//! use aiocontextvars::{context_var, shim};
//!
//! context_var! {
//!     /// Id of the request being served.
//!     pub static REQUEST_ID: u64;
//!     pub static TENANT: String = "public".to_owned();
//! }
//!
//! #[tokio::main]
//! async fn main() {
//!     REQUEST_ID.set(7);
//!     let task = shim::spawn(async {
//!         // A grandchild inherits as well.
//!         let job = shim::spawn_blocking(|| REQUEST_ID.get());
//!         (job.await.unwrap(), TENANT.get())
//!     });
//!     // Nothing that happens here from now on is seen by them.
//!     REQUEST_ID.set(8);
//!     assert_eq!(task.await.unwrap(), (Some(7), "public".to_owned()));
//! }
//! ```
//!
//! Where something else spawns, [`ContextExt`] takes the context along:
//!
#![cfg_attr(feature = "tokio", doc = "```")]
#![cfg_attr(not(feature = "tokio"), doc = "```ignore")]
//! use aiocontextvars::{ContextExt, context_var};
//!
//! context_var! { static REQUEST_ID: u64; }
//!
//! #[tokio::main]
//! async fn main() {
//!     REQUEST_ID.set(7);
//!     let task = tokio::spawn(async { REQUEST_ID.get() }.in_current_context());
//!     assert_eq!(task.await.unwrap(), Some(7));
//! }
//! ```
//!
//! The same program on any runtime: [`shim::block_on`] takes the one whose feature is on, or the
//! event loop.
//!
//! ```
//! use aiocontextvars::{context_var, shim};
//!
//! context_var! { static REQUEST_ID: u64; }
//!
//! shim::block_on(async {
//!     let token = REQUEST_ID.set(7);
//!     assert_eq!(shim::spawn(async { REQUEST_ID.get() }).await.unwrap(), Some(7));
//!     REQUEST_ID.reset(token).unwrap();
//!     assert_eq!(REQUEST_ID.get(), None);
//! });
//! ```
//!
//! # Where to look
//!
//! - [`ContextVar`], [`Token`], [`Scoped`]: setting, restoring, and values for the life of a guard.
//! - [`Context`] and [`SharedContext`]: bindings as a value, and as an object that several share.
//! - [`shim`]: spawning, callbacks, timers, threads,
//!   [`ContextAwareExecutor`](shim::ContextAwareExecutor), and the adapters of the runtimes.
//! - [`task_local!`]: tokio's task-locals, inherited by what is spawned.
//! - [`Carried`] and [`channel`]: messages that bring the context they were sent from.
//! - [`companion`]: spans, log contexts and thread-locals of others that follow the work with the
//!   context.
//! - [`Fields`]: variables that are part of every log record.
//! - [`propagation`]: declared variables in the headers of messages, as W3C Baggage.
//! - [`event_loop`]: asyncio's loop in small, with a virtual clock for tests.
//! - [What shares a context and what isolates](shim#what-shares-a-context-and-what-isolates):
//!   `join!`, `select!`, streams, timeouts and the rest.
//!
//! Pages, in the repository:
//!
//! - [Web services](https://github.com/aiocontextvars/aiocontextvars-rs/blob/main/docs/web-services.md), with a `clippy.toml` that finds forgotten spawns;
//!   [libraries](https://github.com/aiocontextvars/aiocontextvars-rs/blob/main/docs/libraries.md).
//! - Coming from [`tokio::task_local!`](https://github.com/aiocontextvars/aiocontextvars-rs/blob/main/docs/from-task-local.md), and from
//!   [Python](https://github.com/aiocontextvars/aiocontextvars-rs/blob/main/docs/from-python.md).
//! - [Integrations](https://github.com/aiocontextvars/aiocontextvars-rs/blob/main/docs/integrations.md): what to write where others spawn or call your code.
//! - [Policies](https://github.com/aiocontextvars/aiocontextvars-rs/blob/main/docs/policies.md): which context a unit of work gets; background work, pools, caches,
//!   batches.
//! - [Observability](https://github.com/aiocontextvars/aiocontextvars-rs/blob/main/docs/observability.md): spans and log contexts;
//!   [propagation](https://github.com/aiocontextvars/aiocontextvars-rs/blob/main/docs/propagation.md): values between services; [jobs](https://github.com/aiocontextvars/aiocontextvars-rs/blob/main/docs/jobs.md):
//!   values in workers, over queues and brokers.
//! - [Testing](https://github.com/aiocontextvars/aiocontextvars-rs/blob/main/docs/testing.md): a fresh context for each test.
//! - [Guarantees](https://github.com/aiocontextvars/aiocontextvars-rs/blob/main/docs/guarantees.md), each with its tests; [the catalogue of
//!   behaviours](https://github.com/aiocontextvars/aiocontextvars-rs/blob/main/docs/semantics.md); [parity](https://github.com/aiocontextvars/aiocontextvars-rs/blob/main/docs/parity.md) with other handles and sets;
//!   [speed](https://github.com/aiocontextvars/aiocontextvars-rs/blob/main/docs/speed.md).
//!
//! # Features
//!
//! None is on by default, all combine, and none changes what another does, with three exceptions
//! ([for libraries](https://github.com/aiocontextvars/aiocontextvars-rs/blob/main/docs/libraries.md) has them). The one that shows: if exactly one of `tokio`, `async-std`
//! and `smol` is on, [`shim::block_on`] runs on that runtime where the
//! [search](shim#which-executor) finds no executor, and `shim::spawn` goes to it if it is smol or
//! async-std.
//!
//! - `tokio`, `async-std`, `smol`: the adapter of that runtime, `shim::tokio` and so on.
//!   `shim::tokio::task` takes the place of `tokio::task`.
//! - `async-channel`: its channels in [`channel`]. (`futures`' are always there, and tokio's with
//!   `tokio`.)
//! - `futures-executor`: `ThreadPool` and `LocalSpawner` of `futures` as executors.
//! - `rayon`: `shim::rayon`, its jobs and parallel iterators, and `ThreadPool` as an executor.
//! - `ctrl-c`: `EventLoop::stop_on_ctrl_c`.
//! - `http`: baggage in the headers of `http::HeaderMap`.
//! - `http-body`: `http_body::Body` for [`WithContext`].
//! - `hyper`: `hyper::rt::Executor` for `ContextAwareExecutor`.
//! - `tower`: `shim::tower`, layers with which each request has a context of its own. For HTTP,
//!   together with `http-body`: `HttpContextLayer`, and with `http`: `InjectLayer`.
//! - `tracing`: `bridge::tracing`, by which the current span and subscriber follow the work.
//! - `tracing-subscriber`: `bridge::tracing_subscriber`, which writes [`Fields`] into each line of
//!   its formats, and `tracing`.
//! - `log`: `bridge::log`, which adds [`Fields`] to the records of `log`.
//!
//! The crate `aiocontextvars-conformance` is the suite that executors are tested with, for authors
//! of others.
//!
//! # Guarantees
//!
//! No unit of work sees another's value, and a task that the shim did not spawn has an empty context
//! that cannot be written, on runtimes that tell which task runs: smol and JavaScript do not. A
//! panic, an abort and a shutdown leave the thread's context as it was, and destructors run inside
//! their task's. User code may use the crate wherever it runs, and no `Drop` of the crate panics of
//! its own accord.
//!
//! # Implementation
//!
//! A context is a pointer to a persistent map and an id. A thread-local without a destructor points
//! to the current one, so that entering and leaving a context are a few stores. Values are read
//! where they are, by way of a small cache for each thread, without a write to what threads share.
//! All `unsafe` code is in one module, `raw`.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod access;
mod bind;
mod bindings;
pub mod bridge;
mod carried;
mod catch;
pub mod channel;
pub mod companion;
mod context;
mod current;
mod error;
mod fields;
mod id;
mod identity;
mod macros;
mod name;
mod node;
pub mod propagation;
mod raw;
mod reentrancy;
mod running_task;
#[path = "../shims/list.rs"]
mod runtimes;
mod scope;
mod scoped;
mod shared;
pub mod shim;
mod slot;
mod sync;
mod task_context;
mod task_local;
mod teardown;
mod token;
mod value;
mod var;
mod with_context;

pub use crate::access::{copy_context, inherit_context};
pub use crate::bind::in_own_context;
pub use crate::carried::Carried;
pub use crate::context::{Context, Entry, Iter};
pub use crate::error::{AlreadyEntered, ApplyError, LookupError, SetError, SetErrorKind};
pub use crate::fields::{Field, FieldValue, Fields};
#[doc(hidden)]
pub use crate::macros::__name_of;
pub use crate::scope::{Scope, ScopeContext};
pub use crate::scoped::Scoped;
pub use crate::shared::SharedContext;
#[doc(inline)]
pub use crate::shim::event_loop;
pub use crate::task_context::TaskContext;
pub use crate::task_local::{AccessError, LocalKey, TaskLocalFuture, TaskLocalValue};
pub use crate::token::{ResetError, ResetErrorKind, Token};
pub use crate::var::{ContextVar, DefaultKind, NoDefault, WithDefault};
pub use crate::with_context::{ContextExt, WithContext};

/// The README's examples.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;

/// The examples about policies, one of which is on a runtime of tokio.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../docs/policies.md")]
struct PolicyExamples;

/// The examples about propagation, which use tower's layers.
#[cfg(all(doctest, feature = "tower", feature = "http-body"))]
#[doc = include_str!("../docs/propagation.md")]
struct PropagationExamples;

/// A log whose lines know their request, on tokio.
#[cfg(all(doctest, feature = "tokio", feature = "tracing-subscriber"))]
#[doc = include_str!("../docs/observability.md")]
struct ObservabilityExamples;

/// The recipes for code that others call, one of which is for tokio's `LocalSet`.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../docs/integrations.md")]
struct IntegrationExamples;

/// The page for libraries, which tests on two runtimes.
#[cfg(all(doctest, feature = "tokio", feature = "smol"))]
#[doc = include_str!("../docs/libraries.md")]
struct LibraryExamples;

/// The page for programs that have tokio's task-locals.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../docs/from-task-local.md")]
struct FromTaskLocalExamples;

/// The page for those who know Python's context variables.
#[cfg(doctest)]
#[doc = include_str!("../docs/from-python.md")]
struct FromPythonExamples;
