//! [`TaskId`]: a number for each task that is asked for one.

use std::fmt;

use crate::id;

/// Tells a task from all others of the process; see [`JoinHandle::id`](super::JoinHandle::id).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TaskId(u64);

impl TaskId {
    pub(crate) fn next() -> TaskId {
        TaskId(id::next())
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
