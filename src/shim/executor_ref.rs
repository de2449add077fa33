//! [`ExecutorRef`]: reaching an executor; [`ScopeExecutor`]: by what the scopes of its tasks name it.

use std::sync::Arc;

use super::dispatch::{Native, RuntimeName};
use super::executor::{Adapter, Executor, ExecutorName, Hooks, LocalName};

/// How a scope names its executor.
#[derive(Clone)]
pub(crate) enum ScopeExecutor {
    /// Not at all: the search goes on.
    None,
    Runtime(RuntimeName),
    Value(ExecutorName),
}

/// An executor that is known to be alive.
#[derive(Clone)]
pub(crate) enum ExecutorRef {
    Runtime(RuntimeName),
    Static(&'static dyn Executor),
    Value(Arc<dyn Executor>),
}

impl ScopeExecutor {
    /// The executor, if it can be used from here.
    #[inline]
    pub(crate) fn upgrade(&self) -> Option<ExecutorRef> {
        match self {
            ScopeExecutor::None => None,
            // A destructor can outlive the runtime's hold on the thread.
            ScopeExecutor::Runtime(name) => {
                name.is_available().then_some(ExecutorRef::Runtime(*name))
            }
            ScopeExecutor::Value(ExecutorName::Static(executor)) => {
                Some(ExecutorRef::Static(*executor))
            }
            ScopeExecutor::Value(ExecutorName::Weak(executor)) => {
                executor.upgrade().map(ExecutorRef::Value)
            }
        }
    }
}

impl ExecutorRef {
    /// Calls `f` with the executor.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&dyn Executor) -> R) -> R {
        match self {
            ExecutorRef::Runtime(name) => name.with_executor(f),
            ExecutorRef::Static(executor) => f(*executor),
            ExecutorRef::Value(executor) => f(&**executor),
        }
    }

    /// The executor as a value, for everything but spawning and callbacks.
    pub(crate) fn to_value(&self) -> Arc<dyn Executor> {
        match self {
            ExecutorRef::Runtime(name) => name.executor(),
            ExecutorRef::Static(executor) => Arc::new(*executor),
            ExecutorRef::Value(executor) => Arc::clone(executor),
        }
    }

    /// How the scopes of its tasks name it.
    pub(crate) fn name(&self) -> ScopeExecutor {
        match self {
            ExecutorRef::Runtime(name) => ScopeExecutor::Runtime(*name),
            ExecutorRef::Static(executor) => known_name(&(**executor).hooks())
                .unwrap_or(ScopeExecutor::Value(ExecutorName::Static(*executor))),
            ExecutorRef::Value(executor) => {
                known_name(&(**executor).hooks()).unwrap_or_else(|| {
                    ScopeExecutor::Value(ExecutorName::Weak(Arc::downgrade(executor)))
                })
            }
        }
    }

    /// Whether the scopes of its tasks name it as that of the thread.
    pub(crate) fn is_by_thread(&self) -> bool {
        let name = match self {
            ExecutorRef::Runtime(name) => Some(*name),
            ExecutorRef::Static(executor) => native_name(&(**executor).hooks()),
            ExecutorRef::Value(executor) => native_name(&(**executor).hooks()),
        };
        name.is_some_and(RuntimeName::is_by_thread)
    }
}

/// The runtime whose name the tasks of an executor know it by.
fn native_name<N>(hooks: &Hooks<'_, N>) -> Option<RuntimeName> {
    Native::of(hooks.adapter?.native()?)?.name()
}

/// How scopes name an executor, if not by the value that is at hand.
pub(crate) fn known_name(hooks: &Hooks<'_, ExecutorName>) -> Option<ScopeExecutor> {
    if let Some(name) = native_name(hooks) {
        return Some(ScopeExecutor::Runtime(name));
    }
    let name = hooks.adapter.and_then(Adapter::executor);
    let name = name.or_else(|| hooks.pointer_name());
    name.map(ScopeExecutor::Value)
}

/// How the scopes of a local executor's tasks name the executor that other work goes to.
pub(crate) fn name_beside(hooks: &Hooks<'_, LocalName>) -> ScopeExecutor {
    match (
        native_name(hooks),
        hooks.adapter.and_then(Adapter::executor),
    ) {
        (Some(name), _) => ScopeExecutor::Runtime(name),
        (None, Some(executor)) => ScopeExecutor::Value(executor),
        (None, None) => ScopeExecutor::None,
    }
}
