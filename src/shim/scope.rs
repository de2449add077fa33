//! [`ExecutorScope`]: the executor that `shim::spawn` and its family go to from within a frame.
//!
//! It is kept beside the context and never in it: a context outlives runtimes and travels in
//! messages. The frame of a task names its executor by its runtime, which takes no room, or weakly
//! if the executor is a value. A frame without a scope shares that of the frame around it.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};

use super::dispatch::Listed;
use super::executor::{ExecutorName, LocalName, LocalRef};
use super::executor_ref::ScopeExecutor;
use super::task::TaskScope;
use super::task_list::TaskList;
use crate::context::Context;
use crate::current::{self, ScopeOverride};

/// What a frame knows of executors.
#[derive(Clone)]
pub(crate) struct ExecutorScope {
    pub(crate) executor: ScopeExecutor,
    /// The context of a fixed executor, in a copy of which everything starts that is submitted from
    /// here.
    pub(crate) fixed: Option<Arc<Context>>,
    /// Whether the runtime itself has entered the frame, so that nobody has to ask if it runs on
    /// this thread. True within that frame only: what outlives it has `false`.
    pub(crate) is_entered_by_runtime: bool,
    /// The list that the executor's tasks are on, if it has one.
    pub(crate) list: Option<Weak<TaskList>>,
}

/// The scope of work that belongs to a local executor.
#[derive(Clone)]
pub(crate) struct LocalScope {
    pub(crate) scope: ExecutorScope,
    pub(crate) local: LocalName,
}

impl ExecutorScope {
    pub(crate) const fn new(executor: ScopeExecutor, fixed: Option<Arc<Context>>) -> ExecutorScope {
        ExecutorScope {
            executor,
            fixed,
            is_entered_by_runtime: false,
            list: None,
        }
    }

    /// That of an executor whose tasks are on this list.
    pub(crate) fn listed(executor: ExecutorName, list: Weak<TaskList>) -> ExecutorScope {
        ExecutorScope {
            list: Some(list),
            ..ExecutorScope::new(ScopeExecutor::Value(executor), None)
        }
    }

    /// The list that a new task goes to, if there is nothing more to it than that.
    #[inline]
    pub(crate) fn open_list(&self) -> Option<Arc<TaskList>> {
        match (&self.list, &self.fixed) {
            (Some(list), None) => list.upgrade().filter(|list| !list.is_closed()),
            _ => None,
        }
    }

    /// The context that a new unit of work starts in.
    pub(crate) fn new_context(&self) -> Context {
        new_context(self.fixed.as_ref())
    }
}

/// The context that a new unit of work starts in: a copy of the executor's fixed one or of the
/// current.
#[inline]
pub(crate) fn new_context(fixed: Option<&Arc<Context>>) -> Context {
    match fixed {
        Some(fixed) => Context::clone(fixed).apart(),
        None => current::inherit(),
    }
}

impl LocalScope {
    /// The local executor, if it is alive.
    pub(crate) fn upgrade(&self) -> Option<LocalRef> {
        self.local.upgrade()
    }
}

/// The current scope with another fixed context, for a callback, if that makes a difference.
/// Wrappers of one executor share a queue, whose driver has a scope of its own.
#[inline]
pub(crate) fn with_fixed(fixed: Option<Arc<Context>>) -> Option<Box<dyn Any>> {
    let has_any = fixed.is_some() || current(|scope, _| scope.fixed.is_some());
    has_any.then(|| {
        let (scope, local) = current(|scope, local| (scope.clone(), local.cloned()));
        let scope = ExecutorScope { fixed, ..scope };
        match local {
            Some(local) => Box::new(LocalScope { scope, local }) as Box<dyn Any>,
            None => Box::new(scope),
        }
    })
}

