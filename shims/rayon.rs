//! The adapter for rayon: its jobs, its scopes, its parallel iterators, and `ThreadPool` as an
//! executor.
//!
//! A job of rayon's has no context of its own: it reads nothing, and it cannot set a variable. The
//! functions here start each closure in a copy of the caller's context, taken at the call and
//! without variables declared `local`. What it sets stays in the copy; the closure and what it
//! holds are dropped there. ([`apart`] and [`Pool::install`] hand the copy to their closure
//! instead: see [below](#jobs-that-the-shim-did-not-start).) A panic is passed on as rayon does,
//! and the worker keeps nothing.
//!
//! The free functions go where rayon's go: to the pool whose worker calls them, or else to the
//! global one. For a pool that is a value, [`on`] has the same as methods.
//!
//! ```
//! use aiocontextvars::{context_var, shim::rayon};
//!
//! context_var! { static REQUEST_ID: u64; }
//!
//! let pool = ::rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
//! REQUEST_ID.set(7);
//! let seen = rayon::on(&pool).join(|| REQUEST_ID.get(), || { REQUEST_ID.set(8); REQUEST_ID.get() });
//! assert_eq!((seen, REQUEST_ID.get()), ((Some(7), Some(8)), Some(7)));
//! ```
//!
//! What has no form here takes a [bound](super::bind) function, as
//! `rayon::spawn_fifo(shim::bind(f))`. All contexts are owned ones. One thread at a time is inside
//! a [`SharedContext`](crate::SharedContext), and a worker that waits for one never goes on if the
//! job that is inside is further down its own stack; give its
//! [copy](crate::SharedContext::copy).
//!
//! # Parallel iterators
//!
//! A parallel iterator is put into a context by
//! [`in_current_context`](crate::ContextExt::in_current_context) or
//! [`in_context`](crate::ContextExt::in_context), as a future is. Each *job* (a run of items that
//! one thread processes one after another) has a copy of the context, which is made once and
//! entered once, not for each item.
//!
//! ```
//! use aiocontextvars::{ContextExt, context_var};
//! use rayon::prelude::*;
//!
//! context_var! { static FACTOR: u64 = 1; }
//!
//! FACTOR.set(3);
//! let items: Vec<u64> = (0..1000).collect();
//! let scaled: Vec<u64> = items
//!     .par_iter()
//!     .in_current_context()
//!     .map(|item| item * FACTOR.get())
//!     .collect();
//! assert!(scaled.iter().enumerate().all(|(n, item)| *item == 3 * n as u64));
//! ```
//!
//! In the context are:
//!
//! - all closures of the steps **after** the adapter (`map`, `filter`, `for_each`, `map_init`,
//!   `fold`, `reduce`, …), and in the same copy whatever belongs to one job: `init` and identity
//!   functions, the items' closures, and the drops of the items that the job is given and of what
//!   those functions made. Each clone of a value (of `map_with`) and each reduction of two results
//!   has a copy of its own.
//! - closures of `map`, `inspect`, `update` and the like that come **before** it.
//!
//! Not in the context are:
//!
//! - closures **before** it of adapters that drop or add items (`filter`, `filter_map`,
//!   `flat_map_iter`, …), `init` functions of a `map_init` before it, and the iterator of a
//!   `par_bridge`. They see no context at all. (And the context is entered for each item then.) So
//!   put the adapter first.
//! - items that no job is given: because the iterator ends early (`any`, `find_any`, `find_first`,
//!   `try_for_each`, `take_any`, …), or because they are filtered out before the adapter. They are
//!   dropped in no context, so that an item whose `Drop` reads a variable has to be in a context
//!   [itself](crate::Carried).
//! - what `flat_map` and `flatten` have a parallel iterator of their own for, and all that follows
//!   these. That is another hop: use the adapter again, on the inner iterator for its closures, and
//!   after `flat_map` for those that follow. (Without it, the inner one waits within the context,
//!   and bare jobs of others that run there read it and can change it.) `flat_map_iter` and
//!   `flatten_iter` make no jobs.
//!
//! ```
//! # use aiocontextvars::{ContextExt, context_var};
//! # use rayon::prelude::*;
//! # context_var! { static FACTOR: u64 = 1; }
//! # FACTOR.set(3);
//! let sum: u64 = (0..10_u64)
//!     .into_par_iter()
//!     .in_current_context()
//!     .flat_map(|n| (0..n).into_par_iter().in_current_context().map(|m| m * FACTOR.get()))
//!     .in_current_context()
//!     .map(|m| m + FACTOR.get())
//!     .sum();
//! # assert_eq!(sum, 120 * 3 + 45 * 3);
//! ```
//!
//! The adapter keeps the length, so that `collect` writes in place, but it is not an
//! `IndexedParallelIterator`: an adapter that asks for positions pulls the items out of those
//! before it, and no context could be around what follows. So `enumerate`, `zip`, `rev`, `chunks`,
//! `with_min_len` and the like come before it; after it they do not compile.
//!
//! ```
//! # use aiocontextvars::{ContextExt, context_var};
//! # use rayon::prelude::*;
//! # let items = [1, 2, 3];
//! let sum: usize = items.par_iter().enumerate().in_current_context().map(|(n, item)| n * item).sum();
//! # assert_eq!(sum, 8);
//! ```
//!
//! ```compile_fail,E0599
//! # use aiocontextvars::{ContextExt, context_var};
//! # use rayon::prelude::*;
//! # let items = [1, 2, 3];
//! let sum: usize = items.par_iter().in_current_context().enumerate().map(|(n, item)| n * item).sum();
//! ```
//!
//! # Jobs that the shim did not start
//!
//! A bare job of rayon's has no context of its own. While a worker waits, for the other half of a
//! `join` for example, it runs other jobs of its pool on top of its own, also those of other
//! callers. What a bare job finds depends on what the worker waits in:
//!
//! | the worker waits in | a bare job reads | and its writes |
//! |---|---|---|
//! | a function of this module | nothing | are refused, as in [foreign tasks](super#tasks-that-the-shim-did-not-spawn) |
//! | `rayon::join`, `scope` or a parallel iterator of rayon's own, in a job that has a context | that context | change that context |
//! | nothing that has a context | nothing | are refused |
//!
//! Where a write is refused, [`set`](crate::ContextVar::set) panics, and
//! [`try_set`](crate::ContextVar::try_set) gives an error of the kind
//! [`ForeignJob`](crate::SetErrorKind::ForeignJob).
//!
//! In the last row the worker is known by `rayon::current_thread_index`. A bare job enters a
//! context of its own to set variables, as with [`Context::run`] or
//! [`ContextVar::sync_scope`](crate::ContextVar::sync_scope). A pool whose jobs are to read some
//! values starts its threads in a context, by rayon's `spawn_handler` and [`Context::call`]. And a
//! thread that becomes a worker by rayon's `use_current_thread` counts as one from then on, also
//! outside of jobs.
//!
//! The second row is a leak that this crate cannot prevent, because rayon does not tell which job
//! runs. So in a job that has a context, use the functions here, and call a library that uses rayon
//! directly [apart] from the context:
//!
//! ```
//! use aiocontextvars::{Context, context_var, shim};
//!
//! context_var! { static TENANT: &'static str; }
//!
//! /// Of a library that knows nothing of contexts.
//! fn parallel_sum(n: u64) -> u64 {
//!     if n == 0 { return 0; }
//!     let (a, b) = rayon::join(|| parallel_sum(n / 2), || n);
//!     a + b
//! }
//!
//! TENANT.set("acme");
//! let (sum, _) = shim::rayon::join(
//!     || shim::rayon::apart(|context: &Context| {
//!         // No job of anybody's finds the tenant here. The context has it.
//!         assert_eq!((TENANT.get(), context.get(&TENANT)), (None, Some(&"acme")));
//!         parallel_sum(100)
//!     }),
//!     || (),
//! );
//! assert_eq!(sum, 100 + 50 + 25 + 12 + 6 + 3 + 1);
//! ```
//!
//! `Context::new().run(|| library())` hides the caller's values as well, but it can be written to:
//! what one bare job sets there, the next one reads. [`Pool::install`] runs its closure apart,
//! since that is where bare operations go. `pool.install(shim::bind(f))` does not.
//!
//! # Executors
//!
//! `ContextAwareExecutor::new(Arc::new(pool))` runs tasks, callbacks and timers on a pool. Blocking
//! jobs go to the crate's own threads. A worker cannot block on its pool's tasks: `try_block_on`
//! gives an error there.
//!
//! rayon's workers finish what they have before they look at jobs from outside of the pool. A
//! task that wakes itself in a loop, as one that yields until something has happened, keeps its
//! worker from that. If the pool has no other worker, that work never runs.
//!
//! ```
//! use std::sync::Arc;
//! use aiocontextvars::{context_var, shim::ContextAwareExecutor};
//!
//! context_var! { static LEVEL: u8; }
//!
//! let pool = ::rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
//! let executor = ContextAwareExecutor::new(Arc::new(pool));
//! LEVEL.set(1);
//! let task = executor.spawn(async { LEVEL.get() });
//! assert_eq!(executor.block_on(task).unwrap(), Some(1));
//! ```
//!
//! There is no executor for the global pool, because rayon has no handle for it: `rayon::spawn`
//! means the pool of the calling worker, so that a task that another pool's worker wakes moves
//! there. If that is wanted:
//! `ContextAwareExecutor::from_schedule(|task| rayon::spawn(|| task.run()))`.
//!
//! A job, unlike a task, belongs to no executor: for [`shim::spawn`](super::spawn) in it,
//! [enter](super::ContextAwareExecutor::enter) one, or [set a default](super::set_default).

