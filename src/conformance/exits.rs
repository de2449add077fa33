//! The exit matrix: every way in which a unit of work can end, and what is seen and dropped then.
//!
//! After each step all counters of [`Seen`](probes::Seen) are compared, and the context outside: [`ID`] in the body,
//! in the destructor of what the future or closure holds (inside its context), in the destructor of a value that
//! only its context has (in an empty context, and free to use the crate), and how often each was dropped.
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
//! A callback and a job are called once, so they have no second poll, and once under way nothing drops them. A
//! leaked executor keeps all that it has, as anything leaked does. Local tasks and callbacks are those of the
//! executors of one thread, and are dropped on that thread.
//!
//! [`ID`]: crate::conformance::fixtures::ID

mod callbacks;
mod guards;
mod jobs;
mod probes;
mod runs;
mod tasks;
mod within;
mod wrapped;

use std::sync::mpsc;
use std::time::Duration;

use aiocontextvars::shim::{CallHandle, JoinHandle, TimerHandle};
use aiocontextvars::{SharedContext, copy_context};
use futures::channel::oneshot;
use futures::future::{BoxFuture, LocalBoxFuture};

use self::probes::Ended;
use crate::conformance::callbacks::hold_the_queue;
use crate::conformance::fixtures::ID;
use crate::conformance::harness::Harness;

pub(crate) use self::callbacks::*;
pub(crate) use self::guards::*;
pub(crate) use self::jobs::*;
pub(crate) use self::probes::PANIC;
pub(crate) use self::runs::*;
pub(crate) use self::tasks::*;
pub(crate) use self::within::*;
pub(crate) use self::wrapped::*;

type Call = Box<dyn FnOnce() + Send>;

/// What the rows need of an executor, by pointers: so their bodies are compiled once, and not for each executor.
#[derive(Clone, Copy)]
struct On {
    spawn: fn(BoxFuture<'static, Ended>) -> JoinHandle<Ended>,
    spawn_in: fn(&SharedContext, BoxFuture<'static, Ended>) -> JoinHandle<Ended>,
    call_soon: fn(Call) -> CallHandle,
    call_soon_in: fn(&SharedContext, Call) -> CallHandle,
    call_later: fn(Duration, Call) -> TimerHandle,
    /// Keeps callbacks from running until what it returns is dropped, before the next await.
    hold_the_queue: fn() -> mpsc::Sender<()>,
    /// Whether tasks and callbacks stay on the thread.
    stays: bool,
}

impl On {
    fn executor<H: Harness>() -> On {
        On {
            spawn: |future| H::spawn(future),
            spawn_in: |shared, future| H::spawn_in(shared, future),
            call_soon: |f| H::call_soon(f),
            call_soon_in: |shared, f| H::call_soon_in(shared, f),
            call_later: |delay, f| H::call_later(delay, f),
            hold_the_queue: hold_the_queue::<H>,
            stays: H::STAYS,
        }
    }

    /// Waits until the callbacks that have been scheduled so far have run.
    async fn turn(self) {
        let (done, wait) = oneshot::channel();
        (self.call_soon)(Box::new(move || done.send(()).unwrap()));
        wait.await.unwrap();
    }
}

/// Runs the body of a row on an executor; it leaves nothing in the thread's own context.
fn on<H: Harness>(body: impl FnOnce(On) -> LocalBoxFuture<'static, ()>) {
    H::start().block_on(body(On::executor::<H>()));
    assert_eq!((ID.get(), copy_context().len()), (None, 0));
}
