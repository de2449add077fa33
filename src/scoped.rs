//! [`Scoped`]: a value that goes when its guard does.

use std::fmt;

use crate::contain::in_destructor;
use crate::slot::Live;
use crate::var::ContextVar;

/// Keeps a value bound until it is dropped; made by [`ContextVar::scoped`].
///
/// The guard belongs to the context in which it was made, not to the thread: it is `Send`, and may be
/// held across `.await`. Wherever it is dropped, its value goes from that context, and nothing changes in any
/// other; a copy that was taken meanwhile keeps the value.
///
/// The value is dropped when the variable has its other value back. If the value's destructor panics while the thread
/// is unwinding, that panic goes no further.
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
    var: &'a ContextVar<T>,
    /// The id of the context that it was made in, and its layer there. `None` if nothing was set.
    layer: Option<(u64, Live)>,
}

impl<'a, T: Send + Sync + 'static> Scoped<'a, T> {
    pub(crate) fn new(var: &'a ContextVar<T>, context: u64, live: Live) -> Scoped<'a, T> {
        Scoped {
            var,
            layer: Some((context, live)),
        }
    }

    /// The guard of a write that did not take place.
    pub(crate) fn dead(var: &'a ContextVar<T>) -> Scoped<'a, T> {
        Scoped { var, layer: None }
    }
}

impl<T: Send + Sync + 'static> Drop for Scoped<'_, T> {
    fn drop(&mut self) {
        if let Some((context, live)) = &self.layer {
            live.end();
            in_destructor(|| self.var.settle(*context));
        }
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Scoped<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped")
            .field("var", &self.var.name())
            .finish_non_exhaustive()
    }
}