#[path = "rayon/executor.rs"]
mod executor;
#[path = "rayon/parallel.rs"]
mod parallel;
#[path = "rayon/pool.rs"]
mod pool;
#[path = "rayon/scope.rs"]
mod rayon_scope;

use std::mem;

use ::rayon::{BroadcastContext, ThreadPool};

pub use self::pool::Pool;
pub use self::rayon_scope::Scope;

use super::scope;
use crate::context::Context;
use crate::current;
use crate::with_context::{ContextExt, WithContext};

/// `rayon::spawn`, in a copy of the current context, taken now.
///
/// A panic goes to the pool's panic handler; without one, rayon aborts the process.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use aiocontextvars::{context_var, shim};
///
/// context_var! { static LEVEL: u8; }
///
/// let (sender, receiver) = mpsc::channel();
/// LEVEL.set(1);
/// shim::rayon::spawn(move || sender.send(LEVEL.get()).unwrap());
/// LEVEL.set(2);
/// assert_eq!(receiver.recv().unwrap(), Some(1));
/// ```
pub fn spawn(f: impl FnOnce() + Send + 'static) {
    spawn_in(current::inherit(), f);
}

/// `rayon::spawn`, in `context`. `Context::new()` inherits nothing.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use aiocontextvars::{Context, context_var, shim};
///
/// context_var! { static LEVEL: u8; }
///
/// let (sender, receiver) = mpsc::channel();
/// let context = Context::new().with_value(&LEVEL, 3);
/// shim::rayon::spawn_in(context, move || sender.send(LEVEL.get()).unwrap());
/// assert_eq!(receiver.recv().unwrap(), Some(3));
/// ```
pub fn spawn_in(context: Context, f: impl FnOnce() + Send + 'static) {
    ::rayon::spawn(job(context, f));
}

