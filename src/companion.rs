//! Companions: what other crates keep current on a thread, and what follows the work with the
//! context.
//!
//! A variable follows the work. The span of `tracing` beside it, the context of OpenTelemetry, the
//! hub of sentry, a value in a `thread_local!` of one's own do not: they belong to a thread, and
//! are lost at each spawn. A [`Companion`] says how such a thing is captured and how it is made
//! current again. Once it is [registered](register), it is captured wherever a new unit of work
//! captures a context, and entered wherever that context is: at each poll, call, job and drop. So
//! the two always belong together.
//!
//! # What is captured where
//!
//! - By all that starts a unit of work in a context that it captures itself: `spawn`, `call_soon`
//!   and its family, blocking jobs, threads, jobs of rayon, [`shim::bind`](crate::shim::bind) and
//!   its family, [`Carried`](crate::Carried) and the channels,
//!   [`in_current_context`](crate::ContextExt::in_current_context),
//!   [`in_own_context`](crate::in_own_context) and [`inherit_context`](crate::inherit_context).
//! - Not by [`copy_context`](crate::copy_context) and the scopes of variables, which take values
//!   only. They leave alone what is current on the thread, and so does a
//!   [`Context`](crate::Context) without companions that is entered by hand, such as
//!   `Context::new().run(f)`.
//! - By `HttpContextLayer` for the body of a response, when that is ready. Both layers of tower
//!   leave a request what is current where it is polled, which is what the layers outside have
//!   current.
//! - A unit of work that is *given* a context without companions, by `spawn_in(Context::new(), …)`
//!   or [`fixed`](crate::shim::ContextAwareExecutor::fixed), has none: nothing is current in it,
//!   whatever its thread has.
//!
//! `clone()` of a context keeps them. [`without_companions`](crate::Context::without_companions)
//! takes them out, for what outlives a request: what is kept by a captured span is kept open.
//!
//! Nothing is kept by what nobody works in: a task that has finished, its `JoinHandle`, a
//! [`SharedContext`](crate::SharedContext), a [`Runner`](crate::shim::Runner) between its runs. (A
//! shared context has no companions at all.)
//!
//! # Cost
//!
//! Where nothing is registered, a load where a context is captured, and a look at the context where
//! it is entered. In `docs/observability.md` is what the span of `tracing` costs.
//!
//! # Examples
//!
//! The name of a job in a `thread_local!`, as a library for logs may have it:
//!
//! ```
//! use std::cell::RefCell;
//! use aiocontextvars::companion::{self, Companion};
//! use aiocontextvars::shim;
//!
//! thread_local!(static JOB: RefCell<Option<String>> = const { RefCell::new(None) });
//!
//! fn with_job<R>(job: Option<String>, f: impl FnOnce() -> R) -> R {
//!     struct Restore(Option<String>);
//!     impl Drop for Restore {
//!         fn drop(&mut self) {
//!             JOB.set(self.0.take());
//!         }
//!     }
//!     let _restore = Restore(JOB.replace(job));
//!     f()
//! }
//!
//! struct CurrentJob;
//!
//! impl Companion for CurrentJob {
//!     type Value = String;
//!
//!     fn capture(&self) -> Option<String> {
//!         JOB.with_borrow(Clone::clone)
//!     }
//!
//!     fn is_current(&self, value: &String) -> bool {
//!         JOB.with_borrow(|job| job.as_ref() == Some(value))
//!     }
//!
//!     fn enter<R>(&self, value: &String, f: impl FnOnce() -> R) -> R {
//!         with_job(Some(value.clone()), f)
//!     }
//!
//!     fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
//!         with_job(None, f)
//!     }
//! }
//!
//! // Once, in `main`.
//! companion::register(CurrentJob)?;
//!
//! shim::block_on(async {
//!     let task = with_job(Some("import".to_owned()), || {
//!         shim::spawn(async {
//!             shim::yield_now().await;
//!             JOB.with_borrow(Clone::clone)
//!         })
//!     });
//!     assert_eq!(task.await.unwrap().as_deref(), Some("import"));
//!     assert_eq!(JOB.with_borrow(Clone::clone), None);
//! });
//! # Ok::<(), aiocontextvars::companion::AlreadyRegistered>(())
//! ```

pub(crate) mod captured;
mod contract;
mod registry;
mod thread;

use std::any;
use std::error::Error;
use std::fmt;

pub use self::contract::Companion;
pub(crate) use self::registry::{LeftAlone, any, capture, current_among, enter, enter_none_but};
pub(crate) use self::thread::thread_exits;

/// Has `companion` follow the work from now on: each context that is captured afterwards has what
/// is current then.
///
/// This is for `main`, as it is with the logger of `log` and the subscriber of `tracing`. Libraries
/// leave it to the program. Register before the threads that work are started. Companions are
/// captured and entered in the order of their registration, and stay registered as long as the
/// process runs. (In a context that has companions, the first one whose value is not the current
/// one is captured before those in front of it.)
///
/// # Errors
///
/// [`AlreadyRegistered`] if a companion of the same type was registered before; that one stays.
///
/// # Examples
///
/// See the [module](self).
pub fn register<C: Companion>(companion: C) -> Result<(), AlreadyRegistered> {
    registry::register(companion).map_err(|()| AlreadyRegistered {
        companion: any::type_name::<C>(),
    })
}

/// The error of [`register`] for a type that has been registered.
///
/// # Examples
///
/// See [`register`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AlreadyRegistered {
    companion: &'static str,
}

impl fmt::Display for AlreadyRegistered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the companion `{}` is registered already; register it once, in `main`",
            self.companion
        )
    }
}

impl Error for AlreadyRegistered {}
