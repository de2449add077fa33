//! `tokio::task`, with tokio's own handles and errors, in which every task and job inherits the
//! current context.
//!
//! To move a program over, change its `use` lines: this module has what the stable `tokio::task`
//! has. Each task and blocking job starts in a copy of the context that is current where it is
//! spawned, taken at the call. Everything else is tokio's.
//!
//! A `JoinHandle` of this module is tokio's, and what else there is to the [shim](crate::shim),
//! such as done-callbacks, has the shim's own handles: see [`shim::spawn`](crate::shim::spawn).
//! `tokio::spawn` is [`spawn`] here. [`JoinSet`] and [`LocalSet`] are types of their own around
//! tokio's. [`LocalKey`] is what [`task_local!`](crate::task_local) declares. `Builder`, which
//! tokio has in unstable builds only, is not here.
//!
//! # Examples
//!
//! ```
//! use aiocontextvars::shim::tokio::task;
//! use aiocontextvars::task_local;
//!
//! task_local! { static REQUEST_ID: u64; }
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! REQUEST_ID.scope(7, async {
//!     let handle: tokio::task::JoinHandle<u64> = task::spawn(async { REQUEST_ID.get() });
//!     assert_eq!(handle.await.unwrap(), 7);
//!     assert_eq!(task::spawn_blocking(|| REQUEST_ID.get()).await.unwrap(), 7);
//! }).await;
//! # });
//! ```

mod join_set;
mod local_set;

use std::future::Future;

use ::tokio::task as native;

#[cfg(not(target_family = "wasm"))]
pub use ::tokio::task::block_in_place;
pub use ::tokio::task::coop;
#[doc(hidden)]
pub use ::tokio::task::coop::{Unconstrained, consume_budget, unconstrained};
pub use ::tokio::task::{AbortHandle, Id, JoinError, JoinHandle, LocalEnterGuard};
pub use ::tokio::task::{id, try_id, yield_now};

pub use self::join_set::JoinSet;
pub use self::local_set::LocalSet;
pub use crate::LocalKey;
use crate::shim::adapters::tokio::Runtime;
use crate::shim::facade;

/// The futures of task-locals.
pub mod futures {
    pub use crate::TaskLocalFuture;
}

/// `tokio::task::spawn` (and `tokio::spawn`), in a copy of the current context, taken now.
///
/// # Panics
///
/// Outside of a tokio runtime, as tokio's.
///
/// # Examples
///
/// See the [module](self).
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    native::spawn(facade::task::<Runtime, _>(future))
}

/// `tokio::task::spawn_local`, in a copy of the current context, taken now: on the `LocalSet`, be
/// it tokio's or [this module's](LocalSet), or the local runtime that this thread is in. So it
/// works in actix's workers too.
///
/// # Panics
///
/// Outside of these, as tokio's.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim::tokio::task::{self, LocalSet};
/// use aiocontextvars::task_local;
///
/// task_local! { static REQUEST_ID: u64; }
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// let local = LocalSet::new();
/// let seen = local.block_on(&runtime, REQUEST_ID.scope(7, async {
///     task::spawn_local(async { REQUEST_ID.get() }).await
/// }));
/// assert_eq!(seen.unwrap(), 7);
/// ```
#[track_caller]
pub fn spawn_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    native::spawn_local(facade::local_task::<Runtime, _>(future))
}

/// `tokio::task::spawn_blocking`, in a copy of the current context, taken now. The thread keeps
/// nothing of it.
///
/// # Panics
///
/// Outside of a tokio runtime, as tokio's.
///
/// # Examples
///
/// See the [module](self).
#[track_caller]
pub fn spawn_blocking<F, R>(f: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    native::spawn_blocking(facade::job(f))
}
