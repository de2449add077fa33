//! The exit matrix: every way in which a unit of work can end, and what is seen and dropped then.
//!
//! After each step all counters of [`Seen`](probes::Seen) are compared, and the context outside:
//! [`ID`] in the body, in the destructor of what the future or closure holds (inside its context),
//! in the destructor of a value that only its context has (in an empty context, and free to use the
//! crate), and how often each was dropped.
//!
//! | | task | callback, timer | blocking job | wrapped future, stream | `run`, bound function | guard |
//! |---|---|---|---|---|---|---|
//! | returns, early return | yes | yes | yes | yes | yes | yes |
//! | panics on the first poll | yes | yes | yes | yes | yes | yes |
//! | panics on the second poll | yes | one step | one step | yes | one step | yes |
//! | never polled | yes | cancelled | yes | yes | never called | in a future |
//! | dropped while pending, here | by abort | no such state | no such state | yes | no such state | yes |
//! | dropped while pending, elsewhere | by abort | cancelled | no such state | yes | yes | yes |
//! | aborted | yes | cancelled | too late | as its task | no handle | with its task |
//! | the executor ends | yes | yes | yes | as its task | no executor | with its task |
//! | forgotten | its handle | its handle | its handle | yes | yes | yes |
//! | the thread exits | with its executor | with its executor | the pool's | `thread_exit.rs` | there too | there too |
//!
//! A value of a companion goes with its work in each of these ways, whatever its context has: those
//! are the rows `exit_a_companions_value`, for tasks and the queue, and
//! `exit_a_companions_value_elsewhere`, for jobs, threads, bound functions and what other threads
//! abort and drop, in `companions.rs`.
//!
//! A callback and a job are called once, so they have no second poll, and once under way nothing
//! drops them. A leaked executor keeps all that it has, as anything leaked does. Local tasks and
//! callbacks are those of the executors of one thread, and are dropped on that thread.
//!
//! [`ID`]: crate::fixtures::ID

mod callbacks;
mod guards;
mod jobs;
pub(crate) mod probes;
mod runs;
mod tasks;
mod within;
mod wrapped;

use std::future::Future;

use aiocontextvars::copy_context;

use crate::executor::On;
use crate::fixtures::ID;

pub(crate) use self::callbacks::*;
pub(crate) use self::guards::*;
pub(crate) use self::jobs::*;
pub(crate) use self::probes::PANIC;
pub(crate) use self::runs::*;
pub(crate) use self::tasks::*;
pub(crate) use self::within::*;
pub(crate) use self::wrapped::*;

type Call = Box<dyn FnOnce() + Send>;

/// Runs the body of a row on an executor; it leaves nothing in the thread's own context.
fn run(on: On, body: impl Future<Output = ()>) {
    on.start().block_on(body);
    assert_eq!((ID.get(), copy_context().len()), (None, 0));
}