/// Calls `f` on the current scope, and on the local executor that is current with it.
#[inline]
pub(crate) fn current<R>(f: impl FnOnce(&ExecutorScope, Option<&LocalName>) -> R) -> R {
    current::scope(|scope| {
        let (scope, local) = match scope {
            None => (NOWHERE, None),
            // The second type is asked for only if it is not the first: each is a virtual call.
            Some(any) => match any.downcast_ref() {
                Some(scope) => (scope, None),
                None => match any.downcast_ref::<LocalScope>() {
                    Some(local) => (&local.scope, Some(&local.local)),
                    None => unreachable!("the shim enters no other scopes"),
                },
            },
        };
        f(scope, local)
    })
}

/// The scope of a thread that has entered nothing.
pub(crate) const NOWHERE: &ExecutorScope = &ExecutorScope::new(ScopeExecutor::None, None);

/// The scope of a task that knows its executor by the runtime's name, or has a scope of the
/// runtime's own.
pub(crate) struct RuntimeScope<R: Listed>(pub(crate) R::Scope);

impl<R: Listed> RuntimeScope<R> {
    const POLLED: &ExecutorScope = &RuntimeScope::<R>::scope(true);
    const DROPPED: &ExecutorScope = &RuntimeScope::<R>::scope(false);

    const fn scope(is_entered_by_runtime: bool) -> ExecutorScope {
        ExecutorScope {
            executor: match R::NAME {
                Some(name) => ScopeExecutor::Runtime(name),
                None => ScopeExecutor::None,
            },
            fixed: None,
            is_entered_by_runtime,
            list: None,
        }
    }
}

impl<R: Listed> TaskScope for RuntimeScope<R> {
    const POLLS_BY_OUTPUT: bool = R::POLLS_BY_OUTPUT;

    #[inline]
    fn polled(&self) -> Option<&dyn Any> {
        Some(R::scope_of(&self.0).unwrap_or(RuntimeScope::<R>::POLLED))
    }

    #[inline]
    fn dropped(&self) -> Option<&dyn Any> {
        Some(R::scope_of(&self.0).unwrap_or(RuntimeScope::<R>::DROPPED))
    }
}

/// That of a task which its thread polls while the runtime is entered, as a `LocalSet` does.
pub(crate) struct ThreadScope<R: Listed>(PhantomData<fn() -> R>);

impl<R: Listed> ThreadScope<R> {
    pub(crate) const NEW: ThreadScope<R> = ThreadScope(PhantomData);
}

impl<R: Listed> TaskScope for ThreadScope<R> {
    const POLLS_BY_OUTPUT: bool = R::POLLS_BY_OUTPUT;

    #[inline]
    fn polled(&self) -> Option<&dyn Any> {
        Some(RuntimeScope::<R>::DROPPED)
    }
}

impl TaskScope for ExecutorScope {
    fn polled(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl TaskScope for LocalScope {
    fn polled(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// Sends what this thread spawns to one executor until it is dropped; made by
/// [`ContextAwareExecutor::enter`](super::ContextAwareExecutor::enter) and
/// [`enter_local`](super::ContextAwareExecutor::enter_local).
///
/// Guards may be dropped in any order: the last one that is left counts. A guard ends with the poll
/// or call in which it was made, also if it is kept for longer.
///
/// # Examples
///
/// See [`ContextAwareExecutor::enter`](super::ContextAwareExecutor::enter).
#[must_use = "the executor is left when the guard is dropped; bind it to a variable: `let _guard = …`"]
pub struct EnterGuard<'a> {
    _overriding: ScopeOverride,
    _executor: PhantomData<&'a ()>,
}

impl EnterGuard<'_> {
    /// Overrides the current scope.
    pub(crate) fn new(scope: impl TaskScope) -> Self {
        EnterGuard {
            _overriding: ScopeOverride::new(Box::new(scope)),
            _executor: PhantomData,
        }
    }
}

impl fmt::Debug for EnterGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnterGuard").finish_non_exhaustive()
    }
}
