//! [`Scoped`]: a value that is bound as long as its guard lives.

use std::fmt;
use std::marker::PhantomData;
use std::mem;

use triomphe::Arc;

use crate::catch::in_destructor;
use crate::current;
use crate::id::VarKey;
use crate::name::Name;
use crate::slot::Guard;
use crate::var::ContextVar;

/// Keeps a value bound until it is dropped; made by
/// [`ContextVar::scoped`](crate::ContextVar::scoped).
///
/// The guard belongs to the context in which it was made, not to the thread: it is `Send`, and may
/// be held across `.await`. Wherever it is dropped, its value leaves that context, and nothing
/// changes in any other; a copy that was taken meanwhile keeps the value.
///
/// The value is dropped when the variable has its other value back or, if the guard is dropped
/// where that cannot be done, at the variable's next write or with the context. If the value's
/// destructor panics while the thread is unwinding, that panic goes no further.
///
/// # Examples
///
/// ```
/// # use aiocontextvars::context_var;
/// context_var! { static LEVEL: u8; }
///
/// let outer = LEVEL.scoped(1);
/// let inner = LEVEL.scoped(2);
/// drop(outer);
/// assert_eq!(LEVEL.get(), Some(2));
/// drop(inner);
/// assert_eq!(LEVEL.get(), None);
/// ```
#[must_use = "the value is unset when the guard is dropped; bind it to a variable: `let _guard = …`"]
pub struct Scoped<'a, T: Send + Sync + 'static> {
    name: &'a Name,
    var: VarKey,
    /// The id of the context that it was made in, and what it shares with its layer there. `None`
    /// if nothing was set.
    layer: Option<(u64, Arc<Guard>)>,
    _value: PhantomData<fn() -> &'a T>,
}

impl<'a, T: Send + Sync + 'static> Scoped<'a, T> {
    #[inline]
    pub(crate) fn new<D>(var: &'a ContextVar<T, D>, context: u64, guard: Arc<Guard>) -> Self {
        let mut scoped = Scoped::dead(var);
        scoped.layer = Some((context, guard));
        scoped
    }

    /// The guard of a write that did not take place.
    pub(crate) fn dead<D>(var: &'a ContextVar<T, D>) -> Scoped<'a, T> {
        Scoped {
            name: var.as_name(),
            var: var.key(),
            layer: None,
            _value: PhantomData,
        }
    }
}

impl<T: Send + Sync + 'static> Drop for Scoped<'_, T> {
    fn drop(&mut self) {
        if let Some((context, guard)) = self.layer.take() {
            in_destructor(|| current::pop(self.var, context, guard, mem::needs_drop::<T>()));
        }
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Scoped<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped")
            .field("var", &self.name.as_str())
            .finish_non_exhaustive()
    }
}
