//! [`Scope`]: a future or stream in a context that differs by one variable from the one around it.

use std::fmt;
use std::mem;
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::context::Context;
use crate::current::{self, Entering};
use crate::id::VarKey;
use crate::task_context::{AnyContext, EnterContext, Sealed, TaskContext};
use crate::value::{self, Value};
use crate::with_context::WithContext;

/// What [`ContextVar::scope`](crate::ContextVar::scope) makes: a future, stream, sink, iterator,
/// reader or writer in a copy of the context that is current at its first use, in which one variable
/// has a value of its own. It is three words larger than what it wraps.
///
/// # Examples
///
/// ```
/// use std::future::Future;
/// use aiocontextvars::{Scope, context_var, shim};
///
/// context_var! { static LEVEL: u8; }
///
/// fn at_level_5<F: Future>(future: F) -> Scope<F> {
///     LEVEL.scope(5, future)
/// }
///
/// assert_eq!(shim::block_on(at_level_5(async { LEVEL.get() })), Some(5));
/// ```
pub type Scope<F> = WithContext<F, ScopeContext>;

/// The context of a [`Scope`]: for the names of types that are generic over the context.
///
/// # Examples
///
/// ```
/// use std::future::Future;
/// use aiocontextvars::{ScopeContext, TaskContext, WithContext, context_var, shim};
///
/// context_var! { static LEVEL: u8; }
///
/// struct Job<F, C: TaskContext> {
///     future: WithContext<F, C>,
/// }
///
/// fn at_level_5<F: Future>(future: F) -> Job<F, ScopeContext> {
///     Job { future: LEVEL.scope(5, future) }
/// }
///
/// let job = at_level_5(async { LEVEL.get() });
/// assert_eq!(shim::block_on(job.future), Some(5));
/// ```
pub struct ScopeContext(ScopePlace);

impl ScopeContext {
    pub(crate) fn new(var: VarKey, value: Value) -> ScopeContext {
        let value = Some(value);
        ScopeContext(ScopePlace::Unused { value, var })
    }
}

impl fmt::Debug for ScopePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScopePlace { .. }")
    }
}

impl fmt::Debug for ScopeContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeContext").finish_non_exhaustive()
    }
}

// As a context's, the value is immutable.
impl UnwindSafe for ScopeContext {}
impl RefUnwindSafe for ScopeContext {}
impl UnwindSafe for ScopePlace {}
impl RefUnwindSafe for ScopePlace {}

/// Where the context of a [`Scope`] is entered from.
#[doc(hidden)]
#[allow(private_interfaces, reason = "it cannot be named outside of the crate")]
pub enum ScopePlace {
    /// The copy is taken at the first use.
    Unused {
        /// `None` if it has been taken out.
        value: Option<Value>,
        var: VarKey,
    },
    Used(Context),
}

impl Default for ScopePlace {
    fn default() -> ScopePlace {
        ScopePlace::Used(Context::new())
    }
}

impl ScopePlace {
    #[inline]
    fn context(&mut self) -> &mut Context {
        if let ScopePlace::Unused { .. } = self {
            self.use_first();
        }
        match self {
            ScopePlace::Used(context) => context,
            ScopePlace::Unused { .. } => unreachable!("it was used just now"),
        }
    }

    #[cold]
    fn use_first(&mut self) {
        if let ScopePlace::Unused { value, var } = mem::take(self) {
            *self = ScopePlace::Used(current::copy().with_stored(var, value));
        }
    }

    /// Takes the value of the scope's own variable out, if it is there and nobody else has it.
    pub(crate) fn take_value<T: Send + Sync + 'static>(&mut self, var: VarKey) -> Option<T> {
        let value = match self {
            ScopePlace::Unused { value, .. } => value.take()?,
            ScopePlace::Used(context) => {
                let value = context.value(var)?.clone();
                drop(context.replace(var, None));
                value
            }
        };
        value::into_own(value)
            .map_err(|shared| self.put_back(var, shared))
            .ok()
    }

    fn put_back(&mut self, var: VarKey, shared: Value) {
        match self {
            ScopePlace::Unused { value, .. } => *value = Some(shared),
            ScopePlace::Used(context) => drop(context.replace(var, Some(shared))),
        }
    }
}

impl Sealed for ScopeContext {}

impl TaskContext for ScopeContext {
    type Owned = ScopeContext;
    type Place = ScopePlace;

    fn into_place(self) -> ScopePlace {
        self.0
    }

    fn into_any(mut self) -> AnyContext {
        AnyContext::Own(mem::take(self.0.context()))
    }
}

#[allow(private_interfaces, reason = "as in the trait")]
impl EnterContext for ScopePlace {
    #[inline]
    fn run_now<R>(&mut self, entering: Entering<'_>, f: impl FnOnce() -> R) -> R {
        self.context().run_now(entering, f)
    }

    #[inline]
    fn run_last<R>(&mut self, entering: Entering<'_>, f: impl FnOnce() -> R) -> R {
        self.context().run_last(entering, f)
    }

    fn release(self) {
        match self {
            // No copy is taken for that.
            ScopePlace::Unused { value, var } => Context::new().with_stored(var, value).release(),
            ScopePlace::Used(context) => context.release(),
        }
    }
}
