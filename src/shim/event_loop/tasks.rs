//! Event loops as a runtime, for the tasks that may be sent to them.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use crate::shim::executor::Executor;
use crate::shim::join::listed::ListedJoin;
use crate::shim::listed::{self, Listed};
use crate::shim::runnable::Runnable;
use crate::shim::runtime::{self, Spawned};
use crate::shim::task_list::{ListEntry, TaskList};

/// Event loops, none of which is known by a name.
#[derive(Clone, Copy)]
pub(crate) enum Runtime {}

impl Executor for Runtime {
    fn schedule(&self, _: Runnable) {
        match *self {}
    }
}

impl runtime::Runtime for Runtime {
    /// They are values, and there are several.
    const BY_NAME: Option<Runtime> = None;
    type Executor = Runtime;
    type Native<'a> = &'a Arc<TaskList>;
    type Scope = ListEntry;
    type Join<T: 'static> = ListedJoin<T>;

    fn current() -> Option<Runtime> {
        None
    }

    fn executor(self) -> Runtime {
        match self {}
    }

    fn native(self) -> &'static Arc<TaskList> {
        match self {}
    }

    fn native_of(any: &dyn Any) -> Option<&Arc<TaskList>> {
        any.downcast_ref()
    }

    #[inline]
    fn scope(list: &Arc<TaskList>) -> Option<ListEntry> {
        Some(ListEntry::new(Arc::clone(list)))
    }

    #[inline]
    fn scope_of(entry: &ListEntry) -> Option<&dyn Any> {
        Some(entry.scope())
    }

    #[inline]
    #[track_caller]
    fn spawn<F>(list: &Arc<TaskList>, task: F) -> Spawned<ListedJoin<F::Output>, F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let entry = ListEntry::new(Arc::clone(list));
        Spawned::Own(listed::spawn(entry, |entry| Listed::new(task, entry)))
    }

    #[inline]
    #[track_caller]
    fn spawn_in<F>(
        _: &Arc<TaskList>,
        entry: ListEntry,
        make: impl FnOnce(ListEntry) -> F,
    ) -> Spawned<ListedJoin<F::Output>, F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Spawned::Own(listed::spawn(entry, make))
    }
}
