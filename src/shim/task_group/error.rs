//! What the tasks of a group failed with.

use std::error::Error;
use std::fmt::{self, Debug, Display};

use crate::shim::join_error::JoinError;

/// Why a task of a [`TaskGroup`](super::TaskGroup), or the body of its scope, has failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum TaskFailure<E> {
    /// It returned this error.
    Error(E),
    /// It panicked; [`JoinError::into_panic`] has the payload.
    Panic(JoinError),
}

impl<E: Display> Display for TaskFailure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskFailure::Error(error) => Display::fmt(error, f),
            TaskFailure::Panic(error) => Display::fmt(error, f),
        }
    }
}

/// What the tasks of a [`TaskGroup`](super::TaskGroup) have failed with, the first failure first.
/// Python's `ExceptionGroup`.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim::{self, TaskFailure, TaskGroup};
///
/// let error = shim::block_on(TaskGroup::scope(|group| async move {
///     group.spawn(async { Err::<(), _>("out of paper") }).detach();
///     Ok(())
/// })).unwrap_err();
/// assert_eq!(error.to_string(), "1 task of the group failed: out of paper");
/// for failure in error.into_failures() {
///     match failure {
///         TaskFailure::Error(text) => assert_eq!(text, "out of paper"),
///         TaskFailure::Panic(error) => std::panic::resume_unwind(error.into_panic()),
///         _ => {}
///     }
/// }
/// ```
#[derive(Debug)]
pub struct TaskGroupError<E> {
    /// Never empty.
    failures: Vec<TaskFailure<E>>,
}

impl<E> TaskGroupError<E> {
    pub(super) fn new(failures: Vec<TaskFailure<E>>) -> TaskGroupError<E> {
        TaskGroupError { failures }
    }

    /// The failures, of which there is at least one.
    pub fn failures(&self) -> &[TaskFailure<E>] {
        &self.failures
    }

    /// The failures, of which there is at least one.
    pub fn into_failures(self) -> Vec<TaskFailure<E>> {
        self.failures
    }
}

impl<E: Display> Display for TaskGroupError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.failures.len();
        let tasks = if count == 1 { "task" } else { "tasks" };
        write!(f, "{count} {tasks} of the group failed: ")?;
        for (n, failure) in self.failures.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}{failure}")?;
        }
        Ok(())
    }
}

impl<E: Debug + Display> Error for TaskGroupError<E> {}
