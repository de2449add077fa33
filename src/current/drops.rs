//! Dropping contexts: where what is in them is dropped.
//!
//! - What was captured with a context, inside of the context's own values: a span that closes, for
//!   example, is told of as what it was, and not as whatever the thread has to do with.
//! - The values of work that has ended, in an empty context.

use std::mem;

use super::enter::{Entering, enter};
use super::kind::{Kind, Users};
use crate::catch::in_destructor;
use crate::context::Context;
use crate::identity::SharedCompanions;
use crate::node::Node;

impl Drop for Context {
    #[inline]
    fn drop(&mut self) {
        if self.identity().has_companions() {
            drop_both(mem::take(self));
        }
    }
}

#[cold]
#[inline(never)]
fn drop_both(context: Context) {
    drop(without_companions(context));
}

/// Drops what was captured with `context`, if nobody else has it, while the values are current and
/// nothing else is.
//
// By value: what has its address taken is not kept in registers where there are no companions.
#[cold]
#[inline(never)]
fn without_companions(mut context: Context) -> Context {
    let companions = context.identity_mut().take_companions();
    if let Some(last) = companions.and_then(SharedCompanions::into_last) {
        context.identity_mut().set_apart();
        let kind = Kind::new(Users::call());
        enter(&mut context, Entering::from(&kind).to_drop(), || drop(last));
    }
    context
}

/// Drops the context of work that has ended, and the values that nobody else has.
///
/// Their destructors may write, but the outer frame may be that of a runtime's task, which refuses
/// writes, or of a callback queue, which would keep what they write. So they run in an empty
/// context.
#[inline]
pub(crate) fn drop_values(mut context: Context) {
    if context.identity().has_companions() {
        context = without_companions(context);
    }
    if let Some(node) = context.into_last_node() {
        drop_last(node);
    }
}

/// How often values are dropped that destructors of the ones before have set.
const ROUNDS: u32 = 16;

#[cold]
fn drop_last(node: Node) {
    /// What destructors have set, also if one panics.
    struct Set(Context);
    impl Drop for Set {
        fn drop(&mut self) {
            drop_values(mem::take(&mut self.0));
        }
    }
    let mut next = Some(node);
    let mut round = 0;
    while let Some(node) = next.take() {
        // A destructor that sets a variable each time, as an allocator might that counts, would go
        // on without end.
        let kind = Kind::new(match round < ROUNDS {
            true => Users::call(),
            false => Users::Closed,
        });
        let mut set = Set(Context::new().apart());
        enter(&mut set.0, Entering::from(&kind).to_drop(), || {
            in_destructor(|| drop(node));
        });
        next = mem::take(&mut set.0).into_last_node();
        round += 1;
    }
}