/// `rayon::join`, each of the two in its own copy of the current context, taken now.
///
/// # Panics
///
/// If one of the two does, when both have ended.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{context_var, shim};
///
/// context_var! { static DEPTH: u32 = 0; }
///
/// fn depths(n: u32) -> u32 {
///     if n == 0 {
///         return DEPTH.get();
///     }
///     let deeper = || {
///         DEPTH.set(DEPTH.get() + 1);
///         depths(n - 1)
///     };
///     let (a, b) = shim::rayon::join(deeper, deeper);
///     a + b
/// }
/// assert_eq!((depths(3), DEPTH.get()), (8 * 3, 0));
/// ```
pub fn join<A, B>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B)
where
    A: Send,
    B: Send,
{
    let (a, b) = pair(a, b);
    wait(|| ::rayon::join(a, b))
}

/// `rayon::scope`: `f` and each job of the scope run in a copy of their own, of the context of
/// whoever calls `scope` or [`Scope::spawn`].
///
/// # Panics
///
/// If `f` or a job does, when all have ended.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use aiocontextvars::{context_var, shim};
///
/// context_var! { static LEVEL: u32; }
///
/// let sum = AtomicU32::new(0);
/// let add = || sum.fetch_add(LEVEL.get_or(0), Ordering::Relaxed);
/// LEVEL.set(1);
/// shim::rayon::scope(|scope| {
///     LEVEL.set(10);
///     scope.spawn(|scope| {
///         LEVEL.set(LEVEL.get_or(0) * 10);
///         scope.spawn(|_| drop(add()));
///     });
///     scope.spawn(|_| drop(add()));
/// });
/// assert_eq!((sum.into_inner(), LEVEL.get()), (110, Some(1)));
/// ```
pub fn scope<'scope, T: Send>(f: impl FnOnce(Scope<'_, 'scope>) -> T + Send) -> T {
    let f = f.in_current_context();
    wait(|| ::rayon::scope(|scope| run(f, |f| f(Scope::new(scope)))))
}

