//! Context variables for async Rust, inherited by every unit of work.
//!
//! Values that belong to a request (its id, tenant, locale, deadline, transaction) are lost at
//! every spawn, blocking job, timer and thread. With this crate they follow: every unit of work
//! starts in a copy of the context that scheduled it, on tokio, async-std, smol, the built-in
//! [`event_loop`], and any executor that can run a closure. The variables are Python's (PEP 567),
//! and the way they follow the work is asyncio's.
//!
//! It is not a tracing library, and it puts nothing on the wire but the variables that a
//! [`Propagator`](propagation::Propagator) lists.
//!
//! # Examples
//!
//! A variable is a static. Its value belongs to the current context:
//!
//! ```
//! use aiocontextvars::context_var;
//!
//! context_var! {
//!     /// Id of the request being served.
//!     pub static REQUEST_ID: u64;
//!     pub static TENANT: String = "public".to_owned();
//! }
//!
//! assert_eq!(REQUEST_ID.get(), None);
//! let token = REQUEST_ID.set(7);
//! assert_eq!(REQUEST_ID.get(), Some(7));
//! REQUEST_ID.reset(token).unwrap();
//! // With a default there is always a value.
//! assert_eq!(TENANT.get(), "public");
//! ```
//!
//! What the [`shim`] spawns starts in a copy of the current context:
//!
//! ```
//! # use aiocontextvars::{context_var, shim};
//! # context_var! { static REQUEST_ID: u64; }
//! shim::block_on(async {
//!     REQUEST_ID.set(7);
//!     let task = shim::spawn(async {
//!         // A grandchild inherits as well.
//!         shim::spawn_blocking(|| REQUEST_ID.get()).await.unwrap()
//!     });
//!     REQUEST_ID.set(8);
//!     assert_eq!(task.await.unwrap(), Some(7));
//! });
//! ```
//!
//! Where something else spawns, [`ContextExt`] takes the context along:
//!
//! ```
//! # use aiocontextvars::{ContextExt, context_var, shim};
//! # context_var! { static REQUEST_ID: u64; }
//! REQUEST_ID.set(7);
//! let future = async { REQUEST_ID.get() }.in_current_context();
//! let thread = std::thread::spawn(|| futures::executor::block_on(future));
//! assert_eq!(thread.join().unwrap(), Some(7));
//! ```
//!
//! # Where to look
//!
//! - [`ContextVar`], [`Token`], [`Scoped`]: setting, restoring, and values for the life of a guard.
//! - [`Context`] and [`SharedContext`]: bindings as a value, and as an object that several share.
//! - [`task_local!`]: tokio's task-locals, inherited by what is spawned.
//! - [`Carried`] and [`channel`]: messages that bring the context they were sent from.
//! - [`companion`]: spans, log contexts and thread-locals of others that follow the work with the
//!   context.
//! - [`shim`]: spawning, callbacks, timers, threads,
//!   [`ContextAwareExecutor`](shim::ContextAwareExecutor), and the adapters of the runtimes.
//! - [`propagation`]: declared variables in the headers of messages, as W3C Baggage.
//! - [`event_loop`]: asyncio's loop in small, with a virtual clock for tests.
//! - [What shares a context and what isolates](shim#what-shares-a-context-and-what-isolates):
//!   `join!`, `select!`, streams, timeouts and the rest.
//! - In the repository, `docs/policies.md`: which context a unit of work gets, and what to do about
//!   background work that outlives a request; `docs/testing.md`: a fresh context for each test;
//!   `docs/propagation.md`: values between services; `docs/jobs.md`: and in workers, over queues
//!   and brokers; `docs/integrations.md`: what to write where others spawn or call your code; `docs/parity.md`: what other libraries' handles and sets have,
//!   and where it is here.
//!
//! # Features
//!
//! None is on by default, all combine, and none changes what another does, with one exception: if
//! exactly one of `tokio`, `async-std` and `smol` is on, [`shim::block_on`] runs on that runtime
//! where the [search](shim#which-executor) finds no executor, and `shim::spawn` goes to it if it is
//! smol or async-std.
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
//!
//! The crate `aiocontextvars-conformance` is the suite that executors are tested with, for authors
//! of others.
//!
//! # Guarantees
//!
//! A panic, an abort and a shutdown leave the thread's context as it was, and destructors run
//! inside their task's. User code may use the crate wherever it runs, and no `Drop` of the crate
//! panics of its own accord. The repository's `docs/guarantees.md` has them all, each with the
//! tests that back it.
//!
//! # Implementation
//!
//! A context is a pointer to a persistent map and an id. A thread-local without a destructor points
//! to the current one, so that entering and leaving a context are a few stores. Values are read
//! where they are, by way of a small cache for each thread, without a write to what threads share.
//! All `unsafe` code is in one file, `raw.rs`.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod access;
mod bind;
mod bindings;
pub mod bridge;
mod carried;
pub mod channel;
pub mod companion;
mod contain;
mod context;
mod current;
mod error;
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

/// The README's examples, which use all runtimes, `futures`' executors and the conformance suite.
#[cfg(all(
    doctest,
    feature = "tokio",
    feature = "async-std",
    feature = "smol",
    feature = "futures-executor"
))]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;

/// The examples about policies, which use `futures`' executors.
#[cfg(all(doctest, feature = "futures-executor"))]
#[doc = include_str!("../docs/policies.md")]
struct PolicyExamples;

/// The examples about propagation, which use tower's layers.
#[cfg(all(doctest, feature = "tower", feature = "http-body"))]
#[doc = include_str!("../docs/propagation.md")]
struct PropagationExamples;
/// The recipes for code that others call, one of which is for tokio's `LocalSet`.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../docs/integrations.md")]
struct IntegrationExamples;
