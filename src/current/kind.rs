//! [`Kind`]: whose frame it is.
//!
//! What runs on a thread need not be what has entered the innermost frame: a runtime that is run
//! there runs tasks of its own, which have entered nothing. They would read and write what is
//! somebody else's. So each frame says who may use it, and what runs is known by the runtimes' ids
//! of running tasks.
//!
//! ```text
//! frame            reads                          writes
//! root             by what runs in no task        the same
//! block_on         by what it was entered under   the same
//! call             by all                         by what it was entered under
//! poll, drop       by all                         by all
//! wait             it is empty                    by nobody
//! run              by nobody                      by nobody
//! closed           it is empty                    by nobody
//! ```
//!
//! A call is `Context::run`, a scope, a bound function, a callback, a job, a thread, or the poll or
//! drop of a future that has a context of its own: all that it runs is meant to see its values, and
//! no foreign task can have written them. A poll is that of a task of the shim, and asking there
//! would double the price of a `set`. A wait is one in which a worker runs jobs of others, and a
//! run is that of an executor by a `block_on`, whose future has a frame of its own inside: tasks of
//! others may run there as well. Closed is where destructors have set variables too often. A
//! default is computed in a call, or in a poll if it is read where nobody asks which task runs.

use crate::error::SetErrorKind;
use crate::identity::SharedCompanions;
use crate::raw::Reading;
use crate::running_task::RunningTask;
use crate::shared::SharedContext;

/// How a context came to be current.
pub(super) struct Kind {
    pub(super) users: Users,
    pub(super) origin: Origin,
}

/// What the context of a frame has beside it.
#[derive(Clone)]
pub(super) enum Origin {
    Own,
    /// The shared context that writes are published to.
    Shared(SharedContext),
    /// The companions that were captured with the context. They are here while it is entered.
    /// Without any, see [`FOR_ALL`](Origin::FOR_ALL); so it is also once they have been put back.
    Accompanied(Option<SharedCompanions>),
}

impl Origin {
    /// The result of what runs here is everybody's. What is current beside it is of whoever happens
    /// to be here first, and is not captured. (A variant more would be three instructions more
    /// where a context is entered.)
    pub(super) const FOR_ALL: Origin = Origin::Accompanied(None);
}

/// Who may use a frame. See the head of this file.
#[derive(Clone, Copy)]
pub(crate) enum Users {
    /// Nothing was entered.
    Root,
    /// A poll, or a drop; or what is computed for all in one.
    Poll,
    /// A `block_on`, entered while this task was running.
    BlockOn(RunningTask),
    /// A call, or the poll of a future, entered while this task was running.
    Call(RunningTask),
    /// A wait in which the thread may run whatever else there is to do.
    #[allow(dead_code, reason = "only adapters wait so")]
    Wait,
    /// An executor that is run here, for a `block_on`.
    Run,
    /// Destructors whose values have set variables too often.
    Closed,
}

/// Who may read a frame.
enum Readers {
    All,
    /// What runs in this task alone.
    Task(RunningTask),
    Nobody,
}

/// Who enters a context, and so who may use its frame.
#[derive(Clone, Copy)]
pub(crate) enum Owner {
    /// A task of the shim, which is polled or dropped.
    Task,
    BlockOn,
    /// Whoever makes a synchronous call, or polls or drops what has a context of its own.
    Call,
    /// A destructor that is to set nothing any more.
    Closed,
}

impl Owner {
    /// The users of a frame that is entered from here.
    #[inline]
    pub(crate) fn users(self) -> Users {
        match self {
            Owner::Task => Users::Poll,
            Owner::BlockOn => Users::BlockOn(RunningTask::now()),
            Owner::Call => Users::Call(RunningTask::now()),
            Owner::Closed => Users::Closed,
        }
    }
}

impl Users {
    /// In the frame of `self`, whether what runs now may read.
    #[inline]
    pub(super) fn reading(self) -> Reading {
        match self.readers() {
            Readers::All => Reading::Free,
            Readers::Task(task) if task == RunningTask::now() => Reading::Once,
            Readers::Task(_) | Readers::Nobody => Reading::Nothing,
        }
    }

    /// Whether a frame of `self` may be read by whatever comes to run in it.
    #[inline]
    pub(super) fn may_all_read(self) -> bool {
        matches!(self.readers(), Readers::All)
    }

    #[inline]
    fn readers(self) -> Readers {
        match self {
            Users::Poll | Users::Call(_) | Users::Wait | Users::Closed => Readers::All,
            // There is no other task to be found.
            Users::Root | Users::BlockOn(_) if size_of::<RunningTask>() == 0 => Readers::All,
            Users::Root => Readers::Task(RunningTask::NONE),
            Users::BlockOn(task) => Readers::Task(task),
            Users::Run => Readers::Nobody,
        }
    }

    /// In the frame of `self`, whether what runs now may write. In the root frame `at_root` has the
    /// last word.
    pub(super) fn writing(
        self,
        at_root: impl FnOnce() -> Result<(), SetErrorKind>,
    ) -> Result<(), SetErrorKind> {
        let expected = match self {
            Users::Poll => return Ok(()),
            Users::Wait => return Err(SetErrorKind::ForeignJob),
            Users::Run => return Err(SetErrorKind::ForeignTask),
            Users::Closed => return Err(SetErrorKind::Busy),
            Users::Root => RunningTask::NONE,
            Users::BlockOn(task) | Users::Call(task) => task,
        };
        let running = RunningTask::now();
        if running != expected {
            return Err(match running.is_job() {
                true => SetErrorKind::ForeignJob,
                false => SetErrorKind::ForeignTask,
            });
        }
        match self {
            Users::Root => at_root(),
            _ => Ok(()),
        }
    }
}

impl Kind {
    /// That of a poll or a drop.
    pub(super) const POLL: &Kind = &Kind::new(Users::Poll);

    #[inline]
    pub(super) const fn new(users: Users) -> Kind {
        Kind {
            users,
            origin: Origin::Own,
        }
    }

    /// The shared context that writes are published to.
    #[inline]
    pub(super) fn shared(&self) -> Option<&SharedContext> {
        match &self.origin {
            Origin::Shared(shared) => Some(shared),
            _ => None,
        }
    }
}
