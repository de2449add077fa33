//! The variables of the programs, and their values.

use std::sync::{Arc, LazyLock};

use aiocontextvars::{ContextVar, context_var};

use crate::any_var::AnyVar;
use crate::program::Var;

/// A value whose life is counted, and whose clones and drops use the crate.
pub(crate) struct Value {
    pub(crate) number: u32,
    pub(crate) alive: Arc<()>,
}

impl Clone for Value {
    fn clone(&self) -> Value {
        use_the_crate();
        Value {
            number: self.number,
            alive: Arc::clone(&self.alive),
        }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        use_the_crate();
    }
}

/// Leaves everything as it was.
fn use_the_crate() {
    context_var! { static USED: (); }
    // In the end, the thread's own context cannot be written to.
    if let Ok(token) = USED.try_set(()) {
        assert!(USED.reset(token).is_ok());
    }
}

static VARS: LazyLock<[AnyVar<Value>; Var::ALL.len()]> = LazyLock::new(|| {
    let default = || Value {
        number: Var::DEFAULT,
        alive: Arc::default(),
    };
    [
        AnyVar::Plain(ContextVar::new("A")),
        AnyVar::Defaulted(ContextVar::with_default("B", default)),
        AnyVar::Plain(ContextVar::new("L").local()),
        AnyVar::Defaulted(ContextVar::with_default("M", default).local()),
        AnyVar::Plain(ContextVar::named("N".to_owned())),
        AnyVar::Plain(ContextVar::new("C")),
    ]
});

impl Var {
    pub(crate) fn real(self) -> &'static AnyVar<Value> {
        &VARS[self as usize]
    }
}
