//! [`CurrentContext`]: what is attached follows the work.

use aiocontextvars::companion::Companion;
use opentelemetry::Context;

/// The current [`Context`] of OpenTelemetry, with its span, its baggage and all that it has, as a
/// [companion](aiocontextvars::companion).
///
/// A context that has captured it keeps its span alive, as a future `with_context` does. A unit of
/// work releases it when it ends. What is to outlive its request takes
/// [`without_companions`](aiocontextvars::Context::without_companions).
///
/// # Examples
///
/// See the [crate](crate).
#[derive(Clone, Copy, Debug, Default)]
pub struct CurrentContext;

impl Companion for CurrentContext {
    type Value = Context;

    // An empty one as well: it does not tell whether it has values, and to attach it is as cheap as
    // to attach none.
    fn capture(&self) -> Option<Context> {
        Some(Context::current())
    }

    fn enter<R>(&self, context: &Context, f: impl FnOnce() -> R) -> R {
        let _guard = context.clone().attach();
        f()
    }

    fn enter_none<R>(&self, f: impl FnOnce() -> R) -> R {
        let _guard = Context::new().attach();
        f()
    }
}