/// `rayon::broadcast`: calls `f` once on each thread of the pool, each time in a copy of the
/// current context, taken now.
///
/// # Panics
///
/// If one of the calls does, when all have ended.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{context_var, shim};
///
/// context_var! { static LEVEL: u8; }
///
/// LEVEL.set(1);
/// let seen = shim::rayon::broadcast(|_| LEVEL.get());
/// assert!(seen.iter().all(|level| *level == Some(1)));
/// ```
pub fn broadcast<T: Send>(f: impl Fn(BroadcastContext<'_>) -> T + Sync) -> Vec<T> {
    let f = f.in_current_context();
    leave(|| ::rayon::broadcast(|thread| f.call(Some(scope::NOWHERE), thread)))
}

/// Calls `f` in an empty context that cannot be written to, and hands it a copy of the current one,
/// without variables declared `local`. Of [companions](crate::companion), such as the span of
/// `tracing`, nothing is current there.
///
/// For code in a job or task that uses rayon directly: while it waits, the worker may run jobs of
/// others, which would find the context of the job that waits.
///
/// # Panics
///
/// If `f` does.
///
/// # Examples
///
/// See the [module](self#jobs-that-the-shim-did-not-start).
pub fn apart<T>(f: impl FnOnce(&Context) -> T) -> T {
    let context = JobContext(current::inherit());
    leave(|| f(context.get()))
}

/// The functions of this module on `pool`.
///
/// # Examples
///
/// ```
/// use aiocontextvars::{context_var, shim};
///
/// context_var! { static LEVEL: u8; }
///
/// let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
/// LEVEL.set(1);
/// let levels = shim::rayon::on(&pool).join(|| LEVEL.get(), || LEVEL.get());
/// assert_eq!(levels, (Some(1), Some(1)));
/// ```
pub fn on(pool: &ThreadPool) -> Pool<'_> {
    Pool::new(pool)
}

/// `f`, called and dropped in `context`.
fn job<T>(context: Context, f: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let f = f.in_context(context.apart());
    || run(f, |f| f())
}

fn pair<A, B>(
    a: impl FnOnce() -> A,
    b: impl FnOnce() -> B,
) -> (impl FnOnce() -> A, impl FnOnce() -> B) {
    let context = current::inherit();
    (job(context.clone(), a), job(context, b))
}

/// Calls `f` with what a job has, in its context, and then drops that.
///
/// A worker that waits runs jobs within others, so that the executor on whose behalf it waits is
/// not the job's.
fn run<F, T>(job: WithContext<F>, f: impl FnOnce(F) -> T) -> T {
    job.run(Some(scope::NOWHERE), f)
}

/// Calls `f` on a worker, which may run other jobs while `f` waits. See [`leave`].
fn wait<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    leave(|| match ::rayon::current_thread_index() {
        Some(_) => f(),
        // rayon would have a worker of the global pool wait, in what that has.
        None => ::rayon::scope(|_| leave(f)),
    })
}

/// Calls `f` in an empty context that cannot be written to, so that jobs that run while `f` waits
/// neither see nor change the caller's context, nor see what other such jobs have set.
fn leave<T>(f: impl FnOnce() -> T) -> T {
    current::enter_wait(scope::NOWHERE, f)
}

/// A context whose values are dropped as those of other units of work are.
struct JobContext(Context);

impl JobContext {
    fn get(&self) -> &Context {
        &self.0
    }
}

impl Drop for JobContext {
    fn drop(&mut self) {
        current::drop_values(mem::take(&mut self.0));
    }
}
