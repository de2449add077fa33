//! [`Scope`]: rayon's scope, whose jobs have contexts.

use std::fmt;

use super::run;
use crate::context::Context;
use crate::current;
use crate::with_context::ContextExt;

/// Starts the jobs of a [`scope`](super::scope()).
///
/// # Examples
///
/// See [`scope`](super::scope()).
#[derive(Clone, Copy)]
pub struct Scope<'a, 'scope>(&'a ::rayon::Scope<'scope>);

impl<'a, 'scope> Scope<'a, 'scope> {
    pub(super) fn new(scope: &'a ::rayon::Scope<'scope>) -> Scope<'a, 'scope> {
        Scope(scope)
    }
}

impl<'scope> Scope<'_, 'scope> {
    /// Starts a job in a copy of the current context, taken now. The job is given the scope, for
    /// jobs of its own.
    ///
    /// # Examples
    ///
    /// See [`scope`](super::scope()).
    pub fn spawn(self, f: impl FnOnce(Scope<'_, 'scope>) + Send + 'scope) {
        self.spawn_in(current::inherit(), f);
    }

    /// Starts a job in `context`.
    ///
    /// # Examples
    ///
    /// ```
    /// use aiocontextvars::{Context, context_var, shim};
    ///
    /// context_var! { static LEVEL: u8; }
    ///
    /// LEVEL.set(1);
    /// shim::rayon::scope(|scope| {
    ///     scope.spawn_in(Context::new(), |_| assert_eq!(LEVEL.get(), None));
    /// });
    /// ```
    pub fn spawn_in(self, context: Context, f: impl FnOnce(Scope<'_, 'scope>) + Send + 'scope) {
        let f = f.in_context(context.apart());
        self.0.spawn(|scope| run(f, |f| f(Scope::new(scope))));
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}
