//! The thread's current context, and the one way to change which context that is.
//!
//! - [`kind`]: whose frame it is, and so who may read and write.
//! - [`thread`]: the contexts that are entered on this thread.
//! - [`values`]: reading, writing and copying the current one.
//! - [`enter`](mod@enter): entering and leaving.
//! - [`drops`]: where what is in a context is dropped.
//! - [`frame`]: a context that is entered once, and the current one again.
//! - [`overriding`]: the current scope, which the shim keeps beside the context, and overriding it.

mod drops;
mod enter;
mod frame;
mod kind;
mod overriding;
mod thread;
mod values;

pub(crate) use self::drops::drop_values;
pub(crate) use self::enter::{Entering, enter, enter_alone};
pub(crate) use self::frame::{
    Frame, enter_again, enter_call, enter_empty, enter_for_all, enter_run,
};
pub(crate) use self::kind::{Owner, Users};
pub(crate) use self::overriding::{ScopeOverride, scope, scope_frame};
pub(crate) use self::values::{
    address, check_write, copy, inherit, is_innermost, is_writable, pop, push, read, replace,
    replace_all,
};
#[allow(unused_imports, reason = "which adapters there are is not known here")]
pub(crate) use self::{
    frame::{enter_outer, enter_wait},
    values::{accompany, inherit_values},
};
