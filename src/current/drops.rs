//! Dropping contexts: where what is in them is dropped.
//!
//! - What was captured with a context, inside of the context's own values: a span that closes, for
//!   example, is reported with the values of its own request.
//! - The values of work that has ended, in an empty context.
//!
//! What was captured with the context and is current on the thread as well stays current there: to
//! leave it and to enter it again would put it above what was made current inside of it since. Of
//! the other companions nothing is current; but with a context that has captured nothing, and is not
//! that of a unit of work, all stays as it is.
//!
//! Companions may keep contexts whose companions keep more, in a chain that is longer than the
//! machine stack:
//!
//! ```text
//! level 1 … DIRECT      dropped where they are found, each within the one that keeps it
//! below level DIRECT    put on a list, which the drop at that level works off when it has done its own
//! ```
//!
//! So the list has something in it only while such a drop is on the machine stack of its thread.
//! (`teardown` does the same for values.)

use std::cell::{Cell, RefCell};
use std::mem::{self, ManuallyDrop};

use super::enter::enter_to_drop;
use super::kind::Owner;
use crate::catch::{catch, in_destructor};
use crate::companion::captured::Companions;
use crate::companion::{self, LeftAlone};
use crate::context::Context;
use crate::identity::SharedCompanions;
use crate::node::Node;
use crate::raw::cell_here;
use crate::sync::thread_local;

impl Drop for Context {
    #[inline]
    fn drop(&mut self) {
        if self.identity().has_companions() {
            drop_with_companions(mem::take(self));
        }
    }
}

#[cold]
#[inline(never)]
fn drop_with_companions(context: Context) {
    drop(drop_companions(context));
}

/// Drops what was captured with `context`, if nobody else has it, while the values are current, and
/// of companions only what is current anyway. Returns the rest, for the caller to drop. `None` if
/// all of it is left to the drop at the last level.
//
// By value: what has its address taken is not kept in registers where there are no companions.
#[cold]
#[inline(never)]
fn drop_companions(mut context: Context) -> Option<Context> {
    let companions = context.identity_mut().take_companions();
    let Some(last) = companions.and_then(SharedCompanions::into_last) else {
        return Some(context);
    };
    context.identity_mut().set_apart();
    let captured = CapturedIn { context, last };
    let level = LEVEL.get();
    if level == DIRECT {
        return captured.defer();
    }
    LEVEL.set(level + 1);
    let _leave = Leave(level);
    Some(captured.drop_inside().0)
}

/// Leaves a level, having done what was deferred there.
struct Leave(u32);

impl Drop for Leave {
    fn drop(&mut self) {
        if self.0 + 1 != DIRECT {
            return LEVEL.set(self.0);
        }
        while let Some(deferred) = next() {
            // A panic of a value has nowhere to go.
            catch(|| {
                let (rest, left_alone) = deferred.drop_inside();
                if let Some(node) = rest.into_last_node() {
                    drop_last(node, Stays::Only(left_alone));
                }
            });
        }
        LEVEL.set(self.0);
        // An allocator may drop contexts meanwhile, and puts none on the list from here.
        let list = mem::take(&mut **cell_here(&DEFERRED).borrow_mut());
        drop(list);
    }
}

/// See the head of this file.
const DIRECT: u32 = 16;

std::thread_local! {
    /// How many such drops this thread is in.
    static LEVEL: Cell<u32> = const { Cell::new(0) };
}

thread_local! {
    /// What the drop at the last level has to do. Without a destructor, so that contexts can be
    /// dropped as long as the thread runs; an empty `Vec` owns nothing.
    static DEFERRED: RefCell<ManuallyDrop<Vec<CapturedIn>>> = const { RefCell::new(ManuallyDrop::new(Vec::new())) };
}

/// A context and what was captured with it, which nobody else has.
struct CapturedIn {
    context: Context,
    last: Companions,
}

impl CapturedIn {
    /// Drops what was captured. Its panics stay there.
    fn drop_inside(self) -> (Context, LeftAlone) {
        let CapturedIn { mut context, last } = self;
        let left_alone = companion::current_among(&last);
        let mut last = Some(last);
        enter_to_drop(&mut context, Owner::Call, left_alone, &mut || {
            drop(last.take())
        });
        (context, left_alone)
    }

    /// Leaves it to the drop at the last level, which this thread is in.
    fn defer(self) -> Option<Context> {
        match cell_here(&DEFERRED).try_borrow_mut() {
            Ok(mut deferred) => deferred.push(self),
            // An allocator that drops a context while the list grows.
            Err(_) => return Some(self.drop_inside().0),
        }
        None
    }
}

fn next() -> Option<CapturedIn> {
    let mut deferred = cell_here(&DEFERRED).borrow_mut();
    deferred.pop()
}

/// Drops the context of work that has ended, and the values that nobody else has.
///
/// Their destructors may write, but the outer frame may be that of a runtime's task, which refuses
/// writes, or of a callback queue, which would keep what they write. So they run in an empty
/// context.
pub(crate) fn drop_values(context: Context) {
    if context.identity().is_marked() {
        return drop_marked(context);
    }
    if let Some(node) = context.into_last_node() {
        drop_last(node, Stays::All);
    }
}

/// The same for a context that is marked, as one is that has companions.
//
// By value, as `drop_companions`.
#[cold]
#[inline(never)]
fn drop_marked(mut context: Context) {
    let companions = context.identity().companions();
    let left_alone = companions.map_or_else(LeftAlone::default, companion::current_among);
    if context.identity().has_companions() {
        match drop_companions(context) {
            Some(rest) => context = rest,
            None => return,
        }
    }
    if let Some(node) = context.into_last_node() {
        drop_last(node, Stays::Only(left_alone));
    }
}

/// What stays current of the companions where values are dropped.
#[derive(Clone, Copy)]
enum Stays {
    /// All, as where a context is entered that has captured nothing.
    All,
    Only(LeftAlone),
}

/// How often values are dropped that destructors of the ones before have set.
const ROUNDS: u32 = 16;

#[cold]
fn drop_last(node: Node, stays: Stays) {
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
        let owner = match round < ROUNDS {
            true => Owner::Call,
            false => Owner::Closed,
        };
        let (empty, left_alone) = match stays {
            Stays::All => (Context::new(), LeftAlone::default()),
            Stays::Only(left_alone) => (Context::new().apart(), left_alone),
        };
        let mut set = Set(empty);
        let mut node = Some(node);
        enter_to_drop(&mut set.0, owner, left_alone, &mut || {
            in_destructor(|| drop(node.take()));
        });
        next = mem::take(&mut set.0).into_last_node();
        round += 1;
    }
}
