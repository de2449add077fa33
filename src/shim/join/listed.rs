//! [`ListedJoin`]: the handle of a task of an event loop.

use std::sync::Arc;
use std::task::{self, Poll};

use super::done::Done;
use crate::shim::join_task::{Abort, Cancel, JoinTask};
use crate::shim::outcome::{Joined, Outcome};
use crate::shim::runnable_join::StepTask;
use crate::shim::task_list::{ListedId, Note, Step, TaskList};

/// The handle of a task that is on a list. The task is detached when this is dropped.
pub(crate) struct ListedJoin<T> {
    task: StepTask<T, Step>,
    list: Arc<TaskList>,
    id: ListedId,
}

impl<T> ListedJoin<T> {
    #[inline]
    pub(crate) fn new(
        task: async_task::Task<Outcome<T>, Step>,
        list: Arc<TaskList>,
        id: ListedId,
    ) -> ListedJoin<T> {
        ListedJoin {
            task: StepTask::new(task),
            list,
            id,
        }
    }

    /// The notices of the task, unless it has ended.
    pub(super) fn done(&self) -> Option<Arc<Done>> {
        let note = self.list.note(self.id, || Arc::new(Done::default()))?;
        note.downcast().ok()
    }
}

/// Gives the notices of a task that has ended.
pub(crate) fn give_notices(note: &Note) {
    if let Some(done) = note.downcast_ref::<Done>() {
        done.end();
    }
}

impl<T: 'static> JoinTask<T> for ListedJoin<T> {
    #[inline]
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Joined<T>> {
        self.task.poll(cx)
    }

    fn is_finished(&self) -> Option<bool> {
        // A task that is aborted is finished first, and leaves the list when it has been dropped.
        Some(self.task.is_finished() && !self.list.has(self.id))
    }

    fn abort_handle(&self) -> Option<Arc<dyn Abort>> {
        Some(match self.list.has(self.id) {
            true => Arc::new(AbortListed {
                list: Arc::clone(&self.list),
                id: self.id,
            }),
            false => Arc::new(Ended),
        })
    }

    fn cancel(self) -> Cancel<T> {
        unreachable!("tasks of event loops have an abort handle")
    }
}

/// Aborts a task through the list.
struct AbortListed {
    list: Arc<TaskList>,
    id: ListedId,
}

impl Abort for AbortListed {
    fn abort(&self) {
        self.list.abort(self.id);
    }

    fn is_finished(&self) -> bool {
        !self.list.has(self.id)
    }
}

/// A task that had ended when its abort handle was asked for.
pub(super) struct Ended;

impl Abort for Ended {
    fn abort(&self) {}

    fn is_finished(&self) -> bool {
        true
    }
}
