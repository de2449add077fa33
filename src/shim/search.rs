//! Which executor the free functions go to.
//!
//! In this order: that of the current scope (a task's, a callback's, `enter`'s); the runtime that
//! says it runs on this thread; the default of the process; and the global executor of the only
//! runtime that is compiled in. A scope that names only a local executor sends all work there.
//!
//! `block_on` looks further: the only runtime may have an executor of the process, which is started
//! then.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::adapters::{FirstRuntime, RUNTIME_FEATURES};
use super::block::BlockOnError;
use super::destination::{Destination, OnExecutor};
use super::dispatch::{Listed, RuntimeName};
use super::executor::LocalName;
use super::executor_ref::{ExecutorRef, ScopeExecutor};
use super::runtime::Runtime;
use super::scope::{self, ExecutorScope, LocalScope};
use super::task_list::TaskList;
use crate::context::Context;
use crate::current;
use crate::runtimes::BARE_LOCAL_SPAWN;

/// There is no executor to send work to.
///
/// # Examples
///
/// ```
/// use aiocontextvars::shim;
///
/// if let Err(error) = shim::try_spawn(async {}) {
///     assert!(error.to_string().contains("enter"));
/// }
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoRuntime {
    local: bool,
}

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.local {
            return f.write_str(
                "no local executor is entered on this thread: call `ContextAwareExecutor::enter_local` on one, use its \
                 `spawn_local`, or run inside `EventLoop::run_until_complete`; inside a local executor that is not \
                 wrapped, spawn by its own means and take the context along, as in ",
            )
            .and_then(|()| f.write_str(BARE_LOCAL_SPAWN));
        }
        f.write_str(
            "no executor here: call this inside a task, `shim::block_on` or a runtime, enter a \
             `ContextAwareExecutor`, or set one with `shim::set_default`",
        )?;
        match (RuntimeName::COMPILED_IN, RuntimeName::GLOBAL) {
            (0, _) => {
                f.write_str("; features of `aiocontextvars` that add runtimes:")?;
                let mut features = RUNTIME_FEATURES.iter().copied().flatten();
                features.try_for_each(|feature| write!(f, " `{feature}`"))
            }
            (1, _) => f.write_str(
                "; outside of a runtime, `shim::block_on` runs a future on one of its own",
            ),
            (_, global) => {
                f.write_str("; several runtimes are compiled in, so none is the obvious choice")?;
                match global {
                    Some(module) => write!(f, ": name one, as in `shim::{module}::spawn`"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Error for NoRuntime {}

static DEFAULT: RwLock<Option<OnExecutor>> = RwLock::new(None);

/// Sets the executor of last resort, and returns the one before.
pub(crate) fn set_default(executor: OnExecutor) -> Option<OnExecutor> {
    DEFAULT
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .replace(executor)
}

fn default() -> Option<OnExecutor> {
    DEFAULT
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// Whether the first runtime has a name. Without runtimes, the first one is the event loop, which
/// has none.
pub(crate) const FIRST_HAS_NAME: bool = FirstRuntime::BY_NAME.is_some();

/// The runtime for whose tasks no future is boxed, by its name.
pub(crate) struct First {
    pub(crate) name: FirstRuntime,
    pub(crate) scope: <FirstRuntime as Runtime>::Scope,
}

/// That runtime, if work from here goes there by its name, and there is no fixed context.
#[inline]
pub(crate) fn first() -> Option<First> {
    /// Not inlined: the search would be most of what is compiled for a future.
    #[inline(never)]
    fn search() -> Option<First> {
        first_by_name()
    }

    if FIRST_HAS_NAME { search() } else { None }
}

/// The same, with a copy of the current context.
#[inline]
pub(crate) fn first_inheriting() -> Option<(First, Context)> {
    /// Not inlined, as in [`first`].
    #[inline(never)]
    fn search() -> Option<(First, Context)> {
        Some((first_by_name()?, current::inherit()))
    }

    if FIRST_HAS_NAME { search() } else { None }
}

#[inline]
fn first_by_name() -> Option<First> {
    let name = scope::current(|scope, local| match scope.executor {
        _ if scope.fixed.is_some() => None,
        ScopeExecutor::Runtime(name) if scope.is_entered_by_runtime || name.is_available() => {
            Some(name)
        }
        ScopeExecutor::None if local.is_none() => RuntimeName::of_thread().or_else(last_by_name),
        _ => None,
    });
    let name = name.and_then(FirstRuntime::from_name)?;
    FirstRuntime::scope(name.native()).map(|scope| First { name, scope })
}

/// The only global executor, if nothing comes before that.
fn last_by_name() -> Option<RuntimeName> {
    RuntimeName::only_global().filter(|_| default().is_none())
}

/// The list of tasks that a new one goes to, if the current scope names one.
#[inline]
pub(crate) fn list() -> Option<Arc<TaskList>> {
    scope::current(|scope, _| scope.open_list())
}

/// Searches for the executor for a unit of work from here.
#[inline]
pub(crate) fn destination() -> Result<Destination, NoRuntime> {
    match scope::current(of_scope) {
        Some(destination) => Ok(destination),
        None => outside(),
    }
}

/// The same, for the free functions that panic.
#[inline]
#[track_caller]
pub(crate) fn expect_destination() -> Destination {
    match destination() {
        Ok(destination) => destination,
        Err(error) => no_runtime(error),
    }
}

/// Where work goes that no scope sends anywhere.
fn outside() -> Result<Destination, NoRuntime> {
    RuntimeName::of_thread()
        .map(|name| ExecutorRef::Runtime(name).unfixed())
        .or_else(default)
        .or_else(|| RuntimeName::only_global().map(|name| ExecutorRef::Runtime(name).unfixed()))
        .map(Destination::Executor)
        .ok_or(NoRuntime { local: false })
}

#[inline]
fn of_scope(scope: &ExecutorScope, local: Option<&LocalName>) -> Option<Destination> {
    if let Some(executor) = scope.executor.upgrade() {
        return Some(Destination::Executor(OnExecutor {
            executor,
            fixed: scope.fixed.clone(),
        }));
    }
    let local = local.filter(|local| local.is_alive())?;
    Some(Destination::Local(LocalScope {
        scope: scope.clone(),
        local: local.clone(),
    }))
}

/// The executor of the process that `block_on` uses where nothing is found, if there is one.
pub(crate) fn of_the_process() -> Result<Option<Destination>, BlockOnError> {
    let executor = RuntimeName::only_of_the_process()?;
    Ok(executor.map(|executor| Destination::Executor(ExecutorRef::Value(executor).unfixed())))
}

/// The scope of the local executor that is entered on this thread, or that runs its task, or whose
/// runtime says that it runs here.
pub(crate) fn local() -> Result<LocalScope, NoRuntime> {
    let (mut scope, local) = scope::current(|scope, local| {
        let local = local.filter(|local| local.is_alive());
        (scope.clone(), local.cloned())
    });
    // A task keeps it, and is polled where that may not hold.
    scope.is_entered_by_runtime = false;
    let local = local.or_else(|| {
        let executor = match scope.executor.upgrade() {
            Some(executor) => executor,
            None => {
                let name = RuntimeName::of_thread()?;
                scope.executor = ScopeExecutor::Runtime(name);
                ExecutorRef::Runtime(name)
            }
        };
        executor.with(|executor| executor.hooks().adapter?.local())
    });
    match local {
        Some(local) => Ok(LocalScope { scope, local }),
        None => Err(NoRuntime { local: true }),
    }
}

/// The same, for the free functions that panic.
#[track_caller]
pub(crate) fn expect_local() -> LocalScope {
    match local() {
        Ok(local) => local,
        Err(error) => no_runtime(error),
    }
}

#[cold]
#[track_caller]
pub(crate) fn no_runtime(error: NoRuntime) -> ! {
    panic!("{error}")
}
